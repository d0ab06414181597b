//! Everything that requests read and tests change, behind one lock that is held for moments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock;
use crate::control::command::Denial;
use crate::control::log::Log;
use crate::control::rule::Rule;
use crate::server::tls::{Authority, Certificate};
use crate::tokens::arc::KeyFiles;
use crate::tokens::identity::Identity;
use crate::tokens::store::Tokens;
use crate::vault::store::Vault;

/// What all connections share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pauses: Mutex<Pauses>,
    wake: Condvar,
    pub(crate) authority: Arc<Authority>,
    pub(crate) identity: Identity,
    pub(crate) key_files: KeyFiles,
    /// Where the CA and the other files lie.
    pub(crate) dir: PathBuf,
}

#[derive(Default)]
struct Pauses {
    stopped: bool,
    /// How often all pauses were ended.
    ends: u64,
    held: usize,
}

#[derive(Default)]
pub(crate) struct State {
    /// How often everything was reset: requests from before a reset leave no trace after it.
    pub(crate) resets: u64,
    pub(crate) vaults: BTreeMap<String, Vault>,
    pub(crate) tokens: Tokens,
    pub(crate) rules: Vec<Rule>,
    pub(crate) denials: Vec<Denial>,
    pub(crate) log: Log,
    pub(crate) clock_offset: i64,
    /// What tokens must have been asked for with, and since which claims challenge.
    pub(crate) claims: Option<Value>,
    pub(crate) claims_era: u64,
    pub(crate) certificate: Certificate,
    pub(crate) only_tls12: bool,
    pub(crate) federated_token: String,
}

impl State {
    /// Virtual time.
    pub(crate) fn now(&self) -> i64 {
        clock::real().saturating_add(self.clock_offset)
    }

    pub(crate) fn vault_is_gone(&self, host: &str) -> bool {
        self.vaults.get(host).is_some_and(|vault| vault.gone)
    }

    /// The vault of that host, made now if it is new.
    pub(crate) fn vault(&mut self, host: &str) -> &mut Vault {
        let host = host.to_ascii_lowercase();
        let new = Vault::new(&host);
        self.vaults.entry(host).or_insert(new)
    }
}

impl Shared {
    pub(crate) fn new(
        authority: Arc<Authority>,
        identity: Identity,
        key_files: KeyFiles,
        dir: PathBuf,
    ) -> Self {
        Self {
            state: Mutex::default(),
            pauses: Mutex::default(),
            wake: Condvar::new(),
            authority,
            identity,
            key_files,
            dir,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless rules are cleared, a reset or the end comes first.
    pub(crate) fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut pauses = self.pauses();
        let ends = pauses.ends;
        pauses.held += 1;
        while !pauses.stopped && pauses.ends == ends {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.wake.wait_timeout(pauses, left);
            pauses = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        pauses.held -= 1;
    }

    /// How many requests wait now.
    pub(crate) fn held(&self) -> usize {
        self.pauses().held
    }

    /// Lets everything that waits go on.
    pub(crate) fn end_pauses(&self) {
        self.pauses().ends += 1;
        self.wake.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.pauses().stopped = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.pauses().stopped
    }

    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
