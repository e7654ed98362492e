//! Sealing of secrets: AES-256-GCM under one key per installation.

use std::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Nonce, Payload};

use crate::error::Error;

/// The version of the sealed form: this byte, 12 bytes of nonce, ciphertext with its 16 bytes of proof.
const FORM: u8 = 1;
const NONCE_BYTES: usize = 12;

/// The key that seals an installation's secrets.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

/// Text that isn't a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a master key of 64 hex digits, got {digits} characters")]
pub struct InvalidMasterKey {
    /// How long the text is.
    pub digits: usize,
}

impl MasterKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hex digits, with white space around them.
    pub fn from_hex(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        let invalid = InvalidMasterKey { digits: text.len() };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| invalid)?;
        }
        Ok(Self(bytes))
    }

    /// A fresh key.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self(random()?))
    }

    /// The 64 hex digits.
    pub(crate) fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Seals a secret so that it opens under the same name only.
    pub(crate) fn seal(&self, name: &str, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: plaintext, aad: name.as_bytes() };
        let sealed = self
            .cipher()
            .encrypt(&Nonce::<Aes256Gcm>::from(nonce), payload)
            .map_err(|_| Error::internal("sealing a secret", "it is too long"))?;
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        bytes.push(FORM);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Opens a sealed secret.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let what = || format!("secret `{name}`");
        let (form, rest) = sealed.split_first().ok_or_else(|| Error::unreadable(what(), "it is empty"))?;
        if *form != FORM {
            return Err(Error::unreadable(what(), format_args!("its form {form} is not known to this build")));
        }
        let (nonce, sealed) =
            rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(|| Error::unreadable(what(), "it is cut short"))?;
        self.cipher()
            .decrypt(&Nonce::<Aes256Gcm>::from(*nonce), Payload { msg: sealed, aad: name.as_bytes() })
            .map_err(|_| Error::unreadable(what(), "it was sealed with another master key, or is damaged"))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.0.into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal("asking for random bytes", error.to_string()))?;
    Ok(bytes)
}
