//! Encrypted scratch disks for jobs on a node: authenticated, made in an instant, and unreadable in an instant when the job ends.
//!
//! Linux only: on other systems this crate is empty.
#![cfg(target_os = "linux")]

mod aligned;
mod backing;
mod device;
mod failure;
mod file_system;
mod fuse;
mod job;
pub mod loop_device;
pub mod mount;
mod nbd;
mod origin;
mod plain;
mod private;
pub mod probe;
mod program;
mod protect;
mod record;
mod state;
mod time;
mod usage;
mod volume;

pub use backing::{
    Access, Backing, Call, DeviceBacking, Fault, Faults, FaultyBacking, FileBacking, MemoryBacking,
    Punched, Recorded, open_path,
};
pub use device::{BlockDevice, Durability, Extent, ExtentKind, Geometry, Zeroes};
pub use file_system::{Content, FileSystem};
pub use fuse::FuseMount;
pub use job::{Expose, JobScratch, JobSpec, Occupied, Place, Recovered, recover};
pub use loop_device::LoopDevice;
pub use mount::Mount;
pub use nbd::{NbdServer, NbdServerBuilder, NbdStats};
pub use plain::PlainDevice;
pub use protect::{MemoryPolicy, Protection, protect_process};
pub use record::{Discard, ErasureRecord};
pub use state::{
    BackingPlace, Claim, CreatedFile, FileIdentity, JobEntry, JobState, Liveness, LoopState, Owner,
    StateDir,
};
pub use time::UtcTime;
pub use volume::{Volume, VolumeMode, VolumeSpec, VolumeStats};
