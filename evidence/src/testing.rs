//! Keys for the tests of this crate.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use crate::note::{PublicKey, SignError, Signer};

/// A key that is the same for the same number (Ed25519), or fresh (P-256).
#[derive(Debug)]
pub(crate) enum TestSigner {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl TestSigner {
    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub(crate) fn p256(_seed: u8) -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }
}

impl Signer for TestSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::P256(key) => {
                Ok(key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
            }
        }
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.public_key().as_ref().try_into().unwrap()),
            Self::P256(key) => PublicKey::P256(key.public_key().as_ref().try_into().unwrap()),
        }
    }
}
