//! What following a rotation asks of the providers.

use super::{Keyring, Shared};
use crate::capsule;
use crate::envelope::{Core, DekId, Recipient};
use crate::error::{Error, ProviderError, ProviderErrorKind, Result};
use crate::key_id::KeyRef;
use crate::key_store::{KeyStore, StoredKey};
use crate::provider::NewestKey;
use crate::secret::Dek;

impl Keyring {
    /// The newest version of a wrapping key, which may be used to wrap, and the name of its provider.
    pub(crate) fn newest_of(&self, key: &KeyRef) -> Result<(NewestKey, &str)> {
        self.refuse_reentry()?;
        let shared = self.shared();
        let provider = shared.provider_of(key)?;
        let newest = match shared.newest_by(provider, key)? {
            Some(newest) => newest,
            // Providers that can't tell, of callers for instance, say with which version they wrap.
            None => NewestKey {
                key: shared
                    .wrap_by(provider, key, &shared.nothing_to_wrap()?)?
                    .key,
                created: None,
            },
        };
        if !newest.key.same_key(key) {
            let message = format!(
                "its provider names a version of another key, {}, as its newest; nothing was changed",
                newest.key
            );
            return Err(ProviderError::new(ProviderErrorKind::WrongVault, message)
                .on_key(key)
                .into());
        }
        Ok((newest, shared.providers[provider].name()))
    }
}

impl Shared {
    /// As long as a capsule, and protecting nothing.
    fn nothing_to_wrap(&self) -> Result<[u8; capsule::CAPSULE_LEN]> {
        let mut bytes = [0; capsule::CAPSULE_LEN];
        self.random.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The DEK that one recipient gives.
    pub(crate) fn unwrap_again(&self, recipient: &Recipient<'_>, core: &Core) -> Result<Dek> {
        let provider = self.provider_of(&recipient.key_id)?;
        let holder = self.holder(recipient.key_id.clone(), provider, recipient.wrapped_at);
        let capsule = self.unwrap_by(&holder, recipient.algorithm, recipient.wrapped)?;
        capsule::open(capsule.expose(), core)
    }
}

/// A keyring's key store, each call of which leaves the keyring.
pub(crate) struct OwnKeyStore<'a>(&'a Shared);

impl Keyring {
    /// The keyring's key store; an error without one.
    pub(crate) fn own_key_store(&self) -> Result<OwnKeyStore<'_>> {
        self.shared().with_key_store(|_| Ok(()))?;
        Ok(OwnKeyStore(self.shared()))
    }
}

impl KeyStore for OwnKeyStore<'_> {
    fn get(&self, id: &DekId) -> Result<Option<StoredKey>> {
        self.0.with_key_store(|store| store.get(id))
    }

    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> Result<bool, Error> {
        self.0
            .with_key_store(|store| store.put_if_absent(id, bytes))
    }

    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> Result<bool> {
        self.0
            .with_key_store(|store| store.replace_if_unchanged(id, bytes, tag))
    }

    fn list(&self) -> Result<Vec<DekId>> {
        self.0.with_key_store(|store| store.list())
    }
}
