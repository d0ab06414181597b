//! Scratch disks: keys for blocks and sectors, encrypted volumes over files, devices, memory and callbacks, and those of jobs.

mod block_key;
mod xts_key;

mod backing;

mod reentry;

mod volume;

mod volume_io;

mod nbd_server;

mod job;

mod record;

mod protect;

pub use backing::*;
pub use block_key::*;
pub use job::*;
pub use nbd_server::*;
pub use protect::*;
pub use record::*;
pub use volume::*;
pub use volume_io::*;
pub use xts_key::*;
