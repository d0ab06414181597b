//! The ephemeral mode: authenticated blocks, whose seals and key are in memory.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cmkit::{BlockKey, BlockSeal, BlockSize, Error, KeyId, Keyring, Result};

use super::bounce::{Bounce, Taken};
use super::extent_runs::Runs;
use super::segments::{Segment, Step, segments};
use super::table::{SHARD_BLOCKS, Table, Used, Writing, is_poisoned};
use crate::backing::Backing;
use crate::device::{Extent, ExtentKind, Zeroes};
use crate::failure::io as io_error;

/// Bytes that are copied, encrypted and written at a time where the caller's data must stay as it is.
const COPY_LEN: usize = 256 * 1024;

pub(super) struct Ephemeral {
    /// One key's life. Read for as long as a request takes, written by a reset.
    life: RwLock<Life>,
    /// The same key, for who doesn't wait for requests.
    key: RwLock<Arc<BlockKey>>,
    /// How often it was destroyed for good, so that a reset under way doesn't undo it.
    destroys: AtomicU64,
    keyring: Option<Keyring>,
    block_size: BlockSize,
    blocks: u64,
    used: Arc<Used>,
    bounce: Bounce,
}

struct Life {
    key: Arc<BlockKey>,
    table: Table,
}

impl Ephemeral {
    /// `budget`: bytes of memory that seals may take.
    pub(super) fn new(
        block_size: BlockSize,
        keyring: Option<Keyring>,
        blocks: u64,
        budget: u64,
    ) -> Result<Self> {
        let used = Arc::new(Used::new(budget));
        let table = Table::new(blocks, Arc::clone(&used))?;
        let key = Arc::new(new_key(block_size, keyring.as_ref())?);
        Ok(Self {
            life: RwLock::new(Life {
                key: Arc::clone(&key),
                table,
            }),
            key: RwLock::new(key),
            destroys: AtomicU64::new(0),
            keyring,
            block_size,
            blocks,
            used,
            bounce: Bounce::new(COPY_LEN),
        })
    }

    pub(super) fn block_size(&self) -> BlockSize {
        self.block_size
    }

    fn block_len(&self) -> usize {
        self.block_size.bytes() as usize
    }

    pub(super) fn key(&self) -> Arc<BlockKey> {
        Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn key_ids(&self) -> Vec<KeyId> {
        self.key().key_ids()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.key().check()
    }

    pub(super) fn destroy(&self) {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        self.destroys.fetch_add(1, Ordering::SeqCst);
        key.destroy();
    }

    pub(super) fn is_destroyed(&self) -> bool {
        self.key().is_destroyed()
    }

    pub(super) fn metadata_bytes(&self) -> u64 {
        self.used.bytes()
    }

    pub(super) fn poisoned_blocks(&self) -> u64 {
        self.used.poisoned()
    }

    #[cfg(test)]
    pub(super) fn groups(&self) -> (usize, usize) {
        self.life().table.groups()
    }

    fn life(&self) -> std::sync::RwLockReadGuard<'_, Life> {
        self.life.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that one lock is for.
    fn span(&self) -> u64 {
        SHARD_BLOCKS as u64 * u64::from(self.block_size.bytes())
    }

    /// Destroys the key, waits for requests, and begins anew. `give_back` is called in between, when nobody reads or writes.
    pub(super) fn reset<T>(&self, give_back: impl FnOnce() -> T) -> Result<T> {
        let destroys = self.destroys.load(Ordering::SeqCst);
        self.key().destroy();
        // Asks a provider: before anything is locked.
        let new = Arc::new(new_key(self.block_size, self.keyring.as_ref())?);
        let mut life = self.life.write().unwrap_or_else(PoisonError::into_inner);
        // That of another reset.
        life.key.destroy();
        let given = give_back();
        let table = Table::new(self.blocks, Arc::clone(&self.used))?;
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if self.destroys.load(Ordering::SeqCst) != destroys {
            // Its seals are of no use to anybody, and it counts what is counted from now on.
            life.table = table;
            return Err(Error::InvalidState {
                problem: "the volume was destroyed while it was being reset; it stays destroyed",
            });
        }
        *key = Arc::clone(&new);
        *life = Life { key: new, table };
        Ok(given)
    }

    /// Calls `give_back` if the key is destroyed, and doesn't come back meanwhile.
    pub(super) fn if_destroyed<T>(&self, give_back: impl FnOnce() -> T) -> Option<T> {
        let life = self.life();
        life.key.is_destroyed().then(give_back)
    }

    pub(super) fn read(&self, backing: &dyn Backing, data: &mut [u8], offset: u64) -> Result<()> {
        let life = self.life();
        for segment in segments(offset, data.len(), self.span()) {
            for step in segment.steps(self.block_len()) {
                match step {
                    Step::Whole { first, data: place } => {
                        life.read_blocks(backing, first, &mut data[place], self.block_len())?;
                    }
                    Step::Part {
                        block,
                        inside,
                        data: place,
                    } => {
                        let mut bounce = self.bounce.take();
                        let text = bounce.first(self.block_len());
                        life.read_blocks(backing, block, text, self.block_len())?;
                        data[place].copy_from_slice(&text[inside]);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, backing: &dyn Backing, data: &[u8], offset: u64) -> Result<()> {
        let life = self.life();
        let mut bounce = self.bounce.take();
        for segment in segments(offset, data.len(), self.span()) {
            let mut seals = life
                .table
                .write(segment.offset / u64::from(self.block_size.bytes()));
            seals.make_room()?;
            for step in segment.steps(self.block_len()) {
                match step {
                    Step::Whole { first, data: place } => {
                        let pieces = data[place].chunks(COPY_LEN);
                        let step = COPY_LEN / self.block_len();
                        for (piece, first) in pieces.zip((first..).step_by(step)) {
                            let room = &mut bounce[..piece.len()];
                            let mut new = [BlockSeal::UNWRITTEN; SHARD_BLOCKS];
                            let new = &mut new[..piece.len() / self.block_len()];
                            life.key.encrypt_blocks_into(first, piece, room, new)?;
                            self.store(backing, &mut seals, first, room, new)?;
                        }
                    }
                    Step::Part {
                        block,
                        inside,
                        data: place,
                    } => {
                        let text = bounce.first(self.block_len());
                        let source = &data[place];
                        let change = |text: &mut [u8]| text[inside].copy_from_slice(source);
                        self.change_block(&life, backing, &mut seals, block, text, change)?;
                    }
                }
            }
        }
        bounce.is_ciphertext();
        Ok(())
    }

    /// The same, encrypting whole blocks where they are.
    pub(super) fn write_from(
        &self,
        backing: &dyn Backing,
        data: &mut [u8],
        offset: u64,
    ) -> Result<()> {
        let life = self.life();
        for segment in segments(offset, data.len(), self.span()) {
            let mut seals = life
                .table
                .write(segment.offset / u64::from(self.block_size.bytes()));
            seals.make_room()?;
            for step in segment.steps(self.block_len()) {
                match step {
                    Step::Whole { first, data: place } => {
                        self.write_blocks(&life, backing, &mut seals, first, &mut data[place])?;
                    }
                    Step::Part {
                        block,
                        inside,
                        data: place,
                    } => {
                        let mut bounce = self.bounce.take();
                        let text = bounce.first(self.block_len());
                        let source = &mut data[place];
                        let change = |text: &mut [u8]| text[inside].copy_from_slice(source);
                        self.change_block(&life, backing, &mut seals, block, text, change)?;
                        source.fill(0);
                    }
                }
            }
        }
        Ok(())
    }

    /// Encrypts whole blocks of one shard where they are, and writes them.
    fn write_blocks(
        &self,
        life: &Life,
        backing: &dyn Backing,
        seals: &mut Writing<'_>,
        first: u64,
        text: &mut [u8],
    ) -> Result<()> {
        let mut new = [BlockSeal::UNWRITTEN; SHARD_BLOCKS];
        let new = &mut new[..text.len() / self.block_len()];
        // Nothing was written yet: if this fails, what is there stays what it was.
        life.key.encrypt_blocks(first, text, new)?;
        self.store(backing, seals, first, text, new)
    }

    /// Writes ciphertext of one shard, and keeps its seals.
    fn store(
        &self,
        backing: &dyn Backing,
        seals: &mut Writing<'_>,
        first: u64,
        text: &[u8],
        new: &[BlockSeal],
    ) -> Result<()> {
        let written = backing.write_at(text, first * u64::from(self.block_size.bytes()));
        match written {
            Ok(()) => {
                seals.set(first, new);
                Ok(())
            }
            Err(error) => {
                // Any part of it may have been written.
                seals.poison(first, new.len());
                Err(io_error("write", backing.name(), error))
            }
        }
    }

    /// Reads a block into `text`, changes it, and writes it again.
    fn change_block(
        &self,
        life: &Life,
        backing: &dyn Backing,
        seals: &mut Writing<'_>,
        block: u64,
        text: &mut [u8],
        change: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        life.open_blocks(backing, block, text, &[seals.seal(block)], self.block_len())?;
        change(text);
        self.write_blocks(life, backing, seals, block, text)
    }

    pub(super) fn discard(&self, backing: &dyn Backing, offset: u64, len: u64) -> Result<()> {
        let life = self.life();
        self.whole_blocks(&life.table, offset, len, |first, count| {
            life.clear(backing, self.block_size, first, count);
        });
        Ok(())
    }

    pub(super) fn write_zeroes(
        &self,
        backing: &dyn Backing,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
    ) -> Result<()> {
        let life = self.life();
        let mut bounce = self.bounce.take();
        let span = self.span();
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let here = (span - at % span).min(end - at);
            let segment = Segment {
                offset: at,
                // A shard's bytes fit in memory.
                data: 0..usize::try_from(here).unwrap_or(usize::MAX),
            };
            self.zero_segment(&life, backing, &segment, zeroes, &mut bounce)?;
            at += here;
        }
        Ok(())
    }

    fn zero_segment(
        &self,
        life: &Life,
        backing: &dyn Backing,
        segment: &Segment,
        zeroes: Zeroes,
        bounce: &mut Taken<'_>,
    ) -> Result<()> {
        let block_bytes = u64::from(self.block_size.bytes());
        for step in segment.steps(self.block_len()) {
            match (step, zeroes) {
                (Step::Whole { first, data }, Zeroes::MayPunch) => {
                    life.clear(
                        backing,
                        self.block_size,
                        first,
                        data.len() / self.block_len(),
                    );
                }
                (Step::Whole { first, data }, Zeroes::KeepRoom) => {
                    let mut seals = life.table.write(first);
                    seals.make_room()?;
                    let mut left = data.len();
                    let mut first = first;
                    while left > 0 {
                        let here = left.min(COPY_LEN);
                        let room = bounce.first(here);
                        room.fill(0);
                        self.write_blocks(life, backing, &mut seals, first, room)?;
                        first += here as u64 / block_bytes;
                        left -= here;
                    }
                }
                (Step::Part { block, inside, .. }, _) => {
                    let mut seals = life.table.write(block);
                    if seals.seal(block).is_unwritten() && zeroes == Zeroes::MayPunch {
                        continue;
                    }
                    seals.make_room()?;
                    let text = bounce.first(self.block_len());
                    let change = |text: &mut [u8]| text[inside].fill(0);
                    self.change_block(life, backing, &mut seals, block, text, change)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn extents(
        &self,
        offset: u64,
        len: u64,
        found: &mut dyn FnMut(Extent) -> bool,
    ) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let life = self.life();
        let block_bytes = u64::from(self.block_size.bytes());
        let (first, end) = (offset / block_bytes, (offset + len).div_ceil(block_bytes));
        let mut runs = Runs::new(offset - first * block_bytes, len, found);
        life.table.runs(first, end, &mut |count, written| {
            let kind = if written {
                ExtentKind::Data
            } else {
                ExtentKind::Zero
            };
            runs.push(count * block_bytes, kind)
        });
        runs.finish();
        Ok(())
    }

    /// Calls `each` for the runs of whole blocks of a range, one a shard. Passes over those near which none was ever written.
    fn whole_blocks(&self, table: &Table, offset: u64, len: u64, mut each: impl FnMut(u64, usize)) {
        let block_bytes = u64::from(self.block_size.bytes());
        let end = (offset + len) / block_bytes;
        let mut block = offset.div_ceil(block_bytes);
        while block < end {
            if let Some(until) = table.untouched_until(block) {
                block = until;
                continue;
            }
            let until = ((block / SHARD_BLOCKS as u64 + 1) * SHARD_BLOCKS as u64).min(end);
            // At most a shard's.
            each(block, usize::try_from(until - block).unwrap_or(0));
            block = until;
        }
    }
}

impl Life {
    /// Reads whole blocks of one shard, under its lock.
    fn read_blocks(
        &self,
        backing: &dyn Backing,
        first: u64,
        text: &mut [u8],
        block_len: usize,
    ) -> Result<()> {
        let reading = self.table.read(first);
        let seals = reading
            .as_ref()
            .map(|r| r.seals(first, text.len() / block_len));
        match seals.flatten() {
            Some(seals) => self.open_blocks(backing, first, text, seals, block_len),
            None => {
                text.fill(0);
                Ok(())
            }
        }
    }

    fn open_blocks(
        &self,
        backing: &dyn Backing,
        first: u64,
        text: &mut [u8],
        seals: &[BlockSeal],
        block_len: usize,
    ) -> Result<()> {
        if seals.iter().all(BlockSeal::is_unwritten) {
            text.fill(0);
            return Ok(());
        }
        if let Some(place) = seals.iter().position(is_poisoned) {
            return Err(poisoned(backing, first + place as u64));
        }
        let read = backing.read_at(text, first * block_len as u64);
        read.map_err(|e| io_error("read", backing.name(), e))?;
        self.key.decrypt_blocks(first, text, seals)
    }

    /// Makes whole blocks of one shard unwritten, and gives their room back.
    fn clear(&self, backing: &dyn Backing, block_size: BlockSize, first: u64, count: usize) {
        if self.table.untouched_until(first).is_some() {
            return;
        }
        let block_bytes = u64::from(block_size.bytes());
        let mut seals = self.table.write(first);
        if seals.clear(first, count) {
            // Under the lock: else it would take away what is written next. Advice: without it only room is lost.
            let _ = backing.punch(first * block_bytes, count as u64 * block_bytes);
        }
    }
}

fn poisoned(backing: &dyn Backing, block: u64) -> Error {
    let problem = format!("block {block}: its last write failed; write it again, whole");
    io_error("read", backing.name(), io::Error::other(problem))
}

fn new_key(block_size: BlockSize, keyring: Option<&Keyring>) -> Result<BlockKey> {
    match keyring {
        Some(keyring) => keyring.new_block_key(block_size),
        None => BlockKey::random(block_size),
    }
}
