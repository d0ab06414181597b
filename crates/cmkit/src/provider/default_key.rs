//! The provider of [`Keyring::local`](crate::Keyring::local): makes the key `local:default` when it is first needed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::local::{KeyType, LocalKeyProvider};
use super::{
    KeyProvider, KeyState, NewestKey, NewestRequest, UnwrapRequest, WrapRequest, WrappedKey,
};
use crate::error::{Error, ProviderError, ProviderErrorKind};
use crate::key_id::{KeyId, KeyRef};
use crate::secret::SecretBytes;

const DEFAULT_NAME: &str = "default";

type Notice = Box<dyn Fn(&KeyId, &Path) + Send + Sync>;

/// A [`LocalKeyProvider`] whose key `local:default` makes itself: when something is encrypted under it and it
/// isn't there, it is created, and so is the directory. Decrypting creates nothing.
pub struct DefaultKeyProvider {
    dir: PathBuf,
    notice: Option<Notice>,
    opened: OnceLock<LocalKeyProvider>,
}

impl DefaultKeyProvider {
    /// Keys in this directory, which needn't exist yet. A relative path means one below the current directory of now.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            dir: std::path::absolute(&dir).unwrap_or(dir),
            notice: None,
            opened: OnceLock::new(),
        }
    }

    /// Calls this once the key was created, with its id and the directory: the moment to tell the user to back it up.
    #[must_use]
    pub fn on_create(mut self, notice: impl Fn(&KeyId, &Path) + Send + Sync + 'static) -> Self {
        self.notice = Some(Box::new(notice));
        self
    }

    /// The keys, if the directory is there.
    fn opened(&self) -> Result<Option<&LocalKeyProvider>, ProviderError> {
        if self.opened.get().is_none() {
            if !self.dir.exists() {
                return Ok(None);
            }
            // Two threads may both open it; the directory is the same.
            let _ = self
                .opened
                .set(LocalKeyProvider::open(&self.dir).map_err(as_provider_error)?);
        }
        Ok(self.opened.get())
    }

    fn create(&self) -> Result<(), ProviderError> {
        let provider = LocalKeyProvider::open_or_create(&self.dir).map_err(as_provider_error)?;
        let created = provider.create_key_if_absent(DEFAULT_NAME, KeyType::Oct256);
        // `None`: another process was faster, and its key serves.
        if let (Some(id), Some(notice)) = (created.map_err(as_provider_error)?, &self.notice) {
            notice(&id, &self.dir);
        }
        Ok(())
    }

    fn missing(&self, key: &KeyRef) -> ProviderError {
        let message = format!(
            "there is no key directory {}; restore it from a backup, or name the right one",
            self.dir.display()
        );
        ProviderError::new(ProviderErrorKind::NotFound, message).on_key(key)
    }
}

fn as_provider_error(e: Error) -> ProviderError {
    match e.provider() {
        Some(e) => e.clone(),
        None => ProviderError::new(ProviderErrorKind::Other, e.to_string()),
    }
}

impl KeyProvider for DefaultKeyProvider {
    fn name(&self) -> &str {
        "local"
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let is_default = request.key.name() == DEFAULT_NAME && request.key.version().is_none();
        let attempt = match self.opened()? {
            Some(provider) => provider.wrap(request),
            None => Err(self.missing(request.key)),
        };
        match attempt {
            Err(e) if is_default && e.kind == ProviderErrorKind::NotFound => {}
            other => return other,
        }
        self.create()?;
        self.opened()?
            .ok_or_else(|| self.missing(request.key))?
            .wrap(request)
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.opened()?
            .ok_or_else(|| self.missing(request.key))?
            .unwrap(request)
    }

    fn state(&self, key: &KeyId) -> KeyState {
        match self.opened() {
            Ok(Some(provider)) => provider.state(key),
            _ => KeyState::Unknown,
        }
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        self.opened()?
            .ok_or_else(|| self.missing(request.key))?
            .newest(request)
    }
}
