//! The entry point: which keys wrap and unwrap, and how long a DEK serves.

mod builder;
mod entry;
mod flight;
mod foreign;
mod freshness;
mod health;
mod healths;
mod maintenance;
mod message_key;
mod opening;
mod outside;
mod policy;
mod rotation;
mod sealing;
mod standing;
mod volume;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::builder::KeyringBuilder;
use self::entry::Holder;
pub(crate) use self::entry::MacKey;
pub use self::freshness::Freshness;
use self::healths::Healths;
use self::maintenance::Polls;
pub use self::maintenance::{Maintenance, MaintenanceThread};
pub(crate) use self::message_key::{Form, OpeningKey, SealingKey};
use self::opening::OpenState;
pub(crate) use self::opening::{bad_row, verify_mac};
pub use self::policy::{AllowEntry, DekPolicy};
use self::sealing::SealState;
pub(crate) use self::volume::VolumeHold;
use crate::audit::AuditSink;
use crate::error::{Error, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::key_store::KeyStore;
use crate::provider::KeyProvider;
use crate::seams::{Clock, Random};

/// The keys that data is encrypted under and may be decrypted with, for one workspace; the entry point of cmkit.
///
/// A keyring generates data keys (DEKs), has its [providers](KeyProvider) wrap and unwrap them, and keeps them for a while
/// within the bounds of its [`DekPolicy`]. Cloning is cheap and shares everything. Thread-safe. In a forked child it starts afresh, with empty
/// caches.
///
/// ```
/// use std::sync::Arc;
/// use cmkit::{EncryptionContext, KeyRef, Keyring, LocalKeyProvider};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("keys");
/// let provider = LocalKeyProvider::open_or_create(&path)?;
/// provider.create_key("team", cmkit::KeyType::Oct256)?;
/// let keyring = Keyring::builder()
///     .provider(Arc::new(provider))
///     .wrap_with(KeyRef::parse("local:team")?)
///     .build()?;
///
/// let context = EncryptionContext::new([("doc", "42")])?;
/// let envelope = keyring.encrypt(b"attack at dawn", &context)?;
/// assert_eq!(keyring.decrypt(&envelope, &context)?, b"attack at dawn");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Keyring {
    shared: Arc<Shared>,
}

/// What a keyring is made of; constant but for the caches of each process.
pub(crate) struct Shared {
    providers: Vec<Arc<dyn KeyProvider>>,
    wrap_with: Vec<KeyRef>,
    allow: Vec<AllowEntry>,
    workspace: Option<String>,
    policy: DekPolicy,
    freshness: Freshness,
    audit: Vec<Arc<dyn AuditSink>>,
    high_business_impact: bool,
    /// For a provider's calls.
    call_timeout: Option<Duration>,
    key_store: Option<Arc<dyn KeyStore>>,
    clock: Clock,
    random: Random,
    caches: Caches,
}

/// The caches of one process, and those of the processes forked from it.
///
/// A lock that another thread held during a fork stays locked in the child for ever. So a child touches none of its parent's: it
/// goes on to caches of its own.
struct Caches {
    process: u32,
    seal: SealState,
    open: OpenState,
    healths: Healths,
    polls: Polls,
    child: OnceLock<Box<Caches>>,
}

impl Caches {
    fn new(policy: &DekPolicy) -> Self {
        Self {
            process: std::process::id(),
            seal: SealState::default(),
            open: OpenState::new(policy.max_entries),
            healths: Healths::default(),
            polls: Polls::default(),
            child: OnceLock::new(),
        }
    }
}

impl Keyring {
    /// A keyring of the user's own key directory ([`default_dir`](crate::default_dir)), wrapping with its key `local:default`.
    ///
    /// That key is created by the first encryption if it isn't there. Back the directory up: what was encrypted can't be read without it.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: there is no home directory to put it in.
    pub fn local() -> Result<Keyring> {
        let provider = crate::provider::DefaultKeyProvider::new(crate::default_dir()?);
        Keyring::builder()
            .provider(Arc::new(provider))
            .wrap_with(KeyRef::local("default")?)
            .build()
    }

    /// Sets up a keyring.
    pub fn builder() -> KeyringBuilder {
        KeyringBuilder::default()
    }

    /// The workspace that its envelopes belong to.
    #[must_use]
    pub fn workspace(&self) -> Option<&str> {
        self.shared.workspace.as_deref()
    }

    /// Whether names of files and workspaces are kept out of its errors and events.
    #[must_use]
    pub fn is_high_business_impact(&self) -> bool {
        self.shared.high_business_impact
    }

    /// The keys that it wraps with, each a recipient of its envelopes.
    #[must_use]
    pub fn wrapping_keys(&self) -> &[KeyRef] {
        &self.shared.wrap_with
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("wrap_with", &self.shared.wrap_with)
            .field("workspace", &self.shared.workspace_in_events())
            .field("policy", &self.shared.policy)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The caches of this process and its id.
    fn caches(&self) -> &Caches {
        let process = std::process::id();
        let mut caches = &self.caches;
        while caches.process != process {
            caches = match caches.child.get() {
                Some(child) => child,
                None => {
                    // Made outside of the cell: a fork meanwhile would find it locked for ever.
                    let child = Box::new(Caches::new(&self.policy));
                    caches.child.get_or_init(|| child)
                }
            };
        }
        caches
    }

    pub(crate) fn now_unix(&self) -> u64 {
        self.clock.now().unix_seconds()
    }

    fn allows(&self, key: &KeyRef) -> bool {
        self.wrap_with.iter().any(|k| k.same_key(key)) || self.allow.iter().any(|a| a.permits(key))
    }

    /// The provider that holds a key, by its place.
    pub(crate) fn provider_of(&self, key: &KeyRef) -> Result<usize> {
        self.providers.iter().position(|p| self.owns(&**p, key)).ok_or_else(|| Error::Policy {
            problem: format!("key {key}: this keyring has no provider for it; add one when building the keyring"),
        })
    }

    fn holder(&self, key: KeyId, provider: usize, wrapped_at: u64) -> Holder {
        let caches = self.caches();
        let is_remote = self.providers[provider].is_remote();
        Holder {
            health: is_remote.then(|| caches.healths.of(&key, provider)),
            process: caches.process,
            key,
            provider,
            wrapped_at,
        }
    }
}

/// The error for a key that was taken away while its DEK was cached.
fn revoked(key: &KeyId) -> crate::error::ProviderError {
    crate::error::ProviderError::new(
        crate::error::ProviderErrorKind::Disabled,
        "it is disabled or was taken away; have its owner enable it, or encrypt under another key",
    )
    .on_key(key)
}

#[cfg(test)]
mod tests;
