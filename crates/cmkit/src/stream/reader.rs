//! Random access to the plaintext of an envelope.

use std::io::{self, Read, Seek, SeekFrom};

use super::chunk_cache::ChunkCache;
use super::options::StreamOptions;
use super::read_at::{ReadAt, read_full_at};
use crate::chunked::{
    CHUNK_LEN, Message, PREAMBLE_LEN, RUN_CHUNKS, SLOT_LEN, drain, plaintext_len, slots_len,
    threads_for,
};
use crate::context::EncryptionContext;
use crate::envelope::{PREFIX_LEN, header_len};
use crate::error::{Error, Result};
use crate::keyring::{Keyring, OpeningKey};
use crate::rewrap::interrupted_or;

/// Reads the plaintext of an envelope at any place: [`Read`], [`Seek`], and [`read_at`](Self::read_at) from many threads at once.
///
/// The length is authenticated when the reader is made: the last chunk was opened. Each read then opens the chunks (16 KiB) that it touches.
/// So a damaged chunk is noticed when it is read, and not before. After an error other places can still be read.
///
/// Holds four opened chunks for small reads, zeroized on drop; large reads go straight into the caller's buffer, by several threads. Thread-safe.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom};
///
/// # let dir = tempfile::tempdir()?;
/// # let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
/// # provider.create_key("team", cmkit::KeyType::Oct256)?;
/// # let keyring = cmkit::Keyring::builder().provider(std::sync::Arc::new(provider))
/// #     .wrap_with(cmkit::KeyRef::parse("local:team")?).build()?;
/// let context = cmkit::EncryptionContext::new([("doc", "42")])?;
/// let envelope = keyring.encrypt(b"attack at dawn", &context)?;
///
/// let mut reader = keyring.reader(&envelope[..], &context)?;
/// assert_eq!(reader.len(), 14);
/// reader.seek(SeekFrom::End(-4))?;
/// let mut word = [0; 4];
/// reader.read_exact(&mut word)?;
/// assert_eq!(&word, b"dawn");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader<R: ReadAt> {
    source: R,
    message: Message,
    /// Where chunk 0 begins in the source.
    start: u64,
    len: u64,
    slots_len: u64,
    threads: usize,
    cache: ChunkCache,
    position: u64,
}

impl Keyring {
    /// Random access to the plaintext of the envelope that `source` is.
    ///
    /// # Errors
    /// * [`Error::Io`]: `source` failed.
    /// * [`Error::RewrapInterrupted`]: `source` is a file whose header an interrupted rewrap left half-written;
    ///   [`open_file`](Self::open_file) reads it all the same.
    /// * Those of [`decrypt`](Self::decrypt), as far as the header and the last chunk go.
    pub fn reader<R: ReadAt>(&self, source: R, context: &EncryptionContext) -> Result<Reader<R>> {
        let header = read_header(&source)?;
        let key = self
            .opening_key(&header)
            .map_err(|e| interrupted_or(e, source.path(), &header))?;
        Reader::new(source, &key, context)
    }
}

/// Reads a header, in one go unless it is unusually long.
fn read_header(source: &impl ReadAt) -> Result<Vec<u8>> {
    let fail = |e| Error::from_io("read", e);
    let mut header = vec![0; 4096];
    let have = read_full_at(source, &mut header, 0).map_err(fail)?;
    let len = header_len(&header[..have.min(PREFIX_LEN)])?;
    header.resize(len, 0);
    if len > have
        && have + read_full_at(source, &mut header[have..], have as u64).map_err(fail)? < len
    {
        return Err(Error::Truncated);
    }
    Ok(header)
}

impl<R: ReadAt> Reader<R> {
    pub(crate) fn new(source: R, key: &OpeningKey, context: &EncryptionContext) -> Result<Self> {
        let this = Self::behind_header(source, key.header_len() as u64, |preamble| {
            let message = Message::open(key.body_key(), preamble, &key.body_context(context))?;
            Ok(message.watched_by(key.guard()))
        })?;
        key.charge(this.len);
        Ok(this)
    }

    /// The body that begins at `header_len`.
    pub(super) fn behind_header(
        source: R,
        header_len: u64,
        open: impl FnOnce(&[u8; PREAMBLE_LEN]) -> Result<Message>,
    ) -> Result<Self> {
        let fail = |e| Error::from_io("read", e);
        let size = source.size().map_err(fail)?;
        let len = plaintext_len(size.checked_sub(header_len).ok_or(Error::Truncated)?)?;
        let mut preamble = [0; PREAMBLE_LEN];
        if read_full_at(&source, &mut preamble, header_len).map_err(fail)? < PREAMBLE_LEN {
            return Err(Error::Truncated);
        }
        let this = Self {
            source,
            message: open(&preamble)?,
            start: header_len + PREAMBLE_LEN as u64,
            len,
            slots_len: slots_len(len)?,
            threads: StreamOptions::default().batch().threads,
            cache: ChunkCache::default(),
            position: 0,
        };
        // Whoever cut the source can't make a chunk that is the last.
        this.with_chunk(len / CHUNK_LEN as u64, |_| ())?;
        Ok(this)
    }

    /// Bytes of plaintext, authenticated.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no plaintext.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The source.
    #[must_use]
    pub fn get_ref(&self) -> &R {
        &self.source
    }

    /// The source, back.
    #[must_use]
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Fills `buf` with the plaintext from `offset` on and says how much that is: all of `buf`, less only at the end, 0 behind it.
    ///
    /// Does not move the position of [`Read`] and [`Seek`]. May be called from several threads at once.
    ///
    /// On failure all of `buf` is zero.
    ///
    /// # Errors
    /// * [`Error::AuthenticationFailed`]: a chunk was changed.
    /// * [`Error::Truncated`]: the source is shorter than it was.
    /// * [`Error::Io`]: the source failed.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let rest = self.len.saturating_sub(offset);
        let len = usize::try_from(rest).map_or(buf.len(), |rest| rest.min(buf.len()));
        self.fill(&mut buf[..len], offset)
            .inspect_err(|_| buf.fill(0))?;
        Ok(len)
    }

    /// `out` lies within the plaintext.
    fn fill(&self, mut out: &mut [u8], mut offset: u64) -> Result<()> {
        // Also for a chunk that was opened before and is still there.
        self.message.watch()?;
        while !out.is_empty() {
            let number = offset / CHUNK_LEN as u64;
            #[expect(clippy::cast_possible_truncation, reason = "it is below CHUNK_LEN")]
            let inside = (offset % CHUNK_LEN as u64) as usize;
            let step = if inside == 0 && out.len() >= CHUNK_LEN {
                let whole = out.len() / CHUNK_LEN * CHUNK_LEN;
                self.fill_chunks(number, &mut out[..whole])?;
                whole
            } else {
                let step = out.len().min(CHUNK_LEN - inside);
                self.with_chunk(number, |chunk| {
                    out[..step].copy_from_slice(&chunk[inside..inside + step])
                })?;
                step
            };
            out = &mut out[step..];
            offset += step as u64;
        }
        Ok(())
    }

    /// Whole chunks, none of them the last.
    fn fill_chunks(&self, first: u64, out: &mut [u8]) -> Result<()> {
        let numbers = (first..).step_by(RUN_CHUNKS);
        let threads = threads_for(out.len(), self.threads);
        let scratch_len = out.len().min(RUN_CHUNKS * CHUNK_LEN) / CHUNK_LEN * SLOT_LEN;
        drain(
            numbers.zip(out.chunks_mut(RUN_CHUNKS * CHUNK_LEN)),
            threads,
            || vec![0; scratch_len],
            |scratch, (number, out)| {
                self.read_chunks(
                    number,
                    &mut scratch[..out.len() / CHUNK_LEN * SLOT_LEN],
                    out,
                )
            },
        )
    }

    /// A run of chunks, read into `slots` and opened into `out`.
    pub(crate) fn read_chunks(&self, first: u64, slots: &mut [u8], out: &mut [u8]) -> Result<()> {
        self.read_exact(slots, first * SLOT_LEN as u64)?;
        self.message.open_chunks(first, slots, out, 1)
    }

    /// Hands over the plaintext of one chunk.
    fn with_chunk<T>(&self, number: u64, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let offset = number * SLOT_LEN as u64;
        let rest = self.slots_len - offset.min(self.slots_len);
        let len = usize::try_from(rest).map_or(SLOT_LEN, |rest| rest.min(SLOT_LEN));
        self.cache.with_chunk(
            number,
            len,
            |slot| {
                self.read_exact(slot, offset)?;
                self.message.open_slots(number, slot, 1)
            },
            take,
        )
    }

    /// Sealed bytes at `offset` behind the preamble.
    fn read_exact(&self, slots: &mut [u8], offset: u64) -> Result<()> {
        let have = read_full_at(&self.source, slots, self.start + offset)
            .map_err(|e| Error::from_io("read", e))?;
        if have < slots.len() {
            Err(Error::Truncated)
        } else {
            Ok(())
        }
    }
}

impl<R: ReadAt> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.read_at(buf, self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

/// Seeking behind the end is possible; there is nothing to read there.
impl<R: ReadAt> Seek for Reader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::End(n) => self.len.checked_add_signed(n),
            SeekFrom::Current(n) => self.position.checked_add_signed(n),
        };
        self.position = target.ok_or_else(|| {
            io::Error::from(Error::invalid(
                "a seek to before the beginning, or beyond 2^64 bytes",
            ))
        })?;
        Ok(self.position)
    }
}

/// Shows the length, and nothing of the plaintext.
impl<R: ReadAt> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("len", &self.len)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
