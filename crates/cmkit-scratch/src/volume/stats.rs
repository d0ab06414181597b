//! What a volume did.

use std::sync::atomic::{AtomicU64, Ordering};

use cmkit::{Error, Result};

/// What a volume did since it was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeStats {
    /// Requests to read that succeeded.
    pub reads: u64,
    /// Bytes that they read.
    pub bytes_read: u64,
    /// Requests to write, zeros too, that succeeded.
    pub writes: u64,
    /// Bytes that they wrote.
    pub bytes_written: u64,
    /// Bytes that were discarded.
    pub bytes_discarded: u64,
    /// Requests that met a block which wasn't what was written there.
    pub damaged: u64,
    /// Requests to read or write, zeros too, that failed otherwise.
    pub failed: u64,
    /// Blocks whose last write failed: they can't be read until they are written again.
    pub poisoned_blocks: u64,
    /// Bytes of memory that the seals of its blocks take.
    pub metadata_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    reads: AtomicU64,
    bytes_read: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    bytes_discarded: AtomicU64,
    damaged: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, len: u64, result: &Result<()>) {
        self.count(&self.reads, &self.bytes_read, len, result);
    }

    pub(super) fn written(&self, len: u64, result: &Result<()>) {
        self.count(&self.writes, &self.bytes_written, len, result);
    }

    pub(super) fn discarded(&self, len: u64) {
        self.bytes_discarded.fetch_add(len, Ordering::Relaxed);
    }

    fn count(&self, requests: &AtomicU64, bytes: &AtomicU64, len: u64, result: &Result<()>) {
        match result {
            Ok(()) => {
                requests.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(len, Ordering::Relaxed);
            }
            Err(Error::DamagedBlock { .. }) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn snapshot(&self, metadata_bytes: u64, poisoned_blocks: u64) -> VolumeStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VolumeStats {
            reads: of(&self.reads),
            bytes_read: of(&self.bytes_read),
            writes: of(&self.writes),
            bytes_written: of(&self.bytes_written),
            bytes_discarded: of(&self.bytes_discarded),
            damaged: of(&self.damaged),
            failed: of(&self.failed),
            poisoned_blocks,
            metadata_bytes,
        }
    }
}
