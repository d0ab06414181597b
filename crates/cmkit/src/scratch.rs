//! Block encryption for scratch disks: buffers in place, no I/O (docs/format.md, section 14).

mod block_key;
mod derive;
mod live;
mod volume_file;
mod xts_key;

pub use self::block_key::{BlockKey, BlockSeal, BlockSize};
pub use self::volume_file::VolumeLayout;
pub use self::xts_key::{SectorSize, XtsKey};

#[cfg(test)]
mod tests;
