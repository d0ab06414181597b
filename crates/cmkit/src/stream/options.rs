//! What one may choose about a stream.

use crate::chunked::{CHUNK_LEN, SLOT_LEN, default_threads};
use crate::keyring::Form;

/// Chunks that a stream works on at a time, alone: 256 KiB, which stay in the cache.
const ALONE_CHUNKS: usize = 16;
/// And together with other threads: 4 MiB, so that there is something to share.
const TOGETHER_CHUNKS: usize = 256;
/// From this length on a stream is worth other threads and the memory for them.
const LONG_LEN: u64 = 64 << 20;

/// Options of a stream; [`Default`] suits most.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    padding: HeaderPadding,
    threads: Option<usize>,
}

/// Whether an envelope's header has room for a rewrap in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderPadding {
    /// As short as it can be: for what isn't a file.
    #[default]
    None,
    /// A multiple of 4096 bytes: for files, so that [`Keyring::rewrap_file`](crate::Keyring::rewrap_file) needn't copy them.
    FileBlock,
}

impl StreamOptions {
    /// How the header is padded. Default: not. Only matters for writing.
    #[must_use]
    pub fn padded_header(mut self, padding: HeaderPadding) -> Self {
        self.padding = padding;
        self
    }

    /// Threads that work on a batch, counting the caller's; they end before the call does. Default: one for each CPU, at most 8. 0 counts
    /// as 1. Other threads join in from 64 MiB on; the stream holds 256 KiB until then, and 4 MiB from then on.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    pub(super) fn form(&self) -> Form {
        match self.padding {
            HeaderPadding::None => Form::Full,
            HeaderPadding::FileBlock => Form::Padded,
        }
    }

    pub(super) fn batch(&self) -> Batch {
        Batch {
            threads: self.threads.unwrap_or_else(default_threads).max(1),
        }
    }
}

/// How much a stream does at a time, by how long it is so far.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) threads: usize,
}

impl Batch {
    fn is_shared(self, stream_len: u64) -> bool {
        self.threads > 1 && stream_len >= LONG_LEN
    }

    /// Chunks at most.
    pub(super) fn max_chunks(self, stream_len: u64) -> usize {
        if self.is_shared(stream_len) {
            TOGETHER_CHUNKS
        } else {
            ALONE_CHUNKS
        }
    }

    /// Bytes of whole chunks from which it is better to work on the caller's buffer than to collect more in one's own.
    pub(super) fn direct_len(self, stream_len: u64) -> usize {
        if self.is_shared(stream_len) {
            TOGETHER_CHUNKS / 2 * CHUNK_LEN
        } else {
            CHUNK_LEN
        }
    }

    /// Bytes for the slots of the next batch, after one of `slots_len`: small streams stay small.
    pub(super) fn next_slots_len(self, slots_len: usize, stream_len: u64) -> usize {
        let max = self.max_chunks(stream_len) * SLOT_LEN;
        if self.is_shared(stream_len) {
            max
        } else {
            (4 * slots_len).clamp(SLOT_LEN, max).max(slots_len)
        }
    }
}
