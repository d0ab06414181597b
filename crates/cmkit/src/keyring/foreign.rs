//! Keys of other encryptions, which bring a format of their own and want their data keys wrapped.

use super::{Keyring, Shared};
use crate::capsule;
use crate::error::{Error, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::provider::{WrapAlgorithm, WrappedKey};
use crate::secret::SecretBytes;

impl Keyring {
    /// Has a key wrap the data key of another encryption, such as Azure Storage's client-side one: a multiple of 8 bytes for an AES key, at most 190 for
    /// the smallest RSA key. What comes back isn't an envelope: nothing ties it to a workspace or a context.
    ///
    /// It counts as a call of this keyring: its time limit, its audit and its memory of keys that were taken away are the same. Nothing is cached.
    ///
    /// # Errors
    /// * [`Error::KeyNotAllowed`]: the key is neither one to wrap with nor on the allow-list.
    /// * [`Error::InvalidArgument`]: it is a DEK of cmkit's own, which nobody is to pass off as another's.
    /// * [`Error::Policy`]: no provider for it; the provider used another key.
    /// * [`Error::Provider`]: it can't wrap.
    pub fn wrap_foreign(&self, key: &KeyRef, plaintext: &[u8]) -> Result<WrappedKey> {
        if capsule::looks_like_one(plaintext) {
            return Err(Error::invalid(
                "it is a data key of cmkit's own; wrap another encryption's",
            ));
        }
        let shared = self.shared();
        let wrapped = shared.wrap_by(self.foreign_provider(key)?, key, plaintext)?;
        Shared::check_wrapped_by(key, &wrapped)?;
        Ok(wrapped)
    }

    /// Gives back what [`wrap_foreign`](Self::wrap_foreign) or another program wrapped with exactly this key version.
    ///
    /// # Errors
    /// * Those of `wrap_foreign`.
    /// * [`Error::AuthenticationFailed`]: the bytes are not what the key wrapped, or a DEK of cmkit's own: those don't come out this way.
    pub fn unwrap_foreign(
        &self,
        key: &KeyId,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes> {
        let shared = self.shared();
        let provider = self.foreign_provider(key)?;
        let holder = shared.holder(key.clone(), provider, shared.now_unix());
        let unwrapped = shared.unwrap_by(&holder, algorithm, wrapped)?;
        if capsule::looks_like_one(unwrapped.expose()) {
            return Err(Error::AuthenticationFailed);
        }
        Ok(unwrapped)
    }

    /// The provider of a key that may be used at all.
    fn foreign_provider(&self, key: &KeyRef) -> Result<usize> {
        self.refuse_reentry()?;
        if !self.shared().allows(key) {
            return Err(Error::KeyNotAllowed {
                keys: vec![key.to_string()],
            });
        }
        self.shared().provider_of(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        AllowEntry, ErrorKind, KeyProvider as _, KeyRef, KeyType, Keyring, LocalKeyProvider,
        WrapRequest,
    };

    #[test]
    fn there_and_back_with_keys_that_are_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap());
        for name in ["a", "b", "c"] {
            keys.create_key(name, KeyType::Oct256).unwrap();
        }
        let local = |name: &str| KeyRef::local(name).unwrap();
        let keyring = Keyring::builder()
            .provider(Arc::clone(&keys) as _)
            .wrap_with(local("a"))
            .allow(AllowEntry::Key(local("b")))
            .build()
            .unwrap();
        for name in ["a", "b"] {
            let wrapped = keyring.wrap_foreign(&local(name), &[7; 40]).unwrap();
            let unwrap =
                |bytes: &[u8]| keyring.unwrap_foreign(&wrapped.key, wrapped.algorithm, bytes);
            assert_eq!(unwrap(&wrapped.wrapped).unwrap().expose(), [7; 40]);
            let error = unwrap(&[1; 48]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Authentication);
            keys.disable(&wrapped.key).unwrap();
            let error = unwrap(&wrapped.wrapped).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::KeyDisabled);
            keys.enable(&wrapped.key).unwrap();
        }
        let error = keyring
            .wrap_foreign(&local("a"), b"cmkD0123456789abcdef0123")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        // A data key out of an envelope's header.
        let own = keys
            .wrap(&WrapRequest::new(&local("a"), b"cmkD0123456789abcdef0123"))
            .unwrap();
        let error = keyring
            .unwrap_foreign(&own.key, own.algorithm, &own.wrapped)
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        let error = keyring.wrap_foreign(&local("c"), &[7; 40]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyNotAllowed);
    }
}
