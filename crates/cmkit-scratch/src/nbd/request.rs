//! What a client asks for in the transmission phase, and what is refused before the device is asked.

use super::errno::Errno;
use super::export::Export;
use super::protocol::{REQUEST_LEN, REQUEST_MAGIC, cmd, flag};
use crate::device::Durability;

/// Bytes that a request may carry or ask for according to what we announce.
pub(super) const PAYLOAD_MAX: u32 = 32 << 20;
/// Bytes that a request may carry or ask for all the same.
pub(super) const ACCEPTED_MAX: u32 = 64 << 20;
/// A write that announces more than this is no mistake of a client to be forgiven: it is dropped.
pub(super) const SKIPPED_MAX: u32 = 256 << 20;

/// A request without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// Why a request isn't tried: the protocol's number, and a sentence.
pub(super) type Refusal = (Errno, String);

impl Request {
    /// The request that these bytes are; `None` without the magic number.
    pub(super) fn parse(bytes: &[u8; REQUEST_LEN]) -> Option<Self> {
        let [m0, m1, m2, m3, f0, f1, t0, t1, rest @ ..] = *bytes;
        if u32::from_be_bytes([m0, m1, m2, m3]) != REQUEST_MAGIC {
            return None;
        }
        let [c0, c1, c2, c3, c4, c5, c6, c7, rest @ ..] = rest;
        let [o0, o1, o2, o3, o4, o5, o6, o7, len @ ..] = rest;
        Some(Self {
            flags: u16::from_be_bytes([f0, f1]),
            command: u16::from_be_bytes([t0, t1]),
            cookie: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
            offset: u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            len: u32::from_be_bytes(len),
        })
    }

    /// The length in memory.
    pub(super) fn bytes(&self) -> usize {
        self.len as usize
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn durability(&self) -> Durability {
        if self.has(flag::FUA) {
            Durability::Durable
        } else {
            Durability::Cached
        }
    }

    /// Whether the request may be tried.
    ///
    /// `structured` and `allocation` are what the connection negotiated.
    pub(super) fn check(
        &self,
        export: &Export,
        structured: bool,
        allocation: bool,
    ) -> Result<(), Refusal> {
        self.check_flags(structured, allocation)?;
        let writes = matches!(self.command, cmd::WRITE | cmd::TRIM | cmd::WRITE_ZEROES);
        if writes && export.geometry.read_only {
            return Err((Errno::Perm, "the disk is read-only".to_owned()));
        }
        if self.command == cmd::FLUSH {
            if self.offset != 0 || self.len != 0 {
                return Err(invalid("a flush has no offset and no length"));
            }
            return Ok(());
        }
        let size = export.size;
        if self.offset > size || u64::from(self.len) > size - self.offset {
            let errno = match self.command {
                cmd::WRITE | cmd::WRITE_ZEROES => Errno::NoSpc,
                _ => Errno::Inval,
            };
            let message = format!(
                "{} bytes at {} are beyond the end of the disk, which has {size} bytes",
                self.len, self.offset
            );
            return Err((errno, message));
        }
        self.check_len(export, structured)
    }

    fn check_flags(&self, structured: bool, allocation: bool) -> Result<(), Refusal> {
        let known = match self.command {
            cmd::READ if structured => flag::FUA | flag::DF,
            cmd::READ | cmd::WRITE | cmd::FLUSH | cmd::TRIM | cmd::CACHE => flag::FUA,
            cmd::WRITE_ZEROES => flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
            cmd::BLOCK_STATUS if allocation => flag::FUA | flag::REQ_ONE,
            cmd::BLOCK_STATUS => {
                return Err(invalid(
                    "block status was asked for without having selected base:allocation",
                ));
            }
            other => {
                return Err((Errno::Inval, format!("there is no command {other}")));
            }
        };
        if self.has(!known) {
            let message = format!(
                "command {} doesn't have the flags {:#x}",
                self.command,
                self.flags & !known
            );
            return Err((Errno::Inval, message));
        }
        Ok(())
    }

    fn check_len(&self, export: &Export, structured: bool) -> Result<(), Refusal> {
        let whole = self.has(flag::DF);
        let most = if whole { PAYLOAD_MAX } else { ACCEPTED_MAX };
        match self.command {
            cmd::READ if self.len > most => {
                // Without structured replies the specification keeps EOVERFLOW for other uses.
                let errno = if structured {
                    Errno::Overflow
                } else {
                    Errno::Inval
                };
                Err((errno, format!("at most {most} bytes are read at once")))
            }
            cmd::WRITE if self.len > most => Err((
                Errno::Inval,
                format!("at most {most} bytes are written at once"),
            )),
            cmd::BLOCK_STATUS if self.len == 0 => {
                Err(invalid("block status was asked for of no bytes"))
            }
            // Room that stays taken has to be written.
            cmd::WRITE_ZEROES
                if self.has(flag::FAST_ZERO)
                    && (self.has(flag::NO_HOLE) || !export.geometry.fast_zeroes) =>
            {
                Err((
                    Errno::NotSup,
                    "zeros are no faster than other data here".to_owned(),
                ))
            }
            _ => Ok(()),
        }
    }
}

fn invalid(message: &str) -> Refusal {
    (Errno::Inval, message.to_owned())
}
