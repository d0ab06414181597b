//! A bounded map whose least recently used entry goes first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Entries that know when they were last used.
pub(crate) trait Touch {
    fn last_used(&self) -> &AtomicU64;
}

/// At most `max_entries` entries. Looking up takes the lock shared.
pub(crate) struct Cache<K, V> {
    max_entries: usize,
    tick: AtomicU64,
    entries: RwLock<HashMap<K, Arc<V>>>,
}

impl<K: Eq + Hash + Clone, V: Touch> Cache<K, V> {
    pub(crate) fn new(max_entries: usize) -> Self {
        Self {
            max_entries,
            tick: AtomicU64::new(0),
            entries: RwLock::default(),
        }
    }

    pub(crate) fn find(&self, key: &K) -> Option<Arc<V>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        entry
            .last_used()
            .store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(entry))
    }

    pub(crate) fn insert(&self, key: K, entry: Arc<V>) {
        entry
            .last_used()
            .store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        // A scan per insert: a miss costs a call to the provider, which is far more.
        while entries.len() >= self.max_entries && !entries.contains_key(&key) {
            let oldest = entries
                .iter()
                .min_by_key(|(_, e)| e.last_used().load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            entries.remove(&oldest);
        }
        entries.insert(key, entry);
    }

    /// Removes this very entry, not one that took its place meanwhile.
    pub(crate) fn remove(&self, key: &K, entry: &Arc<V>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.get(key).is_some_and(|e| Arc::ptr_eq(e, entry)) {
            entries.remove(key);
        }
    }

    /// Keeps the entries that `keeps` says. It is asked with no lock held.
    pub(crate) fn retain(&self, keeps: impl Fn(&V) -> bool) {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<(K, Arc<V>)> = entries
            .iter()
            .map(|(key, entry)| (key.clone(), Arc::clone(entry)))
            .collect();
        drop(entries);
        for (key, entry) in all {
            if !keeps(&entry) {
                self.remove(&key, &entry);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(AtomicU64);
    impl Touch for Entry {
        fn last_used(&self) -> &AtomicU64 {
            &self.0
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(2);
        let new = || Arc::new(Entry(AtomicU64::new(0)));
        cache.insert(1, new());
        cache.insert(2, new());
        assert!(cache.find(&1).is_some());
        cache.insert(3, new());
        assert!(cache.find(&1).is_some() && cache.find(&2).is_none() && cache.find(&3).is_some());
        assert_eq!(cache.len(), 2);
        cache.remove(&1, &new());
        assert!(
            cache.find(&1).is_some(),
            "another entry under the same key is not removed"
        );
    }
}
