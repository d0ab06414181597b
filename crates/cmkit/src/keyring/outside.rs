//! Calls that leave the keyring: to its providers and its key store.

use std::cell::RefCell;

use std::time::Instant;

use super::entry::Holder;
use super::health::{Change, Evidence, KeyHealth, Ticket};
use super::{Keyring, Shared};
use crate::error::{Error, ProviderError, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::key_store::KeyStore;
use crate::provider::{Call, KeyState, UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey};
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

/// A key in trouble may be tried again, also when the provider panicked.
struct Landing<'a> {
    health: &'a KeyHealth,
    ticket: Option<Ticket>,
}

impl Landing<'_> {
    fn landed(mut self) -> Ticket {
        self.ticket.take().unwrap_or_default()
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            self.health.abandon(ticket);
        }
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

    fn call<T>(&self, callee: impl FnOnce() -> T) -> T {
        CALLING.with_borrow_mut(|calling| calling.push(self.address()));
        let _return = Return;
        callee()
    }

    /// Calls a provider, and keeps account of it.
    pub(super) fn account<T>(
        &self,
        operation: &'static str,
        provider: usize,
        key: &KeyRef,
        callee: impl FnOnce(&Call) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let call = match self.call_timeout {
            Some(limit) => Call::new().until(Instant::now() + limit),
            None => Call::new(),
        };
        self.call(|| callee(&call))
    }

    pub(super) fn wrap_by(
        &self,
        provider: usize,
        key: &KeyRef,
        capsule: &[u8],
    ) -> Result<WrappedKey> {
        let result = self.account("wrap", provider, key, |call| {
            self.providers[provider].wrap(&WrapRequest::new(key, capsule).in_call(call))
        });
        if let Err(e) = &result {
            self.suspect(key, e.kind);
        }
        Ok(result?)
    }

    pub(crate) fn unwrap_by(
        &self,
        holder: &Holder,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes> {
        match self.health_here(holder) {
            Some(health) => self.unwrap_watched(&health, algorithm, wrapped),
            None => Ok(self.unwrap_once(holder.provider, &holder.key, algorithm, wrapped)?),
        }
    }

    /// Has a key unwrap what it wrapped last, for its health's sake.
    pub(super) fn unwrap_evidence(
        &self,
        health: &KeyHealth,
        evidence: &Evidence,
    ) -> Result<SecretBytes> {
        self.unwrap_watched(health, evidence.algorithm, &evidence.wrapped)
    }

    fn unwrap_once(
        &self,
        provider: usize,
        key: &KeyId,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes, ProviderError> {
        self.account("unwrap", provider, key, |call| {
            let request = UnwrapRequest::new(key, algorithm, wrapped).in_call(call);
            self.providers[provider].unwrap(&request)
        })
    }

    /// An unwrap by a remote key: let through or not by its health, which learns of the answer.
    fn unwrap_watched(
        &self,
        health: &KeyHealth,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes> {
        let ticket = health.admit(self.clock.now())?;
        let landing = Landing {
            health,
            ticket: Some(ticket),
        };
        let result = self.unwrap_once(health.provider, &health.key, algorithm, wrapped);
        let ticket = landing.landed();
        let now = self.clock.now();
        let change = match &result {
            Ok(_) => {
                let evidence = || Evidence {
                    algorithm,
                    wrapped: wrapped.to_vec(),
                };
                health.said_yes(&ticket, now, evidence, &self.freshness)
            }
            Err(e) => health.failed(&ticket, now, e),
        };
        if change == Change::To(KeyState::Revoked) {
            // What others hold of it goes now, not when they next look.
            self.sweep(self.caches());
        }
        // What was asked before the key was taken away, and answered after, must not come out.
        if change == Change::Overtaken && health.state() == KeyState::Revoked {
            return Err(health.reason(now).into());
        }
        Ok(result?)
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
