//! A provider of AES KEKs in memory.

use std::collections::HashMap;

use aes_kw::{KeyInit as _, KwAes256};
use cmkit::{
    KeyId, KeyProvider, KeyRef, ProviderError, ProviderErrorKind, SecretBytes, UnwrapRequest,
    WrapAlgorithm, WrapRequest, WrappedKey,
};

/// KEKs by their ids. The ids are those of the local provider, and so is its name.
#[derive(Default)]
pub struct Keks(HashMap<KeyId, [u8; 32]>);

impl Keks {
    /// Adds one.
    pub fn add(&mut self, id: KeyId, kek: [u8; 32]) {
        self.0.insert(id, kek);
    }

    fn of(&self, id: &KeyId) -> Result<KwAes256, ProviderError> {
        let missing = || ProviderError::new(ProviderErrorKind::NotFound, "no such key").on_key(id);
        Ok(KwAes256::new(self.0.get(id).ok_or_else(missing)?.into()))
    }
}

impl KeyProvider for Keks {
    fn name(&self) -> &str {
        "local"
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let newest = self.0.keys().find(|id| id.same_key(request.key)).cloned();
        let asked = request
            .key
            .version()
            .and_then(|v| request.key.with_version(v).ok());
        let key = asked.or(newest).ok_or_else(|| {
            ProviderError::new(ProviderErrorKind::NotFound, "no such key").on_key(request.key)
        })?;
        let mut wrapped = vec![0; request.plaintext.len() + aes_kw::IV_LEN];
        let done = self
            .of(&key)?
            .wrap_key(request.plaintext, &mut wrapped)
            .is_ok();
        assert!(done, "a capsule can be wrapped");
        Ok(WrappedKey {
            key,
            algorithm: WrapAlgorithm::A256Kw,
            wrapped,
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        let rejected = || ProviderError::new(ProviderErrorKind::Rejected, "not this key's");
        let kek = self.of(request.key)?;
        let len = request
            .wrapped
            .len()
            .checked_sub(aes_kw::IV_LEN)
            .ok_or_else(rejected)?;
        let mut capsule = vec![0; len];
        match kek.unwrap_key(request.wrapped, &mut capsule) {
            Ok(_) => Ok(SecretBytes::new(capsule)),
            Err(_) => Err(rejected()),
        }
    }

    fn owns(&self, key: &KeyRef) -> bool {
        key.scheme() == "local"
    }
}
