//! Requests, carried out.

use std::io;

use cmkit::{Error, Result};

use super::errno::Errno;
use super::export::{Export, count};
use super::handshake::Agreement;
use super::protocol::{BASE_ALLOCATION_ID, chunk, cmd, flag, state};
use super::reply::{PIECE, Replies};
use super::request::{Refusal, Request};
use crate::device::{Durability, Extent, ExtentKind, Zeroes};

/// Bytes from which on a read looks for holes: below, sending zeros costs less than looking.
const LOOK_FOR_HOLES: u32 = 64 << 10;
/// Bytes of extents in one reply, of 8 each.
const STATUS_MAX: usize = 64 << 10;

/// What a connection works on.
pub(super) struct Session<'a> {
    pub(super) export: &'a Export,
    pub(super) agreement: Agreement,
}

impl Session<'_> {
    pub(super) fn check(&self, request: &Request) -> Result<(), Refusal> {
        let Agreement {
            structured,
            allocation,
        } = self.agreement;
        request.check(self.export, structured, allocation)
    }

    /// Bytes of memory that a reply takes beyond what each thread has: of a read that isn't cut into pieces.
    pub(super) fn reply_room(&self, request: &Request) -> usize {
        let is_cut = self.agreement.structured && !request.has(flag::DF);
        if request.command == cmd::READ && !is_cut && self.check(request).is_ok() {
            request.bytes()
        } else {
            0
        }
    }

    /// Carries out a request that is no write and no disconnect, and replies.
    pub(super) fn execute(&self, request: &Request, replies: &mut Replies<'_>) -> io::Result<()> {
        count(&self.export.counters.requests, 1);
        if let Err(refusal) = self.check(request) {
            return self.refuse(request, refusal, replies);
        }
        match request.command {
            cmd::READ => self.read(request, replies),
            cmd::BLOCK_STATUS => self.block_status(request, replies),
            _ => self.answer(request, self.change(request), replies),
        }
    }

    /// Replies to a request that brings no data back.
    pub(super) fn answer(
        &self,
        request: &Request,
        outcome: Result<()>,
        replies: &mut Replies<'_>,
    ) -> io::Result<()> {
        match outcome {
            Ok(()) => replies.done(request.cookie),
            Err(error) => self.fail(request, &error, None, replies),
        }
    }

    /// Replies that a request isn't tried.
    pub(super) fn refuse(
        &self,
        request: &Request,
        (errno, message): Refusal,
        replies: &mut Replies<'_>,
    ) -> io::Result<()> {
        count(&self.export.counters.failed, 1);
        replies.error(request.cookie, errno, message, None)
    }

    fn fail(
        &self,
        request: &Request,
        error: &Error,
        offset: Option<u64>,
        replies: &mut Replies<'_>,
    ) -> io::Result<()> {
        count(&self.export.counters.failed, 1);
        replies.error(request.cookie, Errno::of(error), error, offset)
    }

    /// Writes one part of a request's payload, and sees to its durability if it is the last: pieces aren't made durable one by one.
    pub(super) fn write(&self, request: &Request, data: &mut [u8], at: usize) -> Result<()> {
        let device = &self.export.device;
        let len = data.len();
        let is_whole = len == request.bytes();
        let is_last = at + len == request.bytes();
        let durability = if is_whole {
            request.durability()
        } else {
            Durability::Cached
        };
        device.write_from(data, request.offset + at as u64, durability)?;
        count(&self.export.counters.written, len as u64);
        if is_last && !is_whole && request.has(flag::FUA) {
            device.flush()?;
        }
        Ok(())
    }

    /// The requests that have no data either way.
    fn change(&self, request: &Request) -> Result<()> {
        let device = &self.export.device;
        let (offset, len) = (request.offset, u64::from(request.len));
        match request.command {
            cmd::FLUSH => device.flush(),
            cmd::TRIM => {
                device.discard(offset, len)?;
                match request.durability() {
                    Durability::Durable => device.flush(),
                    Durability::Cached => Ok(()),
                }
            }
            cmd::WRITE_ZEROES => {
                let zeroes = if request.has(flag::NO_HOLE) {
                    Zeroes::KeepRoom
                } else {
                    Zeroes::MayPunch
                };
                device.write_zeroes(offset, len, zeroes, request.durability())
            }
            // CACHE: advice that there is nothing to do about.
            _ => Ok(()),
        }
    }

    fn read(&self, request: &Request, replies: &mut Replies<'_>) -> io::Result<()> {
        count(&self.export.counters.read, u64::from(request.len));
        if request.len == 0 {
            return replies.nothing(request.cookie);
        }
        if !replies.is_structured() {
            return self
                .read_piece(request, request.offset, request.len, replies)
                .map(drop);
        }
        let end = request.offset + u64::from(request.len);
        let mut at = request.offset;
        while at < end {
            let left = left_of(end - at);
            let extent = match self.first_extent(request, at, left) {
                Ok(extent) => extent,
                Err(error) => return self.fail(request, &error, Some(at), replies),
            };
            let len = left_of(extent.len).min(left);
            match extent.kind {
                // One chunk only: a hole has to be all of it.
                _ if request.has(flag::DF) && len < request.len => {
                    return self.read_piece(request, at, left, replies).map(drop);
                }
                ExtentKind::Zero => {
                    let flags = if len == left { chunk::DONE } else { 0 };
                    replies.hole(flags, request.cookie, at, len)?;
                }
                ExtentKind::Data => {
                    if !self.read_data(request, at, len, replies)? {
                        return Ok(());
                    }
                }
            }
            at += u64::from(len);
        }
        Ok(())
    }

    /// What lies at the beginning of a range that is read.
    fn first_extent(&self, request: &Request, at: u64, left: u32) -> Result<Extent> {
        let mut first = Extent {
            len: 0,
            kind: ExtentKind::Data,
        };
        if request.len < LOOK_FOR_HOLES {
            first.len = u64::from(left);
            return Ok(first);
        }
        self.export
            .device
            .extents(at, u64::from(left), &mut |extent| {
                if first.len > 0 && extent.kind != first.kind {
                    return false;
                }
                first = Extent {
                    len: first.len + extent.len,
                    ..extent
                };
                true
            })?;
        if first.len == 0 {
            return Err(Error::Internal {
                problem: "the device has no extent where it has bytes",
            });
        }
        Ok(first)
    }

    /// Reads a range of data in pieces, cut where the disk's are; false when one failed.
    fn read_data(
        &self,
        request: &Request,
        offset: u64,
        len: u32,
        replies: &mut Replies<'_>,
    ) -> io::Result<bool> {
        if request.has(flag::DF) {
            return self.read_piece(request, offset, len, replies);
        }
        let end = offset + u64::from(len);
        let mut at = offset;
        while at < end {
            let here = left_of(end - at).min(until_cut(at));
            if !self.read_piece(request, at, here, replies)? {
                return Ok(false);
            }
            at += u64::from(here);
        }
        Ok(true)
    }

    fn read_piece(
        &self,
        request: &Request,
        offset: u64,
        len: u32,
        replies: &mut Replies<'_>,
    ) -> io::Result<bool> {
        let is_last = offset + u64::from(len) == request.offset + u64::from(request.len);
        let flags = if is_last { chunk::DONE } else { 0 };
        let read = replies.data(flags, request.cookie, offset, len, |data| {
            self.export.device.read_at(data, offset)
        })?;
        match read {
            Ok(()) => Ok(true),
            Err(error) => {
                self.fail(request, &error, Some(offset), replies)?;
                Ok(false)
            }
        }
    }

    fn block_status(&self, request: &Request, replies: &mut Replies<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut last: Option<(ExtentKind, u32)> = None;
        let len = u64::from(request.len);
        let found = self
            .export
            .device
            .extents(request.offset, len, &mut |extent| {
                let here = left_of(extent.len);
                last = Some(match last {
                    Some((kind, len)) if kind == extent.kind => (kind, len.saturating_add(here)),
                    Some((kind, len)) => {
                        put_extent(&mut bytes, kind, len);
                        if request.has(flag::REQ_ONE) || bytes.len() >= STATUS_MAX {
                            last = None;
                            return false;
                        }
                        (extent.kind, here)
                    }
                    None => (extent.kind, here),
                });
                true
            });
        if let Err(error) = found {
            return self.fail(request, &error, None, replies);
        }
        if let Some((kind, len)) = last {
            put_extent(&mut bytes, kind, len);
        }
        replies.status(request.cookie, BASE_ALLOCATION_ID, &bytes)
    }
}

fn put_extent(bytes: &mut Vec<u8>, kind: ExtentKind, len: u32) {
    let status = match kind {
        ExtentKind::Data => 0,
        ExtentKind::Zero => state::HOLE | state::ZERO,
    };
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(&status.to_be_bytes());
}

/// A length within a request.
fn left_of(len: u64) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Bytes from an offset to where the next piece begins: at a multiple of a piece on the disk, so that no block is in two of them.
pub(super) fn until_cut(offset: u64) -> u32 {
    left_of(PIECE as u64 - offset % PIECE as u64)
}
