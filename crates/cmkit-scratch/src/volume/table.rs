//! The seals of a volume's blocks: in memory, made as blocks are written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cmkit::{BlockSeal, Error, Result};

/// Blocks that one lock is for.
pub(super) const SHARD_BLOCKS: usize = 256;
/// Shards that are made together, so that an empty volume of any size takes no room.
const GROUP_SHARDS: usize = 1024;

type Seals = Box<[BlockSeal; SHARD_BLOCKS]>;

/// The seals of 256 blocks; `None`: none of them was written.
#[derive(Default)]
pub(super) struct Shard(RwLock<Option<Seals>>);

pub(super) struct Table {
    groups: Vec<OnceLock<Box<[Shard]>>>,
    used: Arc<Used>,
}

/// Bytes of seals, and how many are allowed. Apart from the table, so that it can be asked for while a request waits for a disk.
pub(super) struct Used {
    bytes: AtomicU64,
    budget: u64,
    poisoned: AtomicU64,
}

/// What the seals of one shard take.
const SHARD_BYTES: u64 = size_of::<[BlockSeal; SHARD_BLOCKS]>() as u64;

/// Bytes that the seals of a whole volume take.
pub(super) fn bytes_for(blocks: u64) -> u64 {
    blocks
        .div_ceil(SHARD_BLOCKS as u64)
        .saturating_mul(SHARD_BYTES + size_of::<Shard>() as u64)
}

/// The mark of a block whose last write failed: no block's seal, for versions begin at 1.
const POISONED: BlockSeal = BlockSeal::from_bytes({
    let mut bytes = [0; BlockSeal::LEN];
    bytes[BlockSeal::LEN - 1] = 1;
    bytes
});

pub(super) fn is_poisoned(seal: &BlockSeal) -> bool {
    *seal == POISONED
}

impl Used {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            budget,
            poisoned: AtomicU64::new(0),
        }
    }

    /// Bytes of seals.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Blocks whose last write failed.
    pub(super) fn poisoned(&self) -> u64 {
        self.poisoned.load(Ordering::Relaxed)
    }
}

impl Table {
    /// An empty one, which from now on is what `used` counts.
    pub(super) fn new(blocks: u64, used: Arc<Used>) -> Result<Self> {
        let wanted = blocks.div_ceil((SHARD_BLOCKS * GROUP_SHARDS) as u64);
        let mut groups = Vec::new();
        let room = usize::try_from(wanted).ok();
        let room = room.filter(|wanted| groups.try_reserve_exact(*wanted).is_ok());
        groups.resize_with(room.ok_or_else(no_memory)?, OnceLock::new);
        used.bytes.store(0, Ordering::Relaxed);
        used.poisoned.store(0, Ordering::Relaxed);
        Ok(Self { groups, used })
    }

    /// Groups, and how many of them were made.
    #[cfg(test)]
    pub(super) fn groups(&self) -> (usize, usize) {
        let made = self.groups.iter().filter(|group| group.get().is_some());
        (self.groups.len(), made.count())
    }

    fn shard(&self, block: u64) -> &Shard {
        let shard = usize::try_from(block / SHARD_BLOCKS as u64).unwrap_or(usize::MAX);
        let group = self.groups[shard / GROUP_SHARDS]
            .get_or_init(|| (0..GROUP_SHARDS).map(|_| Shard::default()).collect());
        &group[shard % GROUP_SHARDS]
    }

    /// Whether no block from this one to the end of its group was ever written, and where that ends.
    pub(super) fn untouched_until(&self, block: u64) -> Option<u64> {
        let per_group = (SHARD_BLOCKS * GROUP_SHARDS) as u64;
        let group = usize::try_from(block / per_group).unwrap_or(usize::MAX);
        self.groups[group]
            .get()
            .is_none()
            .then(|| (block / per_group + 1) * per_group)
    }

    /// The seals of the block's shard, for reading; `None`: none near it was ever written.
    pub(super) fn read(&self, block: u64) -> Option<Reading<'_>> {
        if self.untouched_until(block).is_some() {
            return None;
        }
        let shard = self.shard(block).0.read();
        Some(Reading(shard.unwrap_or_else(PoisonError::into_inner)))
    }

    /// The seals of the block's shard, for writing.
    pub(super) fn write(&self, block: u64) -> Writing<'_> {
        Writing {
            seals: self
                .shard(block)
                .0
                .write()
                .unwrap_or_else(PoisonError::into_inner),
            used: &self.used,
        }
    }

    /// Calls `found` for the runs of blocks from `first` to before `end` that are all written, or all not.
    pub(super) fn runs(&self, first: u64, end: u64, found: &mut dyn FnMut(u64, bool) -> bool) {
        let mut block = first;
        while block < end {
            let (until, go_on) = match self.read(block) {
                Some(reading) => {
                    let until = ((block / SHARD_BLOCKS as u64 + 1) * SHARD_BLOCKS as u64).min(end);
                    (until, reading.runs(block, until, found))
                }
                None => {
                    let until = self.untouched_until(block).unwrap_or(block).min(end);
                    (until, until == block || found(until - block, false))
                }
            };
            if !go_on {
                return;
            }
            block = until;
        }
    }
}

fn no_memory() -> Error {
    Error::InvalidArgument {
        problem: "there isn't enough memory for the seals of a volume of this size; take larger blocks, or make it smaller".into(),
    }
}

fn place(block: u64) -> usize {
    // Less than 256.
    usize::try_from(block % SHARD_BLOCKS as u64).unwrap_or(0)
}

pub(super) struct Reading<'a>(RwLockReadGuard<'a, Option<Seals>>);

impl Reading<'_> {
    /// The seals of blocks of this shard; `None`: none was written.
    pub(super) fn seals(&self, first: u64, count: usize) -> Option<&[BlockSeal]> {
        let start = place(first);
        self.0.as_ref().map(|seals| &seals[start..start + count])
    }

    fn runs(&self, first: u64, end: u64, found: &mut dyn FnMut(u64, bool) -> bool) -> bool {
        let Some(seals) = &*self.0 else {
            return found(end - first, false);
        };
        let mut block = first;
        while block < end {
            let written = !seals[place(block)].is_unwritten();
            let same = |b: &u64| seals[place(*b)].is_unwritten() != written;
            let run = (block..end).take_while(same).count() as u64;
            if !found(run, written) {
                return false;
            }
            block += run;
        }
        true
    }
}

pub(super) struct Writing<'a> {
    seals: RwLockWriteGuard<'a, Option<Seals>>,
    used: &'a Used,
}

impl Writing<'_> {
    pub(super) fn seal(&self, block: u64) -> BlockSeal {
        let found = self.seals.as_ref().map(|seals| seals[place(block)]);
        found.unwrap_or(BlockSeal::UNWRITTEN)
    }

    /// Makes room for seals. To be called before anything is written.
    pub(super) fn make_room(&mut self) -> Result<()> {
        if self.seals.is_some() {
            return Ok(());
        }
        let budget = self.used.budget;
        let take = |bytes: u64| {
            bytes
                .checked_add(SHARD_BYTES)
                .filter(|bytes| *bytes <= budget)
        };
        let taken = self
            .used
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Error::Policy {
            problem: format!("the volume's seals have filled the {budget} bytes of memory that they may take; allow more, or take larger blocks"),
        })?;
        *self.seals = Some(Box::new([BlockSeal::UNWRITTEN; SHARD_BLOCKS]));
        Ok(())
    }

    /// Gives blocks their new seals.
    pub(super) fn set(&mut self, first: u64, new: &[BlockSeal]) {
        let start = place(first);
        if let Some(seals) = &mut *self.seals {
            let old = &mut seals[start..start + new.len()];
            self.used
                .count(old, new.iter().filter(|seal| is_poisoned(seal)).count());
            old.copy_from_slice(new);
        }
    }

    /// Marks blocks of which nobody knows what is there.
    pub(super) fn poison(&mut self, first: u64, count: usize) {
        let start = place(first);
        if let Some(seals) = &mut *self.seals {
            let old = &mut seals[start..start + count];
            self.used.count(old, count);
            old.fill(POISONED);
        }
    }

    /// Makes blocks unwritten. Whether any was written.
    pub(super) fn clear(&mut self, first: u64, count: usize) -> bool {
        let start = place(first);
        let Some(seals) = &mut *self.seals else {
            return false;
        };
        let old = &mut seals[start..start + count];
        if old.iter().all(BlockSeal::is_unwritten) {
            return false;
        }
        self.used.count(old, 0);
        old.fill(BlockSeal::UNWRITTEN);
        if seals.iter().all(BlockSeal::is_unwritten) {
            *self.seals = None;
            self.used.bytes.fetch_sub(SHARD_BYTES, Ordering::Relaxed);
        }
        true
    }
}

impl Used {
    /// Keeps count of the poisoned ones.
    fn count(&self, old: &[BlockSeal], new: usize) {
        let old = old.iter().filter(|seal| is_poisoned(seal)).count();
        if old != new {
            self.poisoned.fetch_add(new as u64, Ordering::Relaxed);
            self.poisoned.fetch_sub(old as u64, Ordering::Relaxed);
        }
    }
}
