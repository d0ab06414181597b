//! Calls that leave the keyring: to its providers, its key store and its audit sinks.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::entry::Holder;
use super::health::{Change, Evidence, KeyHealth, Ticket};
use super::{Keyring, Shared};
use crate::audit::{self, AuditEvent, AuditOperation};
use crate::error::{Error, ProviderError, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::key_store::KeyStore;
use crate::provider::{
    Call, KeyProvider, KeyState, UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey,
};
use crate::secret::SecretBytes;

thread_local! {
    /// The keyrings that are calling out on this thread, by address.
    static CALLING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Takes the keyring off the list again, also when the callee panics.
struct Return;

impl Drop for Return {
    fn drop(&mut self) {
        let _ = CALLING.try_with(|calling| calling.borrow_mut().pop());
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
    /// An error as this keyring's callers may see it.
    pub(crate) fn discreet(&self, error: Error) -> Error {
        self.shared().discreet(error)
    }

    /// Refuses a provider, key store or audit sink that calls the keyring that is calling it: it would wait for itself, or recurse for ever.
    pub(crate) fn refuse_reentry(&self) -> Result<()> {
        self.shared().refuse_reentry()
    }

    /// Whether this keyring is calling out on this thread.
    pub(super) fn is_calling(&self) -> bool {
        self.shared().is_calling()
    }
}

impl Shared {
    pub(super) fn refuse_reentry(&self) -> Result<()> {
        if self.is_calling() {
            return Err(Error::Policy {
                problem: "a key provider, a key store or an audit sink called the keyring that was calling it; give it a keyring of its own"
                    .into(),
            });
        }
        Ok(())
    }

    /// A thread that is ending has no list any more, and then nobody knows.
    fn is_calling(&self) -> bool {
        let address = self.address();
        let found = CALLING.try_with(|calling| calling.borrow().contains(&address));
        found.unwrap_or(false)
    }

    /// An error without names of files and workspaces, where they are withheld.
    pub(crate) fn discreet(&self, error: Error) -> Error {
        if self.high_business_impact {
            error.without_names()
        } else {
            error
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn call<T>(&self, callee: impl FnOnce() -> T) -> T {
        let _ = CALLING.try_with(|calling| calling.borrow_mut().push(self.address()));
        let _return = Return;
        callee()
    }

    /// Calls a provider, and keeps account of it. `used` gives the key version that the answer names.
    pub(super) fn account<T>(
        &self,
        operation: AuditOperation,
        provider: usize,
        key: &KeyRef,
        callee: impl FnOnce(&Call) -> Result<T, ProviderError>,
        used: impl FnOnce(&T) -> Option<&KeyRef>,
    ) -> Result<T, ProviderError> {
        let start = Instant::now();
        // A limit beyond what the clock can tell is none.
        let until = self.call_timeout.and_then(|limit| start.checked_add(limit));
        let call = match until {
            Some(until) => Call::new().until(until),
            None => Call::new(),
        };
        let result = self.call(|| callee(&call));
        let answer = call.answer();
        let result = result.map_err(|mut error| {
            // Also an error that the provider found by itself in a good answer can be looked up in the service's log.
            if answer.attempts > 0 {
                error.request_id = error.request_id.or_else(|| answer.request_id.clone());
                error.region = error.region.or_else(|| answer.region.clone());
                let own = || call.id().to_owned();
                error.client_request_id = error.client_request_id.or_else(|| Some(own()));
            }
            error
        });
        let error = result.as_ref().err();
        let named = result.as_ref().ok().and_then(used).unwrap_or(key);
        self.record(&AuditEvent {
            failure: error.map(|e| e.kind.error_kind()),
            code: error.and_then(|e| e.code.as_deref()),
            call_id: call.id(),
            request_id: error
                .and_then(|e| e.request_id.as_deref())
                .or(answer.request_id.as_deref()),
            region: error
                .and_then(|e| e.region.as_deref())
                .or(answer.region.as_deref()),
            http_status: error.and_then(|e| e.http_status).or(answer.http_status),
            attempts: answer.attempts,
            duration: start.elapsed(),
            ..self.event(operation, provider, named)
        });
        result
    }

    /// What became of a key, told without a call.
    pub(crate) fn record_change(&self, operation: AuditOperation, provider: usize, key: &KeyRef) {
        self.record(&self.event(operation, provider, key));
    }

    /// An event of now, with what is known without a call.
    fn event<'a>(
        &'a self,
        operation: AuditOperation,
        provider: usize,
        key: &'a KeyRef,
    ) -> AuditEvent<'a> {
        AuditEvent {
            time: self.clock.now().unix_milliseconds(),
            operation,
            provider: self.providers[provider].name(),
            key: key.as_str(),
            failure: None,
            code: None,
            call_id: "",
            request_id: None,
            region: None,
            http_status: None,
            attempts: 0,
            duration: Duration::ZERO,
            workspace: self.workspace_in_events(),
        }
    }

    pub(super) fn workspace_in_events(&self) -> Option<&str> {
        self.workspace
            .as_deref()
            .filter(|_| !self.high_business_impact)
    }

    fn record(&self, event: &AuditEvent<'_>) {
        audit::trace(event);
        for sink in &self.audit {
            self.call(|| sink.record(event));
        }
    }

    pub(super) fn owns(&self, provider: &dyn KeyProvider, key: &KeyRef) -> bool {
        self.call(|| provider.owns(key))
    }

    /// What the provider itself says of a key, for one that isn't remote.
    pub(super) fn local_state(&self, holder: &Holder) -> KeyState {
        self.call(|| self.providers[holder.provider].state(&holder.key))
    }

    pub(super) fn wrap_by(
        &self,
        provider: usize,
        key: &KeyRef,
        capsule: &[u8],
    ) -> Result<WrappedKey> {
        let result = self.account(
            AuditOperation::Wrap,
            provider,
            key,
            |call| self.providers[provider].wrap(&WrapRequest::new(key, capsule).in_call(call)),
            |wrapped| Some(&wrapped.key),
        );
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
        let unwrap = |call: &Call| {
            let request = UnwrapRequest::new(key, algorithm, wrapped).in_call(call);
            self.providers[provider].unwrap(&request)
        };
        self.account(AuditOperation::Unwrap, provider, key, unwrap, |_| None)
    }

    /// An unwrap by a remote key: let through or not by its health, which learns of the answer.
    fn unwrap_watched(
        &self,
        health: &KeyHealth,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes> {
        let was_untracked = health.state() == KeyState::Unknown;
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
        if let Change::To(state) = change {
            let event = match state {
                KeyState::Revoked => AuditOperation::Revoked,
                KeyState::Unavailable => AuditOperation::Unavailable,
                _ => AuditOperation::Recovered,
            };
            if !was_untracked {
                self.record_change(event, health.provider, &health.key);
            }
        }
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
        self.call(|| action(store)).map_err(|e| self.discreet(e))
    }
}
