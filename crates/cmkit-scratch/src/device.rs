//! What a disk is to those who serve it.

use cmkit::Result;

/// A disk of a fixed size that is read and written at any byte: a [`Volume`](crate::Volume), or one that isn't encrypted.
///
/// Thread-safe: calls may come from any number of threads. What two writers that overlap leave is the one's or the other's, block by block; a reader
/// never sees a mixture within a block. No method panics on a range outside of the disk: that is
/// [`InvalidArgument`](cmkit::Error::InvalidArgument). Of a failed read the whole of `data` is zero.
#[allow(clippy::len_without_is_empty)]
pub trait BlockDevice: Send + Sync {
    /// Bytes; never changes.
    fn len(&self) -> u64;

    /// What a server tells its clients.
    fn geometry(&self) -> Geometry;

    /// Fills `data` from `offset`.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): beyond the end.
    /// * [`Error::DamagedBlock`](cmkit::Error::DamagedBlock): a block isn't what was written there.
    /// * [`Error::Io`](cmkit::Error::Io): the backing failed, or the last write of a block did.
    /// * [`Error::InvalidState`](cmkit::Error::InvalidState): destroyed, or a forked child's.
    /// * [`Error::Provider`](cmkit::Error::Provider): the volume's key was taken away.
    fn read_at(&self, data: &mut [u8], offset: u64) -> Result<()>;

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// * Those of [`read_at`](Self::read_at): a block that is written in part is read first.
    /// * [`Error::Policy`](cmkit::Error::Policy): the key may encrypt no more; the disk is read-only.
    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> Result<()>;

    /// The same, and may use `data` as room to work in: what is in it afterwards is unspecified, and no plaintext.
    ///
    /// # Errors
    /// * Those of [`write_at`](Self::write_at).
    fn write_from(&self, data: &mut [u8], offset: u64, durability: Durability) -> Result<()> {
        self.write_at(data, offset, durability)
    }

    /// Has everything written so far reach the backing's medium.
    ///
    /// # Errors
    /// * [`Error::Io`](cmkit::Error::Io): the backing failed.
    fn flush(&self) -> Result<()>;

    /// Says that the content of a range is of no use any more. Advice: parts of a block stay as they are, and what isn't supported is done without.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): beyond the end.
    /// * [`Error::InvalidState`](cmkit::Error::InvalidState): destroyed, or a forked child's.
    fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Makes a range read as zeros.
    ///
    /// # Errors
    /// * Those of [`write_at`](Self::write_at).
    fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
        durability: Durability,
    ) -> Result<()>;

    /// What lies in a range: calls `found` for each extent in order, which join without gaps from `offset` on. Ends early when `found` returns false.
    /// Locks are held meanwhile: `found` mustn't call the disk.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): beyond the end.
    fn extents(&self, offset: u64, len: u64, found: &mut dyn FnMut(Extent) -> bool) -> Result<()>;
}

/// What a server tells its clients of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Geometry {
    /// Bytes in a block, a power of two: requests that are whole blocks are the fastest.
    pub block_size: u32,
    /// Nothing can be written.
    pub read_only: bool,
    /// A call may wait for a medium for so long that others are better served meanwhile.
    pub is_blocking: bool,
    /// Zeros can be written without writing them.
    pub fast_zeroes: bool,
}

impl Geometry {
    /// One that is written, fast, and without fast zeros.
    #[must_use]
    pub fn new(block_size: u32) -> Self {
        Self {
            block_size,
            read_only: false,
            is_blocking: false,
            fast_zeroes: false,
        }
    }
}

/// When a write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When others can read it.
    Cached,
    /// When it has reached the medium (FUA).
    Durable,
}

/// How zeros are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeroes {
    /// The room may be given back.
    MayPunch,
    /// The room stays taken.
    KeepRoom,
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub len: u64,
    /// What lies there.
    pub kind: ExtentKind,
}

/// What lies in an [`Extent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Something.
    Data,
    /// Nothing was written there, and it reads as zeros.
    Zero,
}
