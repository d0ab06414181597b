//! Envelope encryption for data whose key belongs to somebody else: the customer.
//!
//! A **KEK** (key-encryption key, the customer-managed key) stays with a [key provider](KeyProvider): a directory on this
//! machine, a vault, an HSM. It wraps 256-bit **DEKs** (data keys). DEKs encrypt documents, streams and files. What comes out
//! is an *envelope*: a small header with the wrapped DEK, and a [Cobblestone-256](https://c2sp.org/chunked-encryption) body.
//! The bytes are specified in `docs/format.md`.
//!
//! # Where to begin
//!
//! * [`Keyring`]: which keys wrap and unwrap. [`Keyring::local`] uses the key directory of the user.
//! * Data in memory: [`Keyring::encrypt`], [`Keyring::decrypt`] and their `_into` and `_in_place` forms.
//! * Streams: [`Encryptor`] for [`Write`](std::io::Write), [`Decryptor`] for [`Read`](std::io::Read), [`Reader`] for random access.
//! * Files: [`Keyring::encrypt_file`], [`Keyring::decrypt_file`], [`Keyring::open_file`].
//! * Another key for the same data: [`Keyring::rewrap`], [`Keyring::rewrap_file`].
//! * A new version of the same key: [`Keyring::rotation`], and [`Keyring::census`] before the old one is disabled.
//! * Blocks of a scratch disk: [`BlockKey`], [`XtsKey`]; whole disks are the crate `cmkit-scratch`.
//! * A provider or a key store of your own: [`KeyProvider`], [`KeyStore`].
//!
//! ```
//! use cmkit::{EncryptionContext, KeyRef, KeyType, Keyring, LocalKeyProvider};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("keys");
//! let provider = LocalKeyProvider::open_or_create(&path)?;
//! provider.create_key("team", KeyType::Oct256)?;
//! let keyring = Keyring::builder()
//!     .provider(std::sync::Arc::new(provider))
//!     .wrap_with(KeyRef::parse("local:team")?)
//!     .build()?;
//!
//! let context = EncryptionContext::new([("doc", "42")])?;
//! let envelope = keyring.encrypt(b"attack at dawn", &context)?;
//! assert_eq!(keyring.decrypt(&envelope, &context)?, b"attack at dawn");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! * `aws-lc-rs` (default): primitives from AWS-LC; needs a C compiler.
//! * `rustcrypto`: primitives from pure-Rust crates. With both on, AWS-LC is used.
//!
//! The core has no network, no async runtime and no unsafe code, starts no thread that outlives a call, and reads the environment in
//! [`default_dir`] only.

mod audit;
mod cache;
mod capsule;
mod cbor;
mod census;
mod chunked;
mod context;
mod crypto;
mod document;
mod durable;
mod envelope;
mod error;
mod file;
mod file_lock;
#[cfg(test)]
mod golden;
mod inspect;
mod key_id;
mod key_store;
mod keyring;
mod provider;
mod rewrap;
mod scratch;
mod seams;
mod secret;
mod stream;
mod walk;

pub use audit::{AuditEvent, AuditOperation, AuditSink, JsonLines};
pub use census::{Census, SafeToDisable, Unreadable, Verdict, VersionUse};
pub use context::EncryptionContext;
pub use document::{decrypted_len, decrypted_len_of};
pub use envelope::{DekId, Purpose, header_len, is_envelope};
pub use error::{Error, ErrorKind, ProviderError, ProviderErrorKind, Result};
pub use file::{AtomicFile, FileOptions, Overwrite, Progress};
pub use inspect::{Inspection, RecipientInfo, inspect};
pub use key_id::{KeyId, KeyRef};
pub use key_store::{DirectoryKeyStore, KeyStore, StoredKey};
pub use keyring::{
    AllowEntry, DekPolicy, Freshness, Keyring, KeyringBuilder, Maintenance, MaintenanceThread,
};
pub use provider::local::{KeyInfo, KeyType, LocalKeyProvider, VersionState, default_dir};
pub use provider::{
    Answer, Call, DefaultKeyProvider, KeyProvider, KeyState, NewestKey, NewestRequest,
    UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey,
};
pub use rewrap::{Rewrap, RewrapOutcome, Rotate, RotateOutcome, Rotated, RotatedFile, Rotation};
pub use scratch::{BlockKey, BlockSeal, BlockSize, SectorSize, VolumeLayout, XtsKey};
pub use secret::SecretBytes;
pub use stream::{
    Decryptor, Encryptor, HeaderPadding, ReadAt, Reader, SeekReadAt, StreamOptions, error_from_io,
};
