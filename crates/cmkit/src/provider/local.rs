//! Keys in local files: one JSON Web Key per version, in a directory that only its owner can read.
//!
//! `docs/guides/key-directory.md` describes the directory, and how to back it up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use self::dir::{Dir, Presence};
use self::problem::into_provider_error;
use self::scan::{Files, StoredKey, Versions};
use self::states::States;
use super::{KeyProvider, KeyState, UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey};
use crate::crypto;
use crate::error::{Error, ErrorKind, ProviderError, ProviderErrorKind, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::secret::SecretBytes;

mod dir;
mod home;
mod jwk;
mod manage;
mod material;
mod problem;
mod scan;
mod states;
#[cfg(test)]
mod tests;

pub use home::default_dir;

const KEYS_DIR: &str = "keys";
const TEMP_PREFIX: &str = ".new-";
/// Bytes in the largest file that is read as a key: ten times the largest that is written.
const MAX_FILE_LEN: usize = 64 * 1024;

/// A key provider over a directory of key files: `local:NAME/VERSION`.
///
/// A key is a name with versions. Wrapping without a version uses the newest one, and fails if that is
/// disabled or destroyed: it never falls back to an older one. Unwrapping uses exactly the version asked for.
///
/// Key files are written once and never changed, so nothing done here but [`destroy`](Self::destroy) can lose
/// a key. Any number of threads and processes may use and change a directory at the same time.
/// Keys are read from disk when they are used and wiped from memory at once.
///
/// On Unix the directory, everything in it and every key file must belong to the user (or root) and have no group
/// or other permission bits; otherwise every operation fails and says which `chmod` to run.
///
/// ```
/// # fn main() -> cmkit::Result<()> {
/// # let home = tempfile::tempdir().unwrap();
/// # let dir = home.path().join("keys");
/// use cmkit::{KeyType, LocalKeyProvider};
///
/// let provider = LocalKeyProvider::open_or_create(&dir)?;
/// let first = provider.create_key("default", KeyType::Oct256)?;
/// let second = provider.rotate("default")?;
/// provider.disable(&first)?;
/// assert!(provider.list()?.iter().any(|key| key.id == second && key.newest));
/// # Ok(())
/// # }
/// ```
pub struct LocalKeyProvider {
    dir: PathBuf,
    states: States,
}

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

impl LocalKeyProvider {
    /// A provider over a directory that need not exist yet. Nothing is looked at or made before it is needed:
    /// until the first [`create_key`](Self::create_key) makes the directory, no key is found in it.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the path is empty.
    /// * [`Error::Io`]: the path is relative and there is no current directory.
    pub fn at(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        if dir.as_os_str().is_empty() {
            return Err(Error::invalid("the path of the key directory is empty"));
        }
        // So that it stays the same directory when the process changes its own.
        let dir = std::path::absolute(dir).map_err(|e| Error::io_at("find", dir, e))?;
        Ok(Self {
            dir,
            states: States::new(),
        })
    }

    /// A provider over a directory that exists.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`NotFound`](ProviderErrorKind::NotFound): there is no such directory;
    ///   [`Denied`](ProviderErrorKind::Denied): it isn't private; the message has the `chmod` to run;
    ///   [`Unusable`](ProviderErrorKind::Unusable): it isn't a directory.
    /// * [`Error::Io`]: it can't be opened.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let provider = Self::at(dir)?;
        if Dir::open(&provider.dir)?.is_none() {
            return Err(ProviderError::new(
                ProviderErrorKind::NotFound,
                format!(
                    "there is no key directory {}; `cmkit key create NAME` makes it, or restore it from \
                     a backup",
                    provider.dir.display()
                ),
            )
            .into());
        }
        provider.keys_dir()?;
        Ok(provider)
    }

    /// A provider over a directory, which is made if it is missing: mode 0700, like what is missing above it.
    ///
    /// # Errors
    /// As [`open`](Self::open), without `NotFound`.
    pub fn open_or_create(dir: impl AsRef<Path>) -> Result<Self> {
        let provider = Self::at(dir)?;
        Dir::create_all(&provider.dir)?.create_child(KEYS_DIR)?;
        Ok(provider)
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn keys_dir(&self) -> Result<Option<Dir>> {
        match Dir::open(&self.dir)? {
            Some(home) => home.child(KEYS_DIR),
            None => Ok(None),
        }
    }

    /// The directory of a key's versions. `None`: there is no such key.
    fn key_dir(&self, key: &KeyRef) -> Result<Option<Dir>> {
        if key.scheme() != SCHEME {
            return Err(Error::invalid(format!(
                "key {key} is not a local one; those are written local:NAME"
            )));
        }
        // The grammar of names has neither dots nor slashes; to be told so again is cheap.
        let key = manage::local_key(key.name())?;
        match self.keys_dir()? {
            Some(keys) => keys.child(key.name()),
            None => Ok(None),
        }
    }

    fn existing_key_dir(&self, key: &KeyRef) -> Result<Dir> {
        match self.key_dir(key)? {
            Some(dir) => Ok(dir),
            None => Err(manage::no_key(key, &self.dir).into()),
        }
    }

    /// The key of an enabled version.
    fn usable_key(&self, dir: &Dir, id: &KeyId) -> Result<StoredKey> {
        let files = Files::of(id.version());
        let refusal = if dir.presence(&files.destroyed)? != Presence::Absent {
            match dir.presence(&files.key)? {
                Presence::Absent => VersionState::Destroyed.refusal(id),
                _ => VersionState::DestroyInterrupted.refusal(id),
            }
        } else if dir.presence(&files.disabled)? != Presence::Absent
            && dir.presence(&files.key)? != Presence::Absent
        {
            VersionState::Disabled.refusal(id)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        match scan::read_key(dir, id)? {
            Some(key) => Ok(key),
            None => Err(manage::no_version(id).into()),
        }
    }

    fn wrap_inner(&self, request: &WrapRequest<'_>) -> Result<WrappedKey> {
        let dir = self.existing_key_dir(request.key)?;
        let id = match request.key.version() {
            Some(version) => request.key.with_version(version)?,
            None => self.newest(&dir, request.key)?,
        };
        let key = self.usable_key(&dir, &id)?;
        self.make_durable(&dir, &id)?;
        let wrapped = key.material.wrap(request.plaintext).map_err(|_| {
            Error::from(
                ProviderError::new(
                    ProviderErrorKind::Other,
                    format!("it can't wrap {} bytes", request.plaintext.len()),
                )
                .on_key(&id),
            )
        })?;
        Ok(WrappedKey {
            key: id,
            algorithm: key.material.algorithm(),
            wrapped,
        })
    }

    fn newest(&self, dir: &Dir, key: &KeyRef) -> Result<KeyId> {
        let versions = Versions::read(dir, key)?;
        let Some(newest) = versions.newest()? else {
            return Err(manage::no_key(key, &self.dir).into());
        };
        let problem = match newest.state {
            VersionState::Enabled | VersionState::Damaged => return Ok(newest.id.clone()),
            VersionState::Disabled => (
                ProviderErrorKind::Disabled,
                format!("is disabled; run `cmkit key enable {}`, or", newest.id),
            ),
            VersionState::Destroyed | VersionState::DestroyInterrupted => {
                (ProviderErrorKind::Disabled, "was destroyed;".to_owned())
            }
        };
        Err(ProviderError::new(
            problem.0,
            format!(
                "its newest version {} {} run `cmkit key rotate {}` for a new one (an older one is only \
                 used when it is asked for)",
                newest.id.version(),
                problem.1,
                key.name()
            ),
        )
        .on_key(key)
        .into())
    }

    /// Waits until the key is on disk for good, before its first use by this provider: it may have become
    /// visible just now, by the work of a process that has yet to wait for the disk, or died before.
    fn make_durable(&self, dir: &Dir, id: &KeyId) -> Result<()> {
        self.states.once_durable(id, || {
            dir.sync_content(&Files::of(id.version()).key)?;
            dir.sync()?;
            dir.sync_ancestors()
        })
    }

    fn unwrap_inner(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes> {
        let id = request.key;
        let dir = self.existing_key_dir(id)?;
        let key = self.usable_key(&dir, id)?;
        let unusable =
            |problem: String| ProviderError::new(ProviderErrorKind::Unusable, problem).on_key(id);
        if key.material.algorithm() != request.algorithm {
            return Err(unusable(format!(
                "it is for {}, and the DEK was wrapped by {}",
                key.material.algorithm().name(),
                request.algorithm.name()
            ))
            .into());
        }
        if key.material.is_public_only() {
            return Err(unusable(
                "only its public half is here, which can't unwrap; use the directory that has its private \
                 half"
                    .to_owned(),
            )
            .into());
        }
        match key.material.unwrap(request.wrapped) {
            Ok(plaintext) => Ok(plaintext.into()),
            Err(crypto::CryptoError) => Err(Error::AuthenticationFailed),
        }
    }

    fn look(&self, id: &KeyId, known: Option<KeyState>) -> KeyState {
        let gone = match known {
            Some(KeyState::Active | KeyState::Revoked) => KeyState::Revoked,
            _ => KeyState::Unknown,
        };
        let look = || {
            let Some(dir) = self.key_dir(id)? else {
                return Ok(gone);
            };
            let files = Files::of(id.version());
            if dir.presence(&files.destroyed)? != Presence::Absent {
                return Ok(KeyState::Revoked);
            }
            Ok(match dir.presence(&files.key)? {
                Presence::Absent => gone,
                Presence::Exposed => KeyState::Revoked,
                Presence::Private if dir.presence(&files.disabled)? != Presence::Absent => {
                    KeyState::Revoked
                }
                Presence::Private => KeyState::Active,
            })
        };
        look().unwrap_or_else(|error: Error| match error.kind() {
            ErrorKind::AccessDenied | ErrorKind::KeyUnusable => KeyState::Revoked,
            ErrorKind::InvalidArgument => KeyState::Unknown,
            _ => KeyState::Unavailable,
        })
    }
}

const SCHEME: &str = "local";

impl KeyProvider for LocalKeyProvider {
    fn name(&self) -> &str {
        SCHEME
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        self.wrap_inner(request)
            .map_err(|error| into_provider_error(error, request.key.as_str()))
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.unwrap_inner(request)
            .map_err(|error| into_provider_error(error, request.key.as_str()))
    }

    /// Answers from memory and looks at the disk at most once a second for each version: what another process
    /// changed is seen within one second, what this provider changed at once.
    ///
    /// [`Revoked`](KeyState::Revoked) is a version that is disabled or destroyed, that was there before and has
    /// gone, or whose directory or file stopped being private.
    fn state(&self, key: &KeyId) -> KeyState {
        self.states.state(key, |known| self.look(key, known))
    }
}

impl fmt::Debug for LocalKeyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKeyProvider")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

fn random_hex() -> Result<String> {
    use fmt::Write as _;
    let mut bytes = [0; 16];
    crypto::random(&mut bytes).map_err(|_| Error::Internal {
        problem: "the system gives no randomness",
    })?;
    Ok(bytes
        .iter()
        .fold(String::with_capacity(32), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
}
