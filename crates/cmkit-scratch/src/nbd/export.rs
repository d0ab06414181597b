//! What is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::protocol::transmission as flags;
use crate::device::{BlockDevice, Geometry};

/// A device with what clients are told of it.
pub(super) struct Export {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) size: u64,
    pub(super) geometry: Geometry,
    pub(super) counters: Counters,
}

impl Export {
    pub(super) fn new(device: Arc<dyn BlockDevice>, name: String, description: String) -> Self {
        Self {
            size: device.len(),
            geometry: device.geometry(),
            device,
            name,
            description,
            counters: Counters::default(),
        }
    }

    /// Whether a client means this export: by its name, or as the default one.
    pub(super) fn is_meant_by(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    /// The transmission flags of a connection; only one with structured replies may ask not to fragment.
    pub(super) fn flags(&self, structured: bool) -> u16 {
        let mut all = flags::HAS_FLAGS
            | flags::SEND_FLUSH
            | flags::SEND_FUA
            | flags::SEND_TRIM
            | flags::SEND_WRITE_ZEROES
            | flags::SEND_FAST_ZERO
            | flags::CAN_MULTI_CONN
            | flags::SEND_CACHE;
        if structured {
            all |= flags::SEND_DF;
        }
        if self.geometry.read_only {
            all |= flags::READ_ONLY;
        }
        all
    }
}

/// What was done for all clients together.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
}

/// Adds to a counter that nothing else depends on.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
