//! How long a DEK serves, and which keys may unwrap.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::key_id::{KeyRef, is_authority};

/// Messages that one DEK may ever encrypt.
const MESSAGES_CEILING: u64 = 1 << 32;

/// How long a cached DEK serves. The policy decides whether a DEK takes *another* message, counted per keyring; a message
/// under way is never cut.
///
/// Zero in any of them means "don't cache". No value means "for ever".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DekPolicy {
    pub(crate) max_age: Duration,
    pub(crate) max_messages: u64,
    pub(crate) max_bytes: u64,
    pub(crate) max_entries: usize,
}

impl Default for DekPolicy {
    /// One hour, 2^20 messages, 256 GiB, 1000 entries.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(3600),
            max_messages: 1 << 20,
            max_bytes: 256 << 30,
            max_entries: 1000,
        }
    }
}

impl DekPolicy {
    /// A policy that caches nothing: every message has its own DEK, and every call asks the provider.
    #[must_use]
    pub fn no_cache() -> Self {
        Self::default().max_age(Duration::ZERO)
    }

    /// A DEK serves no longer than this, at most 24 hours. Default: one hour.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// A DEK serves no more messages than this, at most 2^32. Default: 2^20.
    #[must_use]
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// A DEK takes no other message after this many bytes of plaintext. Default: 256 GiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// No more unwrapped DEKs than this are kept for decrypting; the one unused for longest goes first. Default: 1000.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    pub(crate) fn caches(&self) -> bool {
        !self.max_age.is_zero()
            && self.max_messages > 0
            && self.max_bytes > 0
            && self.max_entries > 0
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.max_messages > MESSAGES_CEILING {
            return Err(Error::invalid(
                "DekPolicy: max_messages is above 2^32, the most that one DEK may encrypt",
            ));
        }
        if self.max_age > Duration::from_secs(24 * 3600) {
            return Err(Error::invalid(
                "DekPolicy: max_age is above 24 hours; a DEK must be asked for again some day",
            ));
        }
        Ok(())
    }
}

/// Which keys a keyring may ask to unwrap, besides the ones it wraps with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowEntry {
    /// This key in any version; a version that is given is ignored.
    Key(KeyRef),
    /// Every key of this host, given as in a key id: `v.vault.azure.net`, with its port if it has one. Exact, never a suffix.
    Host(String),
}

impl AllowEntry {
    /// That some key can match: a URL or a host in capitals would only be noticed when nothing decrypts.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Host(host) if !is_authority(host) => Err(Error::invalid(format!(
                "{host:?} on the allow-list is no host; give it as in a key id, such as v.vault.azure.net, in small letters"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn permits(&self, key: &KeyRef) -> bool {
        match self {
            Self::Key(allowed) => allowed.same_key(key),
            Self::Host(host) => key.host() == Some(host),
        }
    }
}
