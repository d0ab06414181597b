//! Bytes to and from a client.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use rustix::net::{SendFlags, send};

use super::protocol::REQUEST_LEN;
use crate::aligned::AlignedBuffer;

/// Bytes that are received at once when requests are small.
const INPUT: usize = 128 << 10;
/// Bytes that are received ahead when the last payload was large: of such a one little should land here, as it's copied from here to its place.
const AHEAD_OF_LARGE: usize = 4 << 10;

/// Sends everything. A client that is gone is an error, never a signal.
pub(super) fn send_all(stream: &UnixStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match send(stream, data, SendFlags::NOSIGNAL) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => data = &data[sent..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// That the client doesn't speak the protocol: its connection ends.
pub(super) fn violation(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What was received and not yet used.
pub(super) struct Input<'a> {
    stream: &'a UnixStream,
    buffer: AlignedBuffer,
    start: usize,
    end: usize,
    ahead: usize,
}

impl<'a> Input<'a> {
    /// Payloads of up to so many bytes can be used where they were received.
    pub(super) const IN_PLACE: usize = 64 << 10;

    pub(super) fn new(stream: &'a UnixStream) -> Self {
        Self {
            stream,
            buffer: AlignedBuffer::new(INPUT),
            start: 0,
            end: 0,
            ahead: INPUT,
        }
    }

    /// Bytes that are here.
    pub(super) fn available(&self) -> usize {
        self.end - self.start
    }

    /// The next request's head, once it is here.
    pub(super) fn head(&mut self) -> Option<[u8; REQUEST_LEN]> {
        let head = *self.buffer[self.start..self.end].first_chunk()?;
        self.start += REQUEST_LEN;
        Some(head)
    }

    /// The next `len` bytes, which are here.
    pub(super) fn take(&mut self, len: usize) -> &mut [u8] {
        let taken = self.start..self.start + len;
        self.start += len;
        &mut self.buffer[taken]
    }

    /// Waits for more, so that at least `needed` bytes, [`IN_PLACE`](Self::IN_PLACE) at most, can be here at once. Returns how many came: 0 at the end.
    pub(super) fn receive(&mut self, needed: usize) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + needed > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let missing = needed.saturating_sub(self.available());
        let room = self.buffer.len() - self.end;
        let wanted = room.min(missing.max(self.ahead));
        let into = &mut self.buffer[self.end..self.end + wanted];
        let received = receive(self.stream, into)?;
        self.end += received;
        Ok(received)
    }

    /// Fills `data` with what comes next, a large payload or a part of it.
    pub(super) fn fill(&mut self, data: &mut [u8]) -> io::Result<()> {
        self.ahead = AHEAD_OF_LARGE;
        let here = self.available().min(data.len());
        let (first, mut rest) = data.split_at_mut(here);
        first.copy_from_slice(self.take(here));
        while !rest.is_empty() {
            let received = receive(self.stream, rest)?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = &mut rest[received..];
        }
        Ok(())
    }

    /// That the next payloads may be small again.
    pub(super) fn expect_small(&mut self) {
        self.ahead = INPUT;
    }
}

fn receive(mut stream: &UnixStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
