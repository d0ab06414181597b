//! Wrapping and unwrapping: what a keyring asks of the provider.

use super::dir::{Dir, Presence};
use super::problem::into_provider_error;
use super::scan::{self, Files, StoredKey, Versions};
use super::{LocalKeyProvider, SCHEME, VersionState, manage};
use crate::crypto;
use crate::error::{Error, ErrorKind, ProviderError, ProviderErrorKind, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::provider::{
    KeyProvider, KeyState, NewestKey, NewestRequest, UnwrapRequest, WrapRequest, WrappedKey,
};
use crate::secret::SecretBytes;

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

    /// Looks at the directory; the newest version being disabled or destroyed is an error, as it is for wrapping.
    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        let newest = || {
            let key = self.newest_version(&self.existing_key_dir(request.key)?, request.key)?;
            let created = self.show(&key)?.first().and_then(|info| info.created);
            Ok(Some(NewestKey { key, created }))
        };
        newest().map_err(|error: Error| into_provider_error(error, request.key.as_str()))
    }
}

impl LocalKeyProvider {
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
            None => self.newest_version(&dir, request.key)?,
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

    fn newest_version(&self, dir: &Dir, key: &KeyRef) -> Result<KeyId> {
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
    pub(super) fn make_durable(&self, dir: &Dir, id: &KeyId) -> Result<()> {
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
