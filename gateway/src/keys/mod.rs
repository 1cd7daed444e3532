//! The only place that holds private keys: load or create them, sign, derive, seal.
//!
//! In one directory: the configured file (Ed25519, signs checkpoints), `pack.pem` (P-256, signs packs),
//! both PKCS#8 (RFC 5958) in PEM, and `master.secret`, 32 random bytes in hexadecimal digits, from
//! which every symmetric key is derived (HKDF-SHA256, RFC 5869). Each file has mode 0600; a file
//! that others can read is refused. Beside each private key lies its public half (`*.pub.pem`).

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use forge_evidence::note::{PublicKey, SignError, Signer};
use forge_schemas::digest::{hex, unhex};
use zeroize::{Zeroize, Zeroizing};

use crate::ids::{self, RandomError};

/// A key cannot be loaded, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The file or directory cannot be read or written.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read or write it.
    #[error(
        "{} can be read or written by others (mode {mode:03o}); make it yours alone with: chmod 600 {0}",
        path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what it should hold.
    #[error("{} does not hold {want}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        want: &'static str,
    },
    /// No random bytes.
    #[error("could not draw a new key")]
    Random(#[source] RandomError),
    /// The cryptography library refused.
    #[error("could not make a new {0}")]
    Generate(&'static str),
}

/// All keys of this gateway.
#[derive(Debug)]
pub struct LocalKeys {
    checkpoint: Arc<LocalSigner>,
    pack: Arc<LocalSigner>,
    master: MasterSecret,
}

impl LocalKeys {
    /// Loads the checkpoint key from the file `signing_key` (`evidence.signing_key` in the
    /// configuration) and the others from their files beside it; makes those that are not there,
    /// and the directory.
    ///
    /// # Errors
    /// If a file cannot be read or written, has a mode other than 0600 (0400 will do), or does not
    /// hold its key. A file that is there is never replaced.
    pub fn load_or_create(signing_key: &Path) -> Result<Self, KeyFault> {
        let dir = signing_key.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(io_fault("create", dir))?;
        let checkpoint = LocalSigner::load_or_create(signing_key, Kind::Ed25519)?;
        let pack = LocalSigner::load_or_create(&dir.join(PACK), Kind::P256)?;
        let master = MasterSecret::load_or_create(&dir.join(MASTER))?;
        Ok(Self { checkpoint: Arc::new(checkpoint), pack: Arc::new(pack), master })
    }

    /// Signs checkpoints (Ed25519).
    #[must_use]
    pub fn checkpoint(&self) -> Arc<dyn Signer> {
        let signer: Arc<LocalSigner> = Arc::clone(&self.checkpoint);
        signer
    }

    /// Signs packs (P-256).
    #[must_use]
    pub fn pack(&self) -> Arc<dyn Signer> {
        let signer: Arc<LocalSigner> = Arc::clone(&self.pack);
        signer
    }

    /// The secret that other keys are derived from.
    #[must_use]
    pub const fn master(&self) -> &MasterSecret {
        &self.master
    }
}

/// A private key in memory.
pub struct LocalSigner(Pair);

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

#[derive(Clone, Copy)]
enum Kind {
    Ed25519,
    P256,
}

impl LocalSigner {
    /// Loads an Ed25519 key from a PKCS#8 PEM file, or makes one there.
    ///
    /// # Errors
    /// As [`LocalKeys::load_or_create`].
    pub fn ed25519(path: &Path) -> Result<Self, KeyFault> {
        Self::load_or_create(path, Kind::Ed25519)
    }

    /// Loads a P-256 key from a PKCS#8 PEM file, or makes one there.
    ///
    /// # Errors
    /// As [`LocalKeys::load_or_create`].
    pub fn p256(path: &Path) -> Result<Self, KeyFault> {
        Self::load_or_create(path, Kind::P256)
    }

    fn load_or_create(path: &Path, kind: Kind) -> Result<Self, KeyFault> {
        let made = match read_private(path)? {
            Some(text) => return Self::parse(&text, kind, path),
            None => Zeroizing::new(pem_of(&Self::generate(kind)?)),
        };
        let signer = Self::parse(&made, kind, path)?;
        write_new(path, made.as_bytes(), 0o600)?;
        let public = path.with_extension("pub.pem");
        match write_new(&public, signer.public().pem().as_bytes(), 0o644) {
            Err(KeyFault::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        Ok(signer)
    }

    fn generate(kind: Kind) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let document = match kind {
            Kind::Ed25519 => Ed25519KeyPair::generate()
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(|_unspecified| KeyFault::Generate("Ed25519 key"))?,
            Kind::P256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(|_unspecified| KeyFault::Generate("P-256 key"))?,
        };
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn parse(pem: &str, kind: Kind, path: &Path) -> Result<Self, KeyFault> {
        let want = match kind {
            Kind::Ed25519 => "an Ed25519 private key in PKCS#8 PEM",
            Kind::P256 => "a P-256 private key in PKCS#8 PEM",
        };
        let fault = || KeyFault::Content { path: path.to_owned(), want };
        let der = der_of(pem).ok_or_else(fault)?;
        let pair = match kind {
            Kind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
                .map(Pair::Ed25519)
                .map_err(|_rejected| fault())?,
            Kind::P256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
                .map(|pair| Pair::P256(pair, SystemRandom::new()))
                .map_err(|_rejected| fault())?,
        };
        let signer = Self(pair);
        if signer.point().is_none() { Err(fault()) } else { Ok(signer) }
    }

    fn point(&self) -> Option<PublicKey> {
        match &self.0 {
            Pair::Ed25519(pair) => {
                pair.public_key().as_ref().try_into().ok().map(PublicKey::Ed25519)
            }
            Pair::P256(pair, _) => pair.public_key().as_ref().try_into().ok().map(PublicKey::P256),
        }
    }
}

impl Signer for LocalSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = match &self.0 {
            Pair::Ed25519(pair) => pair.try_sign(message),
            Pair::P256(pair, random) => pair.sign(random, message),
        };
        let signature = signature
            .map_err(|_unspecified| SignError("the cryptography library refused".to_owned()))?;
        Ok(signature.as_ref().to_vec())
    }

    #[expect(clippy::expect_used, reason = "the length of the public key was checked on loading")]
    fn public(&self) -> PublicKey {
        self.point().expect("a public key of the algorithm's length")
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalSigner").field(&self.point()).finish()
    }
}

/// 32 bytes from which every symmetric key is derived.
pub struct MasterSecret(Zeroizing<[u8; 32]>);

impl MasterSecret {
    /// Wraps 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Loads the secret, or draws one and writes it.
    ///
    /// # Errors
    /// As [`LocalKeys::load_or_create`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFault> {
        if let Some(text) = read_private(path)? {
            let bytes = unhex(text.trim()).map(Zeroizing::new);
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
            let want = "64 hexadecimal digits";
            let fault = || KeyFault::Content { path: path.to_owned(), want };
            return bytes.map(Zeroizing::new).map(Self).ok_or_else(fault);
        }
        let bytes = Zeroizing::new(ids::random::<32>().map_err(KeyFault::Random)?);
        let text = Zeroizing::new(format!("{}\n", hex(bytes.as_slice())));
        write_new(path, text.as_bytes(), 0o600)?;
        Ok(Self(bytes))
    }

    /// A key for one purpose: HKDF-SHA256 with the label as `info`. Labels are written
    /// `forge/PURPOSE/VERSION` and never used for two purposes.
    ///
    /// # Errors
    /// If the cryptography library refuses.
    pub fn derive(&self, label: &str) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
        struct Bytes32;
        impl KeyType for Bytes32 {
            fn len(&self) -> usize {
                32
            }
        }
        let mut key = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, b"forge-mcp-gateway")
            .extract(self.0.as_slice())
            .expand(&[label.as_bytes()], Bytes32)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(|_unspecified| KeyFault::Generate("derived key"))?;
        Ok(key)
    }

    /// The key of `Finding.digest`.
    ///
    /// # Errors
    /// As [`MasterSecret::derive`].
    pub fn finding_key(&self) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
        self.derive("forge/finding-digest/1")
    }

    /// The key of the commitment to the policy input in decision records.
    ///
    /// # Errors
    /// As [`MasterSecret::derive`].
    pub fn input_key(&self) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
        self.derive("forge/input-commitment/1")
    }

    /// The key that seals session ids and request states.
    ///
    /// # Errors
    /// As [`MasterSecret::derive`].
    pub fn sealing_key(&self) -> Result<SealingKey, KeyFault> {
        SealingKey::new(&*self.derive("forge/sealing/1")?)
    }
}

impl fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSecret(redacted)")
    }
}

/// Makes what is handed to clients and comes back from them unreadable and unchangeable
/// (AES-256-GCM, NIST SP 800-38D, random 96-bit nonces: good for 2^32 seals under one key).
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// Wraps a key.
    ///
    /// # Errors
    /// If the cryptography library refuses.
    pub fn new(key: &[u8; 32]) -> Result<Self, KeyFault> {
        UnboundKey::new(&AES_256_GCM, key)
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_unspecified| KeyFault::Generate("sealing key"))
    }

    /// Seals `plaintext` so that it opens only with the same `aad`. Base64url without padding,
    /// 38 characters more than four thirds of the plaintext.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<String, KeyFault> {
        let nonce = ids::random::<NONCE_LEN>().map_err(KeyFault::Random)?;
        let mut sealed = plaintext.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut sealed,
            )
            .map_err(|_unspecified| KeyFault::Generate("sealed value"))?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed with the same `aad`; `None` for everything else.
    #[must_use]
    pub fn open(&self, aad: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(aad), &mut sealed).ok()?;
        Some(opened.to_vec())
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(redacted)")
    }
}

fn pem_of(der: &[u8]) -> String {
    let text = Zeroizing::new(BASE64.encode(der));
    let mut pem = format!("{PEM_BEGIN}\n");
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push('\n');
    pem.push_str(PEM_END);
    pem.push('\n');
    pem
}

fn der_of(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = pem.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let mut text: String = body.split_whitespace().collect();
    let der = BASE64.decode(&text).ok().map(Zeroizing::new);
    text.zeroize();
    der
}

/// The text of a file that only its owner can read; `None` if there is no file.
fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFault> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_fault("open", path)(error)),
    };
    let mode = file.metadata().map_err(io_fault("look at", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFault::Mode { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = Zeroizing::new(String::new());
    io::Read::read_to_string(&mut file, &mut text).map_err(io_fault("read", path))?;
    Ok(Some(text))
}

/// Writes a file that is not there yet, durably and whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFault> {
    let draft = path.with_extension("draft");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&draft).map_err(io_fault("create", &draft))?;
    file.write_all(bytes).map_err(io_fault("write", &draft))?;
    file.sync_all().map_err(io_fault("sync", &draft))?;
    // Unlike a rename, a link does not replace a file that is there.
    let linked = fs::hard_link(&draft, path).map_err(io_fault("create", path));
    fs::remove_file(&draft).map_err(io_fault("remove", &draft))?;
    linked?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_fault("sync", dir))
}

fn io_fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFault {
    let path = path.to_owned();
    move |source| KeyFault::Io { action, path, source }
}

const PACK: &str = "pack.pem";
const MASTER: &str = "master.secret";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

#[cfg(test)]
mod tests;
