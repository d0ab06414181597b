//! A volume against whoever holds its backing, against failing disks, against threads, and against a model.
// Numbers here are made up, and small.
#![allow(clippy::cast_possible_truncation)]

mod arguments;
mod crowd;
mod ending;
mod keys;
mod model;
mod room;
mod tamper;
mod torn;
mod wiped;

use std::io;
use std::sync::Arc;

use cmkit::{BlockSize, SectorSize};

use super::{Volume, VolumeMode, VolumeSpec};
use crate::backing::{Backing, Faults, FaultyBacking, MemoryBacking, Punched};
use crate::device::{BlockDevice as _, Durability, Zeroes};

/// A backing that a test keeps a hand on.
struct Shared<B>(Arc<B>);

impl<B: Backing> Backing for Shared<B> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        self.0.punch(offset, len)
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }
}

/// A volume, what really lies on its backing, and what may go wrong there.
struct Scene {
    volume: Volume,
    below: Arc<MemoryBacking>,
    faults: Faults,
    block: usize,
}

impl Scene {
    fn new(mode: VolumeMode, len: usize) -> Self {
        Self::of(&VolumeSpec::new(mode), len)
    }

    fn of(spec: &VolumeSpec, len: usize) -> Self {
        let below = Arc::new(MemoryBacking::new(len));
        let (backing, faults) = FaultyBacking::new(Shared(Arc::clone(&below)));
        let volume = Volume::create(Box::new(backing), spec).unwrap();
        let block = spec.mode().block_bytes() as usize;
        Self {
            volume,
            below,
            faults,
            block,
        }
    }

    /// The ciphertext of a block.
    fn raw(&self, block: usize) -> Vec<u8> {
        let mut data = vec![0; self.block];
        self.below.read_at(&mut data, self.place(block)).unwrap();
        data
    }

    fn put_raw(&self, block: usize, data: &[u8]) {
        self.below.write_at(data, self.place(block)).unwrap();
    }

    fn place(&self, block: usize) -> u64 {
        (block * self.block) as u64
    }

    fn write(&self, offset: u64, data: &[u8]) -> cmkit::Result<()> {
        self.volume.write_at(data, offset, Durability::Cached)
    }

    fn read(&self, offset: u64, len: usize) -> cmkit::Result<Vec<u8>> {
        let mut data = vec![0xaa; len];
        let read = self.volume.read_at(&mut data, offset);
        if read.is_err() {
            assert!(
                data.iter().all(|byte| *byte == 0),
                "a failed read gives zeros"
            );
        }
        read.map(|()| data)
    }
}

const MODES: [VolumeMode; 5] = [
    VolumeMode::Ephemeral(BlockSize::Kib4),
    VolumeMode::Ephemeral(BlockSize::Kib16),
    VolumeMode::Ephemeral(BlockSize::Kib64),
    VolumeMode::Xts(SectorSize::B512),
    VolumeMode::Xts(SectorSize::B4096),
];

/// Bytes that differ from place to place, and for another seed.
fn filled(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed)
        .collect()
}

#[test]
fn what_is_written_is_read_at_any_byte() {
    let backing = Box::new(MemoryBacking::new(4 << 20));
    let volume = Volume::create(backing, &VolumeSpec::default()).unwrap();
    let text: Vec<u8> = (0..=250).cycle().take(2 << 20).collect();
    volume.write_at(&text, 12_345, Durability::Cached).unwrap();
    let mut read = vec![1; 4 << 20];
    volume.read_at(&mut read, 0).unwrap();
    assert!(read[..12_345].iter().all(|byte| *byte == 0));
    assert_eq!(read[12_345..][..text.len()], text);

    volume
        .write_zeroes(20_000, 100_000, Zeroes::MayPunch, Durability::Durable)
        .unwrap();
    volume.read_at(&mut read, 0).unwrap();
    assert!(read[20_000..120_000].iter().all(|byte| *byte == 0));
    assert_eq!(read[120_000..][..1000], text[120_000 - 12_345..][..1000]);

    volume.destroy();
    assert!(volume.read_at(&mut read, 0).is_err());
    assert!(read.iter().all(|byte| *byte == 0));
}
