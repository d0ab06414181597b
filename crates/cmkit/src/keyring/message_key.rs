//! A DEK in use for one message: what documents and streams see of a keyring.

use std::sync::Arc;

use super::Shared;
use super::entry::{DecryptEntry, EncryptEntry};
use super::standing::Guard;
use crate::chunked::SALT_LEN;
use crate::context::EncryptionContext;
use crate::crypto::ExpandKey;
use crate::error::{Error, Result};

/// The shape of the header that a message gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As short as it can be.
    Full,
    /// A multiple of 4096 bytes, so that a file can be rewrapped in place.
    Padded,
    /// Without recipients: the DEK is in the key store.
    Compact,
}

/// A DEK that this keyring generated, charged for one message.
pub(crate) struct SealingKey {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<EncryptEntry>,
    pub(super) form: Form,
    pub(super) process: u32,
}

impl SealingKey {
    /// For a message that is sealed over time.
    pub(crate) fn guard(&self) -> Guard {
        Guard::Sealing(Arc::clone(&self.shared), Arc::clone(&self.entry))
    }

    pub(crate) fn header(&self) -> &[u8] {
        self.entry.header(self.form)
    }

    pub(crate) fn body_key(&self) -> &ExpandKey {
        &self.entry.keys.body
    }

    pub(crate) fn body_context(&self, context: &EncryptionContext) -> [u8; 32] {
        self.entry.keys.body_context(context)
    }

    /// A fresh salt, straight from the generator.
    pub(crate) fn draw_salt(&self) -> Result<[u8; SALT_LEN]> {
        let mut salt = [0; SALT_LEN];
        self.shared.random.fill(&mut salt)?;
        Ok(salt)
    }

    /// Counts plaintext against the DEK's policy.
    pub(crate) fn charge(&self, bytes: u64) {
        self.entry.usage.add_bytes(bytes);
    }

    /// An open message must not go on in a forked child: both would seal under the same key and nonces.
    pub(crate) fn check_process(&self) -> Result<()> {
        if std::process::id() != self.process {
            return Err(Error::InvalidState {
                problem: "this stream was opened in another process; after a fork open a new one",
            });
        }
        Ok(())
    }
}

/// A DEK that came out of an unwrap, for one envelope.
pub(crate) struct OpeningKey {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<DecryptEntry>,
}

impl OpeningKey {
    /// For a message that is opened over time.
    pub(crate) fn guard(&self) -> Guard {
        Guard::Opening(Arc::clone(&self.shared), Arc::clone(&self.entry))
    }

    pub(crate) fn header_len(&self) -> usize {
        self.entry.header.len()
    }

    pub(crate) fn body_key(&self) -> &ExpandKey {
        &self.entry.keys.body
    }

    pub(crate) fn body_context(&self, context: &EncryptionContext) -> [u8; 32] {
        self.entry.keys.body_context(context)
    }

    /// Counts plaintext against the DEK's policy.
    pub(crate) fn charge(&self, bytes: u64) {
        self.entry.usage.add_bytes(bytes);
    }
}
