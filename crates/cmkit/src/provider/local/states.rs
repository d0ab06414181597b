//! The last known state of each key version, for questions that come with every message.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::error::Result;
use crate::key_id::KeyId;
use crate::provider::KeyState;

/// After these nanoseconds the disk is looked at again.
const FRESH: u64 = 1_000_000_000;
/// Versions that are remembered. Past it, all are forgotten and looked up again.
const MAX_ENTRIES: usize = 1024;
/// Bits of an entry that hold its state; the others are nanoseconds.
const STATE_BITS: u32 = 2;

/// No lock is ever waited for: a process forked while another thread held one would wait for ever. Who
/// doesn't get it looks at the disk instead.
pub(super) struct States {
    entries: RwLock<HashMap<KeyId, AtomicU64, Seed>>,
    start: Instant,
    /// Looks that began before this moment don't count any more.
    changed: AtomicU64,
    /// Versions whose files were seen to be on disk for good.
    durable: RwLock<HashSet<KeyId>>,
}

impl States {
    pub(super) fn new() -> Self {
        Self {
            entries: RwLock::new(HashMap::with_hasher(Seed(RandomState::new().hash_one(0)))),
            start: Instant::now(),
            changed: AtomicU64::new(0),
            durable: RwLock::default(),
        }
    }

    /// The state of `key`, from memory if it is fresh, else by `look`, which is told what was known before.
    pub(super) fn state(
        &self,
        key: &KeyId,
        look: impl FnOnce(Option<KeyState>) -> KeyState,
    ) -> KeyState {
        let now = self.now();
        let mut known = None;
        if let Ok(entries) = self.entries.try_read()
            && let Some(entry) = entries.get(key)
        {
            let (looked_at, state) = unpack(entry.load(Ordering::Acquire));
            if now.saturating_sub(looked_at) < FRESH
                && looked_at > self.changed.load(Ordering::Acquire)
            {
                return state;
            }
            known = Some(state);
        }
        let state = look(known);
        self.store(key, now, state);
        state
    }

    fn store(&self, key: &KeyId, looked_at: u64, state: KeyState) {
        let entry = pack(looked_at, state);
        if let Ok(entries) = self.entries.try_read()
            && let Some(slot) = entries.get(key)
        {
            // The time is in the upper bits, so a look that began earlier never replaces a later one.
            slot.fetch_max(entry, Ordering::AcqRel);
            return;
        }
        if let Ok(mut entries) = self.entries.try_write() {
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            let slot = entries.entry(key.clone()).or_default();
            slot.fetch_max(entry, Ordering::AcqRel);
        }
    }

    /// Whatever was known is to be looked at again: something changed on disk just now.
    pub(super) fn forget(&self) {
        self.changed.fetch_max(self.now(), Ordering::AcqRel);
    }

    /// Calls `make_durable` unless it did its work for this version before.
    pub(super) fn once_durable(
        &self,
        key: &KeyId,
        make_durable: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if self
            .durable
            .try_read()
            .is_ok_and(|durable| durable.contains(key))
        {
            return Ok(());
        }
        make_durable()?;
        if let Ok(mut durable) = self.durable.try_write() {
            if durable.len() >= MAX_ENTRIES {
                durable.clear();
            }
            durable.insert(key.clone());
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.read().map_or(0, |entries| entries.len())
    }

    fn now(&self) -> u64 {
        // 146 years of nanoseconds fit.
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        now.clamp(1, u64::MAX >> STATE_BITS)
    }
}

fn pack(looked_at: u64, state: KeyState) -> u64 {
    let state = match state {
        KeyState::Active => 0,
        KeyState::Unavailable => 1,
        KeyState::Revoked => 2,
        KeyState::Unknown => 3,
    };
    (looked_at << STATE_BITS) | state
}

fn unpack(entry: u64) -> (u64, KeyState) {
    let state = match entry & ((1 << STATE_BITS) - 1) {
        0 => KeyState::Active,
        1 => KeyState::Unavailable,
        2 => KeyState::Revoked,
        _ => KeyState::Unknown,
    };
    (entry >> STATE_BITS, state)
}

/// Hashes ids at a fraction of the standard hasher's time, which would be a third of the whole question. Their
/// versions are random, and the number of entries is bounded.
struct Seed(u64);

struct IdHasher(u64);

impl BuildHasher for Seed {
    type Hasher = IdHasher;
    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.0)
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9E37_79B9_7F4A_7C15;
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high).unwrap_or_default();
    }

    /// The lengths of the parts of an id, which its text tells too.
    fn write_usize(&mut self, _: usize) {}

    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
