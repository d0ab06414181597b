//! Setting up a keyring.

use std::sync::Arc;
use std::time::Duration;

use super::freshness::Freshness;
use super::policy::{AllowEntry, DekPolicy};
use super::{Caches, Keyring, Shared};
use crate::audit::AuditSink;
use crate::envelope::MAX_RECIPIENTS;
use crate::error::{Error, Result};
use crate::key_id::{KeyRef, MAX_ID_LEN};
use crate::key_store::KeyStore;
use crate::provider::KeyProvider;
use crate::seams::{Clock, Random};

/// Sets up a [`Keyring`]; see [`Keyring::builder`].
#[must_use]
pub struct KeyringBuilder {
    providers: Vec<Arc<dyn KeyProvider>>,
    wrap_with: Vec<KeyRef>,
    allow: Vec<AllowEntry>,
    workspace: Option<String>,
    policy: DekPolicy,
    freshness: Freshness,
    call_timeout: Option<Duration>,
    audit: Vec<Arc<dyn AuditSink>>,
    high_business_impact: bool,
    key_store: Option<Arc<dyn KeyStore>>,
    clock: Clock,
    random: Random,
}

impl Default for KeyringBuilder {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            wrap_with: Vec::new(),
            allow: Vec::new(),
            workspace: None,
            policy: DekPolicy::default(),
            freshness: Freshness::default(),
            call_timeout: None,
            audit: Vec::new(),
            high_business_impact: false,
            key_store: None,
            clock: Clock::System,
            random: Random::System,
        }
    }
}

impl KeyringBuilder {
    /// Adds a key provider. The first one that [owns](KeyProvider::owns) a key is asked for it.
    pub fn provider(mut self, provider: Arc<dyn KeyProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Adds a recipient: new DEKs are wrapped with this key, in its newest version unless one is given. At most 16. A keyring without any
    /// only decrypts. Keys given here may also unwrap, in any version.
    pub fn wrap_with(mut self, key: KeyRef) -> Self {
        self.wrap_with.push(key);
        self
    }

    /// Also lets these keys unwrap. What is on no list is refused before any provider is called.
    pub fn allow(mut self, entry: AllowEntry) -> Self {
        self.allow.push(entry);
        self
    }

    /// Ties every DEK to this workspace (1 to 512 bytes); envelopes of other workspaces, or of none, are refused.
    pub fn workspace(mut self, name: impl Into<String>) -> Self {
        self.workspace = Some(name.into());
        self
    }

    /// How long DEKs serve.
    pub fn policy(mut self, policy: DekPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How often keys of remote providers are asked again, and how soon their DEKs stop serving without an answer.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// A provider's call is given up after this time, retries included. Without it, each provider's own limit holds.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = Some(limit);
        self
    }

    /// Tells this sink of every operation of a provider. Several may be given.
    pub fn audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit.push(sink);
        self
    }

    /// Keeps the names of files and workspaces out of errors, events and `Debug`: for workspaces with Azure Machine Learning's `hbi_workspace` flag. Encryption contexts are
    /// in none of them anyway. Set here once; it can't be changed later.
    pub fn high_business_impact(mut self) -> Self {
        self.high_business_impact = true;
        self
    }

    /// Where the DEKs of the compact form are kept.
    pub fn key_store(mut self, store: Arc<dyn KeyStore>) -> Self {
        self.key_store = Some(store);
        self
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    #[cfg(test)]
    pub(crate) fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// The keyring. Calls no provider.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: a workspace of 0 or more than 512 bytes, more than 16 wrapping keys, a key given
    ///   twice, an [`AllowEntry::Host`] that no key id can have, or a [`DekPolicy`] or [`Freshness`] beyond its limits.
    /// * [`Error::Policy`]: a wrapping key that none of the providers owns.
    pub fn build(self) -> Result<Keyring> {
        if self
            .workspace
            .as_ref()
            .is_some_and(|w| !(1..=MAX_ID_LEN).contains(&w.len()))
        {
            return Err(Error::invalid(
                "a workspace's name has 1 to 512 bytes; give none for no workspace",
            ));
        }
        if self.wrap_with.len() > MAX_RECIPIENTS {
            return Err(Error::invalid("an envelope has at most 16 recipients"));
        }
        for (i, key) in self.wrap_with.iter().enumerate() {
            if self.wrap_with[..i].contains(key) {
                return Err(Error::invalid(format!(
                    "key {key} is given twice as a recipient"
                )));
            }
        }
        for entry in &self.allow {
            entry.check()?;
        }
        self.policy.check()?;
        self.freshness.check()?;
        let shared = Shared {
            caches: Caches::new(&self.policy),
            providers: self.providers,
            wrap_with: self.wrap_with,
            allow: self.allow,
            workspace: self.workspace,
            policy: self.policy,
            freshness: self.freshness,
            call_timeout: self.call_timeout,
            audit: self.audit,
            high_business_impact: self.high_business_impact,
            key_store: self.key_store,
            clock: self.clock,
            random: self.random,
        };
        for key in &shared.wrap_with {
            shared.provider_of(key)?;
        }
        Ok(Keyring {
            shared: Arc::new(shared),
        })
    }
}
