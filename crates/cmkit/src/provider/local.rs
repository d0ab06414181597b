//! Keys in local files: one JSON Web Key per version, in a directory that only its owner can read.
//!
//! `docs/guides/key-directory.md` describes the directory, and how to back it up.

use std::fmt;
use std::path::{Path, PathBuf};

use self::dir::Dir;
use self::states::States;
use crate::crypto;
use crate::error::{Error, ProviderError, ProviderErrorKind, Result};
use crate::key_id::KeyRef;

#[cfg(unix)]
mod dir;
#[cfg(not(unix))]
#[path = "local/dir_portable.rs"]
mod dir;
mod exchange;
mod home;
mod info;
mod jwk;
mod manage;
mod material;
mod problem;
mod scan;
mod serve;
mod states;
#[cfg(test)]
mod tests;

pub use home::default_dir;
pub use info::{KeyInfo, KeyType, VersionState};

/// The scheme of the key ids, and the name that goes into envelopes.
const SCHEME: &str = "local";
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

    fn check_scheme(&self, key: &KeyRef) -> Result<()> {
        if key.scheme() == SCHEME {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "key {key} is not a local one; those are written local:NAME"
        )))
    }

    /// The directory of a key's versions. `None`: there is no such key.
    fn key_dir(&self, key: &KeyRef) -> Result<Option<Dir>> {
        self.check_scheme(key)?;
        // The grammar of names has neither dots nor slashes; to be told so again is cheap.
        let key = manage::local_key(key.name())?;
        match self.keys_dir()? {
            Some(keys) => keys.child(key.name()),
            None => Ok(None),
        }
    }

    /// As [`key_dir`](Self::key_dir), with the error for a key that isn't there.
    fn existing_key_dir(&self, key: &KeyRef) -> Result<Dir> {
        match self.key_dir(key)? {
            Some(dir) => Ok(dir),
            None => Err(manage::no_key(key, &self.dir).into()),
        }
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
