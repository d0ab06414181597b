//! Key directories.

use std::path::PathBuf;

use cmkit::{Error, ErrorKind, KeyRef, LocalKeyProvider};

use crate::failure::{Doing, Failure, Result};

/// The key directory.
pub(crate) struct Home(Option<PathBuf>);

impl Home {
    /// The one of `--home`, else the default.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self(dir)
    }

    /// Its path, absolute.
    pub(crate) fn dir(&self) -> Result<PathBuf> {
        let dir = match &self.0 {
            Some(dir) if dir.as_os_str().is_empty() => {
                return Err(Failure::usage("`--home` names no directory"));
            }
            Some(dir) => dir.clone(),
            None => cmkit::default_dir().map_err(|e| Failure::of(&e, Doing::Else))?,
        };
        std::path::absolute(&dir)
            .map_err(|e| Failure::other(format!("cannot find {}: {e}", dir.display())))
    }

    /// Its keys. Nothing is made.
    pub(crate) fn provider(&self) -> Result<LocalKeyProvider> {
        LocalKeyProvider::at(self.dir()?).map_err(|e| Failure::of(&e, Doing::Else))
    }

    /// What went wrong with a keyring of this directory.
    pub(crate) fn failure(&self, error: &Error, doing: Doing) -> Failure {
        let is_missing = doing != Doing::Encrypt
            && error.kind() == ErrorKind::KeyNotFound
            && !self.has_known(error.provider().and_then(|e| e.key.as_deref()));
        let dir = is_missing.then(|| self.dir().ok()).flatten();
        Failure::missing_from(error, doing, dir.as_deref())
    }

    /// Whether the key is or was here, or is none that could be.
    fn has_known(&self, key: Option<&str>) -> bool {
        let Some(key) = key.and_then(|key| KeyRef::parse(key).ok()) else {
            return true;
        };
        if key.scheme() != "local" {
            return true;
        }
        self.provider()
            .is_ok_and(|provider| provider.show(&key).is_ok())
    }
}
