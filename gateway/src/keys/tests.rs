//! Keys survive a restart, loose files are refused, sealed values open only as they were sealed.

use super::*;
use crate::journal::testing::TempDir;

const CHECKPOINT: &str = "evidence.pem";

#[test]
fn keys_are_the_same_after_a_restart() {
    let dir = TempDir::new("keys");
    let first = LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
    let second = LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
    assert_eq!(first.checkpoint().public(), second.checkpoint().public());
    assert_eq!(first.pack().public(), second.pack().public());
    assert_eq!(first.master().input_key().unwrap(), second.master().input_key().unwrap());
    assert_ne!(first.master().input_key().unwrap(), first.master().finding_key().unwrap());
    for signer in [second.checkpoint(), second.pack()] {
        let signature = signer.sign(b"message").unwrap();
        assert!(signer.public().verifies(b"message", &signature));
    }
    let public = fs::read_to_string(dir.path().join("evidence.pub.pem")).unwrap();
    assert_eq!(public, first.checkpoint().public().pem());
}

#[test]
fn a_key_that_others_can_read_is_refused_with_a_sentence() {
    for name in [CHECKPOINT, PACK, MASTER] {
        let dir = TempDir::new("modes");
        LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
        let path = dir.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error =
            LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains(name), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
    }
}

#[test]
fn a_file_that_holds_something_else_is_refused_and_kept() {
    for name in [CHECKPOINT, PACK, MASTER] {
        let dir = TempDir::new("content");
        LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
        fs::write(dir.path().join(name), "nonsense").unwrap();
        let error = LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap_err();
        assert!(matches!(error, KeyFault::Content { .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "nonsense");
    }
    let dir = TempDir::new("swapped");
    LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
    fs::copy(dir.path().join(PACK), dir.path().join(CHECKPOINT)).unwrap();
    assert!(LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).is_err());
}

#[test]
fn sealed_values_open_only_as_they_were_sealed() {
    let key = MasterSecret::new([7; 32]).sealing_key().unwrap();
    let sealed = key.seal(b"session", b"ses_1").unwrap();
    assert_eq!(key.open(b"session", &sealed).as_deref(), Some(&b"ses_1"[..]));
    assert_eq!(key.open(b"state", &sealed), None);
    assert_ne!(sealed, key.seal(b"session", b"ses_1").unwrap());
    let other = MasterSecret::new([8; 32]).sealing_key().unwrap();
    assert_eq!(other.open(b"session", &sealed), None);
    for index in 0..sealed.len() {
        let mut bent = sealed.clone().into_bytes();
        bent[index] = if bent[index] == b'A' { b'B' } else { b'A' };
        assert_eq!(key.open(b"session", str::from_utf8(&bent).unwrap()), None, "at {index}");
        assert_eq!(key.open(b"session", sealed.get(..index).unwrap()), None);
    }
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let dir = TempDir::new("debug");
    let keys = LocalKeys::load_or_create(&dir.path().join(CHECKPOINT)).unwrap();
    let secret = fs::read_to_string(dir.path().join(MASTER)).unwrap();
    let text = format!("{keys:?} {:?}", keys.master().sealing_key().unwrap());
    assert!(!text.contains(secret.trim()) && text.contains("redacted"), "{text}");
}
