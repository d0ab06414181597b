//! The XTS mode: dm-crypt's layout, and nothing but the key in memory.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cmkit::{Result, SectorSize, XtsKey};

use super::bounce::Bounce;
use super::segments::{Step, segments};
use crate::backing::Backing;
use crate::failure::io as io_error;

/// Bytes that one lock is for, and that are copied and encrypted at a time where the caller's data must stay as it is.
const SPAN: usize = 256 * 1024;
/// Locks, so that two writers of parts of one sector don't undo each other, and a reader sees no half-written one.
const LOCKS: u64 = 256;

pub(super) struct Xts {
    pub(super) key: Arc<XtsKey>,
    locks: Vec<RwLock<()>>,
    bounce: Bounce,
}

impl Xts {
    pub(super) fn new(key: XtsKey) -> Self {
        Self {
            key: Arc::new(key),
            locks: (0..LOCKS).map(|_| RwLock::default()).collect(),
            bounce: Bounce::new(SPAN),
        }
    }

    pub(super) fn sector_size(&self) -> SectorSize {
        self.key.sector_size()
    }

    fn sector_len(&self) -> usize {
        self.sector_size().bytes() as usize
    }

    fn lock(&self, offset: u64) -> &RwLock<()> {
        // Less than the number of locks.
        &self.locks[usize::try_from(offset / SPAN as u64 % LOCKS).unwrap_or(0)]
    }

    fn reading(&self, offset: u64) -> RwLockReadGuard<'_, ()> {
        self.lock(offset)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self, offset: u64) -> RwLockWriteGuard<'_, ()> {
        self.lock(offset)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self, backing: &dyn Backing, data: &mut [u8], offset: u64) -> Result<()> {
        for segment in segments(offset, data.len(), SPAN as u64) {
            let _reading = self.reading(segment.offset);
            for step in segment.steps(self.sector_len()) {
                match step {
                    Step::Whole { first, data: place } => {
                        self.read_sectors(backing, first, &mut data[place])?;
                    }
                    Step::Part {
                        block,
                        inside,
                        data: place,
                    } => {
                        let mut bounce = self.bounce.take();
                        let text = bounce.first(self.sector_len());
                        self.read_sectors(backing, block, text)?;
                        data[place].copy_from_slice(&text[inside]);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, backing: &dyn Backing, data: &[u8], offset: u64) -> Result<()> {
        let mut bounce = self.bounce.take();
        for segment in segments(offset, data.len(), SPAN as u64) {
            let room = bounce.first(segment.data.len());
            room.copy_from_slice(&data[segment.data]);
            self.write_from(backing, room, segment.offset)?;
        }
        bounce.is_ciphertext();
        Ok(())
    }

    /// The same, encrypting whole sectors where they are.
    pub(super) fn write_from(
        &self,
        backing: &dyn Backing,
        data: &mut [u8],
        offset: u64,
    ) -> Result<()> {
        for segment in segments(offset, data.len(), SPAN as u64) {
            let _writing = self.writing(segment.offset);
            for step in segment.steps(self.sector_len()) {
                match step {
                    Step::Whole { first, data: place } => {
                        self.write_sectors(backing, first, &mut data[place])?;
                    }
                    Step::Part {
                        block,
                        inside,
                        data: place,
                    } => {
                        let mut bounce = self.bounce.take();
                        let text = bounce.first(self.sector_len());
                        self.read_sectors(backing, block, text)?;
                        text[inside].copy_from_slice(&data[place.clone()]);
                        self.write_sectors(backing, block, text)?;
                        data[place].fill(0);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn write_zeroes(&self, backing: &dyn Backing, offset: u64, len: u64) -> Result<()> {
        let mut bounce = self.bounce.take();
        let mut at = offset;
        while at < offset + len {
            let here = (offset + len - at).min(SPAN as u64);
            // No more than a span.
            let room = bounce.first(usize::try_from(here).unwrap_or(0));
            room.fill(0);
            self.write_from(backing, room, at)?;
            at += here;
        }
        bounce.is_ciphertext();
        Ok(())
    }

    /// What was there is undefined from now on.
    pub(super) fn discard(&self, backing: &dyn Backing, offset: u64, len: u64) {
        let sector = u64::from(self.sector_size().bytes());
        let (start, end) = (
            offset.next_multiple_of(sector),
            (offset + len) / sector * sector,
        );
        let mut at = start;
        while at < end {
            let here = (SPAN as u64 - at % SPAN as u64).min(end - at);
            let _writing = self.writing(at);
            // Advice: without it only room is lost.
            let _ = backing.punch(at, here);
            at += here;
        }
    }

    fn read_sectors(&self, backing: &dyn Backing, first: u64, text: &mut [u8]) -> Result<()> {
        let offset = first * u64::from(self.sector_size().bytes());
        let read = backing.read_at(text, offset);
        read.map_err(|e| io_error("read", backing.name(), e))?;
        self.key.decrypt_sectors(offset, text)
    }

    fn write_sectors(&self, backing: &dyn Backing, first: u64, text: &mut [u8]) -> Result<()> {
        let offset = first * u64::from(self.sector_size().bytes());
        self.key.encrypt_sectors(offset, text)?;
        let written = backing.write_at(text, offset);
        written.map_err(|e| io_error("write", backing.name(), e))
    }
}
