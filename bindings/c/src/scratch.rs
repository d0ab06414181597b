//! Scratch disks: keys for blocks and sectors, and encrypted volumes over files, devices, memory and callbacks.

mod block_key;
mod xts_key;

mod backing;

mod reentry;

mod volume;

mod volume_io;

pub use backing::*;
pub use block_key::*;
pub use volume::*;
pub use volume_io::*;
pub use xts_key::*;
