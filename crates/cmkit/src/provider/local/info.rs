//! What can be told about a key without its secret.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::key_id::KeyId;
use crate::provider::WrapAlgorithm;

/// What kind of key a local KEK is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// 256 random bits, for AES key wrap (`A256KW`).
    Oct256,
    /// RSA with a modulus of 3072 bits, for `RSA-OAEP-256`.
    Rsa3072,
    /// RSA with a modulus of 4096 bits, for `RSA-OAEP-256`.
    Rsa4096,
}

impl KeyType {
    /// Every type.
    pub const ALL: &'static [KeyType] = &[Self::Oct256, Self::Rsa3072, Self::Rsa4096];

    /// The name on the command line: `oct`, `rsa-3072`, `rsa-4096`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Oct256 => "oct",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// How keys of this type wrap.
    #[must_use]
    pub fn algorithm(self) -> WrapAlgorithm {
        match self {
            Self::Oct256 => WrapAlgorithm::A256Kw,
            Self::Rsa3072 | Self::Rsa4096 => WrapAlgorithm::RsaOaep256,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyType {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|t| t.name() == name)
            .ok_or_else(|| Error::invalid("a key type is oct, rsa-3072 or rsa-4096"))
    }
}

/// One version of a local key; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Its full id.
    pub id: KeyId,
    /// Its type; `None` where the file that says it is damaged.
    pub key_type: Option<KeyType>,
    /// When it was made or first imported, in seconds since 1970; `None` like `key_type`.
    pub created: Option<u64>,
    /// Whether it can be used.
    pub state: VersionState,
    /// Whether only the public half is here, so that it wraps and can't unwrap.
    pub public_only: bool,
    /// Whether it is the one that wrapping without a version uses, or refuses for.
    pub newest: bool,
}

/// What has become of a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionState {
    /// In use.
    Enabled,
    /// Out of use until it is enabled.
    Disabled,
    /// Gone for ever.
    Destroyed,
    /// Out of use: destroying it was interrupted, and its key file is still there.
    DestroyInterrupted,
    /// There, but its file can't be read as a key: restore it from a backup.
    Damaged,
}

impl VersionState {
    /// One or two words for a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
            Self::DestroyInterrupted => "half destroyed",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
