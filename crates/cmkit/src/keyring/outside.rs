//! Calls that leave the keyring: to its providers and its key store.

use std::cell::RefCell;

use super::entry::Holder;
use super::{Keyring, Shared};
use crate::error::{Error, Result};
use crate::key_id::KeyRef;
use crate::key_store::KeyStore;
use crate::provider::{UnwrapRequest, WrapRequest, WrappedKey};
use crate::secret::SecretBytes;

thread_local! {
    /// The keyrings that are calling out on this thread, by address.
    static CALLING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Takes the keyring off the list again, also when the callee panics.
struct Return;

impl Drop for Return {
    fn drop(&mut self) {
        CALLING.with_borrow_mut(Vec::pop);
    }
}

impl Keyring {
    /// Refuses a provider or key store that calls the keyring that is calling it: it would wait for itself, or recurse for ever.
    pub(super) fn refuse_reentry(&self) -> Result<()> {
        let address = self.shared().address();
        if CALLING.with_borrow(|calling| calling.contains(&address)) {
            return Err(Error::Policy {
                problem: "a key provider or key store called the keyring that was calling it; give it a keyring of its own"
                    .into(),
            });
        }
        Ok(())
    }
}

impl Shared {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn call<T>(&self, callee: impl FnOnce() -> T) -> T {
        CALLING.with_borrow_mut(|calling| calling.push(self.address()));
        let _return = Return;
        callee()
    }

    pub(super) fn wrap_by(
        &self,
        provider: usize,
        key: &KeyRef,
        capsule: &[u8],
    ) -> Result<WrappedKey> {
        Ok(self.call(|| self.providers[provider].wrap(&WrapRequest::new(key, capsule)))?)
    }

    pub(crate) fn unwrap_by(
        &self,
        holder: &Holder,
        request: &UnwrapRequest<'_>,
    ) -> Result<SecretBytes> {
        Ok(self.call(|| self.providers[holder.provider].unwrap(request))?)
    }

    pub(crate) fn with_key_store<T>(
        &self,
        action: impl FnOnce(&dyn KeyStore) -> Result<T>,
    ) -> Result<T> {
        let store = self.key_store.as_deref().ok_or_else(|| Error::Policy {
            problem: "the compact form needs a key store, and this keyring has none; give it one when building it"
                .into(),
        })?;
        self.call(|| action(store))
    }
}
