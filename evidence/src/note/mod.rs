//! C2SP signed notes and tlog checkpoints, and the public keys that verify them.
//!
//! Implements `signed-note` with Ed25519 signatures (type 0x01) and the `tlog-checkpoint` body
//! without extension lines. Signature lines of keys that are not known are ignored, as the format
//! demands (they may be witnesses'). P-256 keys are here because packs are signed with them; they
//! never sign a note. Private keys are elsewhere, behind [`Signer`].

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use forge_schemas::digest::{Digest, hex, unhex};

/// Largest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Signatures at most in one note.
pub const SIGNATURES_MAX: usize = 64;

/// Ed25519 in C2SP signed-note.
const TYPE_ED25519: u8 = 1;

/// DER before the 32 bytes of an Ed25519 key (RFC 8410 §4).
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// DER before the 65 bytes of an uncompressed P-256 point (RFC 5480 §2).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 3, 0x42, 0,
];

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Signs checkpoints.
    Ed25519([u8; 32]),
    /// Signs packs; the uncompressed point.
    P256([u8; 65]),
}

/// A key that the holder of a log or an auditor trusts, and for which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// The name in signature lines; `None` stands for any (a PEM file has no name).
    pub name: Option<String>,
    /// The key.
    pub key: PublicKey,
}

/// Signs; implemented where private keys are kept.
pub trait Signer: Send + Sync + fmt::Debug {
    /// Signs the bytes themselves, not a digest of them. Ed25519: 64 bytes (RFC 8032); P-256:
    /// ECDSA with SHA-256, DER.
    ///
    /// # Errors
    /// If the key store refuses.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The other half.
    fn public(&self) -> PublicKey;
}

/// The key store did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the key did not sign: {0}")]
pub struct SignError(pub String);

/// The text is not a public key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Neither PEM nor a verifier key line.
    #[error("a public key is a PEM block PUBLIC KEY or a line name+hash+key")]
    Form,
    /// Some other algorithm.
    #[error("only Ed25519 and P-256 public keys are known")]
    Algorithm,
    /// The hash in the verifier key line is not the key's.
    #[error("the hash in the verifier key of {0} does not belong to the key")]
    Hash(String),
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// If it is neither Ed25519 nor an uncompressed P-256 point.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(key) = der.strip_prefix(&SPKI_ED25519).and_then(|key| key.try_into().ok()) {
            return Ok(Self::Ed25519(key));
        }
        if let Some(key) = der.strip_prefix(&SPKI_P256).and_then(|key| key.try_into().ok()) {
            return Ok(Self::P256(key));
        }
        Err(KeyError::Algorithm)
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => [&SPKI_ED25519[..], key].concat(),
            Self::P256(key) => [&SPKI_P256[..], key].concat(),
        }
    }

    /// A PEM block `PUBLIC KEY`, with a line feed at the end.
    #[must_use]
    pub fn pem(&self) -> String {
        let text = BASE64.encode(self.spki());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for (index, letter) in text.chars().enumerate() {
            if index > 0 && index.is_multiple_of(64) {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        pem
    }

    /// SHA-256 of the DER form: how bundles and people name a key.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki())
    }

    /// The four bytes that name a key in a signature line; `None` for keys that sign no notes.
    #[must_use]
    pub fn note_id(&self, name: &str) -> Option<[u8; 4]> {
        match self {
            Self::Ed25519(key) => {
                let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[TYPE_ED25519], key]);
                digest.as_bytes().first_chunk().copied()
            }
            Self::P256(_) => None,
        }
    }

    /// The verifier key line of signed-note for this name, without a line feed.
    #[must_use]
    pub fn verifier_key(&self, name: &str) -> Option<String> {
        match self {
            Self::Ed25519(key) => {
                let typed = [&[TYPE_ED25519][..], key].concat();
                Some(format!("{name}+{}+{}", hex(&self.note_id(name)?), BASE64.encode(typed)))
            }
            Self::P256(_) => None,
        }
    }

    /// Is `signature` over `message` from this key?
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            Self::P256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "P256",
        };
        write!(f, "{kind}({})", self.fingerprint())
    }
}

impl TrustedKey {
    /// Reads every key of a file: PEM blocks `PUBLIC KEY` and verifier key lines. Empty lines and
    /// lines that start with `#` are skipped.
    ///
    /// # Errors
    /// At the first thing that is neither, and if there is nothing.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == "-----BEGIN PUBLIC KEY-----" {
                let body: String =
                    lines.by_ref().take_while(|line| *line != "-----END PUBLIC KEY-----").collect();
                let der = BASE64.decode(body).map_err(|_not_base64| KeyError::Form)?;
                keys.push(Self { name: None, key: PublicKey::from_spki(&der)? });
            } else {
                keys.push(Self::parse_line(line)?);
            }
        }
        if keys.is_empty() { Err(KeyError::Form) } else { Ok(keys) }
    }

    fn parse_line(line: &str) -> Result<Self, KeyError> {
        let mut parts = line.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let typed = BASE64.decode(key).map_err(|_not_base64| KeyError::Form)?;
        let Some((&TYPE_ED25519, key)) = typed.split_first() else {
            return Err(KeyError::Algorithm);
        };
        let key: [u8; 32] = key.try_into().map_err(|_wrong_length| KeyError::Form)?;
        let key = PublicKey::Ed25519(key);
        let id = key.note_id(name).map(Vec::from);
        if !is_name(name) || unhex(hash) != id || id.is_none() {
            return Err(KeyError::Hash(name.to_owned()));
        }
        Ok(Self { name: Some(name.to_owned()), key })
    }

    fn covers(&self, line: &NoteSignature) -> bool {
        self.name.as_ref().is_none_or(|name| *name == line.name)
            && self.key.note_id(&line.name) == Some(line.id)
    }
}

/// A signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is signed; ends with a line feed.
    pub text: String,
    /// Its signature lines.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// First bytes of the key's hash.
    pub id: [u8; 4],
    /// The signature.
    pub bytes: Vec<u8>,
}

/// The bytes are not a note, not a checkpoint, or not signed as they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not a signed note.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// Not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Body(&'static str),
    /// Nobody who is trusted signed it.
    #[error("no signature of {0} is by a known key")]
    UnknownKey(String),
    /// A trusted key is named, but the signature is not its.
    #[error("the signature of {0} is wrong")]
    Forged(String),
}

impl Note {
    /// Signs `text`.
    ///
    /// # Errors
    /// If the text has no line feed at the end or the key does not sign notes.
    pub fn sign(text: String, name: &str, signer: &dyn Signer) -> Result<Self, SignError> {
        let id = signer.public().note_id(name);
        let (true, true, Some(id)) = (text.ends_with('\n'), is_name(name), id) else {
            return Err(SignError("notes are signed by a named Ed25519 key".to_owned()));
        };
        let bytes = signer.sign(text.as_bytes())?;
        let signature = NoteSignature { name: name.to_owned(), id, bytes };
        Ok(Self { text, signatures: vec![signature] })
    }

    /// Reads a note.
    ///
    /// # Errors
    /// If the bytes do not have the form of signed-note, or exceed the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Form("too long"));
        }
        let whole = str::from_utf8(bytes).map_err(|_invalid| NoteError::Form("not UTF-8"))?;
        if whole.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Form("control characters"));
        }
        let (text, lines) =
            whole.rsplit_once("\n\n").ok_or(NoteError::Form("no empty line before signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form("no line feed at the end"))?;
        let signatures: Vec<NoteSignature> =
            lines.split('\n').take(SIGNATURES_MAX).map(parse_line).collect::<Result<_, _>>()?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The written form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\n", self.text);
        for NoteSignature { name, id, bytes } in &self.signatures {
            let typed = BASE64.encode([&id[..], bytes].concat());
            out.push_str(&format!("\u{2014} {name} {typed}\n"));
        }
        out.into_bytes()
    }

    /// Checks that one of `keys` signed under `name`.
    ///
    /// # Errors
    /// [`NoteError::Forged`] if a known key is named and did not sign this, else
    /// [`NoteError::UnknownKey`] if no known key is named.
    pub fn verify(&self, name: &str, keys: &[TrustedKey]) -> Result<(), NoteError> {
        let mut signed = Err(NoteError::UnknownKey(name.to_owned()));
        for line in self.signatures.iter().filter(|line| line.name == name) {
            for key in keys.iter().filter(|key| key.covers(line)) {
                if !key.key.verifies(self.text.as_bytes(), &line.bytes) {
                    return Err(NoteError::Forged(name.to_owned()));
                }
                signed = Ok(());
            }
        }
        signed
    }
}

fn parse_line(line: &str) -> Result<NoteSignature, NoteError> {
    let rest = line.strip_prefix("\u{2014} ").ok_or(NoteError::Form("a signature line"))?;
    let (name, typed) = rest.split_once(' ').ok_or(NoteError::Form("a signature line"))?;
    let typed = BASE64.decode(typed).map_err(|_not_base64| NoteError::Form("a signature"))?;
    let (id, bytes) = typed.split_first_chunk::<4>().ok_or(NoteError::Form("a signature"))?;
    if !is_name(name) || bytes.is_empty() {
        return Err(NoteError::Form("a signature line"));
    }
    Ok(NoteSignature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+')
}

/// The body of a checkpoint: what a log is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, a host name without a path.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// Signs it under the name of the log.
    ///
    /// # Errors
    /// If the key does not sign.
    pub fn sign(&self, signer: &dyn Signer) -> Result<Note, SignError> {
        Note::sign(self.body(), &self.origin, signer)
    }

    /// The three lines.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// Reads the body of a note, without looking at signatures.
    ///
    /// # Errors
    /// If the text is not exactly a checkpoint's three lines.
    pub fn parse(note: &Note) -> Result<Self, NoteError> {
        let mut lines = note.text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Body("it has three lines"));
        };
        let number = size.parse().ok().filter(|number: &u64| number.to_string() == size);
        let size = number.ok_or(NoteError::Body("the second line is the size"))?;
        let bytes = BASE64.decode(root).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let root = bytes.ok_or(NoteError::Body("the third line is the root in base64"))?;
        if !is_name(origin) {
            return Err(NoteError::Body("the first line is the origin"));
        }
        Ok(Self { origin: origin.to_owned(), size, root: Digest::from_bytes(root) })
    }

    /// Reads a signed checkpoint and checks that one of `keys` signed it under its origin.
    ///
    /// # Errors
    /// As [`Note::parse`], [`Checkpoint::parse`] and [`Note::verify`].
    pub fn open(bytes: &[u8], keys: &[TrustedKey]) -> Result<Self, NoteError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Self::parse(&note)?;
        note.verify(&checkpoint.origin, keys)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests;
