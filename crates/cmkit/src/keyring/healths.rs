//! The remote key versions that a keyring has to do with.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::health::KeyHealth;
use crate::key_id::{KeyId, KeyRef};
use crate::provider::KeyState;

/// Beyond this many, versions that no cached DEK depends on are forgotten.
const MAX_VERSIONS: usize = 4096;

/// Health by key version: one for each, shared by all that depends on it.
#[derive(Default)]
pub(super) struct Healths {
    versions: RwLock<HashMap<KeyId, Arc<KeyHealth>>>,
}

impl Healths {
    pub(super) fn of(&self, key: &KeyId, provider: usize) -> Arc<KeyHealth> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(health) = versions.get(key) {
            return Arc::clone(health);
        }
        drop(versions);
        self.insert(KeyHealth::new(key.clone(), provider))
    }

    /// This process's health of a key that `parent` is the health of in another one.
    pub(super) fn heir_of(&self, parent: &KeyHealth) -> Arc<KeyHealth> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(health) = versions.get(&parent.key) {
            return Arc::clone(health);
        }
        drop(versions);
        let health = KeyHealth::new(parent.key.clone(), parent.provider);
        health.inherit(parent);
        self.insert(health)
    }

    fn insert(&self, health: KeyHealth) -> Arc<KeyHealth> {
        let mut versions = self
            .versions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if versions.len() >= MAX_VERSIONS {
            // What was taken away must stay known for as long as there is room.
            versions.retain(|_, h| Arc::strong_count(h) > 1 || h.state() == KeyState::Revoked);
        }
        if versions.len() >= MAX_VERSIONS {
            versions.retain(|_, h| Arc::strong_count(h) > 1);
        }
        let key = health.key.clone();
        Arc::clone(versions.entry(key).or_insert_with(|| Arc::new(health)))
    }

    /// All that was ever asked with success.
    pub(super) fn tracked(&self) -> Vec<Arc<KeyHealth>> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        let tracked = versions.values().filter(|h| h.state() != KeyState::Unknown);
        tracked.map(Arc::clone).collect()
    }

    /// The tracked versions of a key.
    pub(super) fn versions_of(&self, key: &KeyRef) -> Vec<Arc<KeyHealth>> {
        let mut tracked = self.tracked();
        tracked.retain(|h| h.key.same_key(key));
        tracked
    }

    /// Forgets versions that no cached DEK depends on and of which nothing is known.
    pub(super) fn forget_untracked(&self) {
        let mut versions = self
            .versions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        versions.retain(|_, h| Arc::strong_count(h) > 1 || h.state() != KeyState::Unknown);
    }
}
