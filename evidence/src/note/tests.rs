//! Notes: round trips, a published vector, forgeries.

use super::*;
use crate::testing::TestSigner;

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: "acme.log.example".to_owned(), size: 7, root: Digest::of(b"root") }
}

fn trusted(signer: &TestSigner) -> TrustedKey {
    TrustedKey { name: None, key: signer.public() }
}

/// The example of Go's `golang.org/x/mod/sumdb/note` documentation.
#[test]
fn the_note_of_the_go_documentation_verifies() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let keys = TrustedKey::parse_all(key).unwrap();
    let parsed = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(parsed.verify("PeterNeumann", &keys), Ok(()));
    assert_eq!(parsed.to_bytes(), note.as_bytes());
    assert_eq!(keys[0].key.verifier_key("PeterNeumann").unwrap(), key);
}

#[test]
fn a_checkpoint_reads_back_as_what_was_signed() {
    let signer = TestSigner::ed25519(1);
    let bytes = checkpoint().sign(&signer).unwrap().to_bytes();
    assert_eq!(Checkpoint::open(&bytes, &[trusted(&signer)]), Ok(checkpoint()));
    let pem = TrustedKey::parse_all(&signer.public().pem()).unwrap();
    assert_eq!(Checkpoint::open(&bytes, &pem), Ok(checkpoint()));
    let line = signer.public().verifier_key("acme.log.example").unwrap();
    let named = TrustedKey::parse_all(&line).unwrap();
    assert_eq!(Checkpoint::open(&bytes, &named), Ok(checkpoint()));
}

#[test]
fn a_checkpoint_that_was_not_signed_so_is_refused() {
    let (signer, other) = (TestSigner::ed25519(1), TestSigner::ed25519(2));
    let bytes = checkpoint().sign(&signer).unwrap().to_bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let check = |text: &str, key: &TestSigner| {
        Checkpoint::open(text.as_bytes(), &[trusted(key)]).unwrap_err()
    };
    let name = "acme.log.example".to_owned();
    assert_eq!(check(&text.replace("\n7\n", "\n8\n"), &signer), NoteError::Forged(name.clone()));
    assert_eq!(check(&text, &other), NoteError::UnknownKey(name.clone()));
    assert!(matches!(check(&text.replace("\n7\n", "\n07\n"), &signer), NoteError::Body(_)));
    assert!(matches!(check(&text.replace("\n7\n", "\n7\nmore\n"), &signer), NoteError::Body(_)));
    assert!(matches!(check(text.trim_end(), &signer), NoteError::Form(_)));
    assert!(matches!(check("", &signer), NoteError::Form(_)));
    let elsewhere = TrustedKey { name: Some("other.example".to_owned()), key: signer.public() };
    assert_eq!(Checkpoint::open(&bytes, &[elsewhere]), Err(NoteError::UnknownKey(name)));
}

#[test]
fn every_changed_byte_of_a_checkpoint_is_noticed() {
    let signer = TestSigner::ed25519(1);
    let bytes = checkpoint().sign(&signer).unwrap().to_bytes();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[index] ^= 1 << bit;
            assert!(
                Checkpoint::open(&bent, &[trusted(&signer)]).is_err(),
                "byte {index} bit {bit}"
            );
        }
        assert!(Checkpoint::open(&bytes[..index], &[trusted(&signer)]).is_err());
    }
}

#[test]
fn keys_read_back_from_pem_and_nothing_else_does() {
    for signer in [TestSigner::ed25519(1), TestSigner::p256(1)] {
        let key = signer.public();
        assert_eq!(PublicKey::from_spki(&key.spki()), Ok(key.clone()));
        assert!(key.verifies(b"message", &signer.sign(b"message").unwrap()));
        assert!(!key.verifies(b"massage", &signer.sign(b"message").unwrap()));
        let file = format!("# ours\n\n{}", key.pem());
        assert_eq!(TrustedKey::parse_all(&file).unwrap(), [TrustedKey { name: None, key }]);
    }
    for text in ["", "#", "nonsense", "a+b+c", "-----BEGIN PUBLIC KEY-----\nAAAA\n"] {
        assert!(TrustedKey::parse_all(text).is_err(), "{text}");
    }
    let line = TestSigner::ed25519(1).public().verifier_key("a.example").unwrap();
    assert!(TrustedKey::parse_all(&line.replace("a.example", "b.example")).is_err());
}

#[test]
fn a_key_that_signs_packs_signs_no_notes() {
    assert!(checkpoint().sign(&TestSigner::p256(1)).is_err());
}
