//! Key directories and the keyrings over them.

use std::path::PathBuf;
use std::sync::Arc;

use cmkit::{AllowEntry, DefaultKeyProvider, Error, ErrorKind, KeyRef, Keyring, LocalKeyProvider};

use crate::failure::{Doing, Failure, Result, say};

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

    /// Whether the key is or was here.
    fn has_known(&self, key: Option<&str>) -> bool {
        let Some(key) = key.and_then(|key| KeyRef::parse(key).ok()) else {
            return true;
        };
        self.provider()
            .is_ok_and(|provider| provider.show(&key).is_ok())
    }

    /// To encrypt: `local:default`, and only that, is made when it isn't there.
    pub(crate) fn encrypting(&self, keys: &[KeyRef], workspace: Option<&str>) -> Result<Keyring> {
        let provider = DefaultKeyProvider::new(self.dir()?).on_create(|id, dir| {
            say(&format!(
                "made the key {id} in {}; back up that directory: what is encrypted can't be read without it",
                dir.display()
            ));
        });
        let mut builder = Keyring::builder().provider(Arc::new(provider));
        if keys.is_empty() {
            builder = builder.wrap_with(default_key()?);
        }
        for key in keys {
            builder = builder.wrap_with(key.clone());
        }
        if let Some(workspace) = workspace {
            builder = builder.workspace(workspace);
        }
        builder.build().map_err(|e| Failure::of(&e, Doing::Encrypt))
    }

    /// To open: `local:default` and the given keys are allowed.
    pub(crate) fn opening(&self, keys: &[KeyRef], workspace: Option<&str>) -> Result<Keyring> {
        let mut builder = Keyring::builder()
            .provider(Arc::new(self.provider()?))
            .allow(AllowEntry::Key(default_key()?));
        for key in keys {
            builder = builder.allow(AllowEntry::Key(key.clone()));
        }
        if let Some(workspace) = workspace {
            builder = builder.workspace(workspace);
        }
        builder.build().map_err(|e| Failure::of(&e, Doing::Decrypt))
    }
}

fn default_key() -> Result<KeyRef> {
    KeyRef::local("default").map_err(|e| Failure::of(&e, Doing::Else))
}
