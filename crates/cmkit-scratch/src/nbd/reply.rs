//! Replies, gathered to be sent together.

use std::fmt::Display;
use std::io;
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use super::errno::Errno;
use super::protocol::{SIMPLE_REPLY_MAGIC, STRING_MAX, STRUCTURED_REPLY_MAGIC, chunk};
use super::wire::send_all;
use crate::aligned::AlignedBuffer;

/// Bytes of data in a chunk of a structured reply: few enough that they are still in the processor's cache when they are sent.
pub(super) const PIECE: usize = 256 << 10;
/// Where the first reply's data begins: at a page, with room for its head before it.
const FIRST: usize = AlignedBuffer::ALIGNMENT;
/// Bytes that a reply has besides its data, at most: an error with its message.
const OVERHEAD: usize = 64 + STRING_MAX;
const ROOM: usize = FIRST + PIECE + OVERHEAD;
/// Bytes that wait at most for others to be sent together with.
const GATHERED: usize = 64 << 10;
/// Bytes that are kept for the next reply.
const KEPT: usize = 4 << 20;

const SIMPLE_LEN: usize = 16;
const CHUNK_LEN: usize = 20;

/// A socket that several threads reply on.
pub(super) struct Outlet<'a> {
    stream: &'a UnixStream,
    turn: Mutex<()>,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(stream: &'a UnixStream) -> Self {
        Self {
            stream,
            turn: Mutex::new(()),
        }
    }

    /// Ends the connection, for all threads.
    pub(super) fn close(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// One thread's replies on their way to a client.
pub(super) struct Replies<'a> {
    outlet: &'a Outlet<'a>,
    structured: bool,
    buffer: AlignedBuffer,
    /// What is ready to be sent.
    ready: Range<usize>,
}

impl<'a> Replies<'a> {
    pub(super) fn new(outlet: &'a Outlet<'a>, structured: bool) -> Self {
        Self {
            outlet,
            structured,
            buffer: AlignedBuffer::new(ROOM),
            ready: 0..0,
        }
    }

    pub(super) fn is_structured(&self) -> bool {
        self.structured
    }

    /// Sends what is ready.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let ready = std::mem::take(&mut self.ready);
        let turn = self.outlet.turn.lock();
        let turn = turn.unwrap_or_else(PoisonError::into_inner);
        let sent = send_all(self.outlet.stream, &self.buffer[ready]);
        drop(turn);
        if self.buffer.len() > KEPT {
            self.buffer = AlignedBuffer::new(ROOM);
        }
        sent
    }

    /// Sends what is ready if it is much.
    fn flush_much(&mut self) -> io::Result<()> {
        if self.ready.len() >= GATHERED {
            return self.flush();
        }
        Ok(())
    }

    /// Success, without data.
    pub(super) fn done(&mut self, cookie: u64) -> io::Result<()> {
        self.simple(cookie, 0)
    }

    /// The success of a read of nothing.
    pub(super) fn nothing(&mut self, cookie: u64) -> io::Result<()> {
        if self.structured {
            return self.chunk(chunk::DONE, chunk::NONE, cookie, &[]);
        }
        self.simple(cookie, 0)
    }

    /// A failure. Where it was is told if `offset` is given.
    pub(super) fn error(
        &mut self,
        cookie: u64,
        errno: Errno,
        message: impl Display,
        offset: Option<u64>,
    ) -> io::Result<()> {
        if !self.structured {
            return self.simple(cookie, errno.number());
        }
        let message = message.to_string();
        let cut = (0..=STRING_MAX.min(message.len()))
            .rev()
            .find(|&at| message.is_char_boundary(at));
        let message = &message[..cut.unwrap_or(0)];
        let number = errno.number().to_be_bytes();
        // At most 4096.
        let len = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
        let message = message.as_bytes();
        match offset {
            None => self.chunk(chunk::DONE, chunk::ERROR, cookie, &[&number, &len, message]),
            Some(offset) => self.chunk(
                chunk::DONE,
                chunk::ERROR_OFFSET,
                cookie,
                &[&number, &len, message, &offset.to_be_bytes()],
            ),
        }
    }

    /// A hole of a read.
    pub(super) fn hole(
        &mut self,
        flags: u16,
        cookie: u64,
        offset: u64,
        len: u32,
    ) -> io::Result<()> {
        let (offset, len) = (offset.to_be_bytes(), len.to_be_bytes());
        self.chunk(flags, chunk::OFFSET_HOLE, cookie, &[&offset, &len])
    }

    /// The extents of a block status, as the protocol has them.
    pub(super) fn status(&mut self, cookie: u64, context: u32, extents: &[u8]) -> io::Result<()> {
        let context = context.to_be_bytes();
        self.chunk(
            chunk::DONE,
            chunk::BLOCK_STATUS,
            cookie,
            &[&context, extents],
        )
    }

    /// Data of a read that `read` provides: a simple reply with all of it, or a chunk. When `read` fails nothing of it is sent.
    pub(super) fn data<E>(
        &mut self,
        flags: u16,
        cookie: u64,
        offset: u64,
        len: u32,
        read: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let head = if self.structured {
            CHUNK_LEN + 8
        } else {
            SIMPLE_LEN
        };
        let bytes = len as usize;
        self.reserve(head, bytes)?;
        let start = self.ready.end;
        let (before, data) = self.buffer[start..start + head + bytes].split_at_mut(head);
        if let Err(error) = read(data) {
            return Ok(Err(error));
        }
        if let Some((chunk_head, place)) = before.split_first_chunk_mut() {
            if self.structured {
                *chunk_head = chunk_bytes(flags, chunk::OFFSET_DATA, cookie, bytes + 8);
                place.copy_from_slice(&offset.to_be_bytes());
            }
        }
        if !self.structured {
            before.copy_from_slice(&simple_bytes(cookie, 0));
        }
        self.ready.end = start + head + bytes;
        self.flush_much()?;
        Ok(Ok(()))
    }

    fn simple(&mut self, cookie: u64, error: u32) -> io::Result<()> {
        self.reserve(SIMPLE_LEN, 0)?;
        self.put(&simple_bytes(cookie, error));
        self.flush_much()
    }

    fn chunk(&mut self, flags: u16, kind: u16, cookie: u64, parts: &[&[u8]]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len()).sum();
        self.reserve(CHUNK_LEN, len)?;
        self.put(&chunk_bytes(flags, kind, cookie, len));
        for part in parts {
            self.put(part);
        }
        self.flush_much()
    }

    /// Makes room for a reply; the first one's data begins at a page.
    fn reserve(&mut self, head: usize, data: usize) -> io::Result<()> {
        if self.ready.end + head + data > self.buffer.len() {
            self.flush()?;
        }
        if self.ready.is_empty() {
            self.ready = FIRST - head..FIRST - head;
        }
        if self.ready.end + head + data > self.buffer.len() {
            self.buffer = AlignedBuffer::new(FIRST + data);
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.ready.end + bytes.len();
        self.buffer[self.ready.end..end].copy_from_slice(bytes);
        self.ready.end = end;
    }
}

fn simple_bytes(cookie: u64, error: u32) -> [u8; SIMPLE_LEN] {
    let mut bytes = [0; SIMPLE_LEN];
    bytes[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

fn chunk_bytes(flags: u16, kind: u16, cookie: u64, len: usize) -> [u8; CHUNK_LEN] {
    let mut bytes = [0; CHUNK_LEN];
    bytes[..4].copy_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&flags.to_be_bytes());
    bytes[6..8].copy_from_slice(&kind.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    // A request's length at most, and some fields.
    bytes[16..].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_be_bytes());
    bytes
}
