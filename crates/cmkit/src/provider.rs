//! Key providers: who holds the KEKs, and wraps and unwraps with them.

use crate::error::ProviderError;
use crate::key_id::{KeyId, KeyRef};
use crate::secret::SecretBytes;

mod call;
mod default_key;
pub(crate) mod local;

pub use call::{Answer, Call};
pub use default_key::DefaultKeyProvider;

/// Holds key-encryption keys and wraps and unwraps data keys with them; the KEK itself never leaves it.
///
/// A keyring calls it from any thread, several at a time, and never while holding a lock of its own. Calls may block; they
/// are made when a DEK is new, unknown or too old, not per message. An implementation must not call the keyring
/// that is calling it: that is refused with an error.
pub trait KeyProvider: Send + Sync {
    /// A short name, 1 to 64 bytes, that goes into every envelope: `local`, `azure-key-vault`.
    ///
    /// Never change it once envelopes exist: they are matched to their provider by it.
    fn name(&self) -> &str;

    /// Whether this provider is the one for `key`. By default: the key's scheme equals [`name`](Self::name).
    fn owns(&self, key: &KeyRef) -> bool {
        key.scheme() == self.name()
    }

    /// Wraps `request.plaintext` (72 bytes) under a key.
    ///
    /// # Errors
    /// A [`ProviderError`] whose kind says what to do about it.
    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError>;

    /// Gives back what [`wrap`](Self::wrap) wrapped.
    ///
    /// # Errors
    /// A [`ProviderError`]; [`Rejected`](crate::ProviderErrorKind::Rejected) when the bytes are not what
    /// the key wrapped.
    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError>;

    /// What is known about a key version at this moment. Asked on every use of a cached DEK, so it must be fast and
    /// must not block on a network.
    fn state(&self, key: &KeyId) -> KeyState {
        let _ = key;
        KeyState::Active
    }

    /// Whether keys can be taken away without this provider noticing by itself, as in a service over a network.
    ///
    /// A keyring then keeps count of when such a key last worked, asks again while its DEKs are in use, and lets them go when the answer is no or
    /// stays out for too long. By default no: [`state`](Self::state) is always right.
    fn is_remote(&self) -> bool {
        false
    }

    /// The newest version of a key, after checking that it may be used to wrap; asked about once an hour, so that rotations are noticed and a
    /// change of the key's rules is too. `None`, the default: this provider can't tell.
    ///
    /// # Errors
    /// A [`ProviderError`]: what [`wrap`](Self::wrap) would say.
    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        let _ = request;
        Ok(None)
    }
}

/// What to wrap, with which key.
#[non_exhaustive]
pub struct WrapRequest<'a> {
    /// The key; without a version: the newest one, and never an older one in its place.
    pub key: &'a KeyRef,
    /// The capsule to wrap: 72 secret bytes.
    pub plaintext: &'a [u8],
    /// The operation that this is part of, where the caller keeps account of it.
    pub call: Option<&'a Call>,
}

impl<'a> WrapRequest<'a> {
    /// A request to wrap `plaintext` with `key`.
    #[must_use]
    pub fn new(key: &'a KeyRef, plaintext: &'a [u8]) -> Self {
        Self {
            key,
            plaintext,
            call: None,
        }
    }

    /// The same, as part of this operation.
    #[must_use]
    pub fn in_call(mut self, call: &'a Call) -> Self {
        self.call = Some(call);
        self
    }
}

/// What to unwrap, with which key version.
#[non_exhaustive]
pub struct UnwrapRequest<'a> {
    /// The exact key version that wrapped it. Never try another.
    pub key: &'a KeyId,
    /// How it was wrapped.
    pub algorithm: WrapAlgorithm,
    /// The wrapped bytes: 1 to 1024, from an envelope that nobody vouched for yet.
    pub wrapped: &'a [u8],
    /// The operation that this is part of, where the caller keeps account of it.
    pub call: Option<&'a Call>,
}

impl<'a> UnwrapRequest<'a> {
    /// A request to unwrap `wrapped` with `key`.
    #[must_use]
    pub fn new(key: &'a KeyId, algorithm: WrapAlgorithm, wrapped: &'a [u8]) -> Self {
        Self {
            key,
            algorithm,
            wrapped,
            call: None,
        }
    }

    /// The same, as part of this operation.
    #[must_use]
    pub fn in_call(mut self, call: &'a Call) -> Self {
        self.call = Some(call);
        self
    }
}

/// Of which key to find the newest version.
#[non_exhaustive]
pub struct NewestRequest<'a> {
    /// The key; a version in it is ignored.
    pub key: &'a KeyRef,
    /// The operation that this is part of, where the caller keeps account of it.
    pub call: Option<&'a Call>,
}

impl<'a> NewestRequest<'a> {
    /// A request for the newest version of `key`.
    #[must_use]
    pub fn new(key: &'a KeyRef) -> Self {
        Self { key, call: None }
    }

    /// The same, as part of this operation.
    #[must_use]
    pub fn in_call(mut self, call: &'a Call) -> Self {
        self.call = Some(call);
        self
    }
}

/// The newest version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestKey {
    /// Its full id.
    pub key: KeyId,
    /// When it was made, in seconds since 1970, where the provider tells.
    pub created: Option<u64>,
}

/// A wrapped DEK, and which key version wrapped it.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// The full, versioned id of the key that was used, as the provider reports it.
    pub key: KeyId,
    /// How it was wrapped.
    pub algorithm: WrapAlgorithm,
    /// 1 to 1024 bytes.
    pub wrapped: Vec<u8>,
}

/// How a KEK wraps a capsule: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrapAlgorithm {
    /// AES key wrap with a 256-bit KEK (RFC 3394). COSE -5.
    A256Kw,
    /// RSAES-OAEP with SHA-256, MGF1-SHA-256 and an empty label (RFC 8017). COSE -41.
    RsaOaep256,
}

impl WrapAlgorithm {
    /// The name in JOSE and Key Vault: `A256KW`, `RSA-OAEP-256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A256Kw => "A256KW",
            Self::RsaOaep256 => "RSA-OAEP-256",
        }
    }

    /// The algorithm with this JOSE name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::A256Kw, Self::RsaOaep256]
            .into_iter()
            .find(|a| a.name() == name)
    }

    /// COSE's number (RFC 9053), which is negative: this is `-1 - n`, the argument of the CBOR integer.
    pub(crate) fn cose_argument(self) -> u64 {
        match self {
            Self::A256Kw => 4,
            Self::RsaOaep256 => 40,
        }
    }

    pub(crate) fn from_cose_argument(argument: u64) -> Option<Self> {
        [Self::A256Kw, Self::RsaOaep256]
            .into_iter()
            .find(|a| a.cose_argument() == argument)
    }
}

/// What a provider knows about a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// In use.
    Active,
    /// Out of reach for now; cached DEKs serve until they are too old.
    Unavailable,
    /// Taken away: disabled, deleted, or access denied. Cached DEKs stop serving at once.
    Revoked,
    /// Never seen by this provider.
    Unknown,
}
