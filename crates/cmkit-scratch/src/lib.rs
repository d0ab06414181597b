//! Encrypted scratch disks for jobs on a node: authenticated, made in an instant, and unreadable in an instant when the job ends.
//!
//! Linux only: on other systems this crate is empty.
#![cfg(target_os = "linux")]

mod aligned;
mod backing;
mod device;
mod failure;
mod plain;
mod private;
mod protect;
mod record;
mod state;
mod time;

pub use backing::{
    Access, Backing, Call, DeviceBacking, Fault, Faults, FaultyBacking, FileBacking, MemoryBacking,
    Punched, Recorded, open_path,
};
pub use device::{BlockDevice, Durability, Extent, ExtentKind, Geometry, Zeroes};
pub use plain::PlainDevice;
pub use protect::{MemoryPolicy, Protection, protect_process};
pub use record::{Discard, ErasureRecord};
pub use state::{BackingPlace, Claim, JobEntry, JobState, Liveness, LoopDevice, Owner, StateDir};
pub use time::UtcTime;
