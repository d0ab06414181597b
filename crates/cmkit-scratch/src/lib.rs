//! Encrypted scratch disks for jobs on a node: authenticated, made in an instant, and unreadable in an instant when the job ends.
//!
//! Linux only: on other systems this crate is empty.
#![cfg(target_os = "linux")]

mod aligned;
mod backing;
mod device;
mod failure;
mod nbd;
mod plain;

pub use backing::{Backing, MemoryBacking, Punched};
pub use device::{BlockDevice, Durability, Extent, ExtentKind, Geometry, Zeroes};
pub use nbd::{NbdServer, NbdServerBuilder, NbdStats};
pub use plain::PlainDevice;
