//! The few CBOR items that headers and contexts are made of, in deterministic form only (RFC 8949 4.2.1).
//!
//! A general decoder accepts what the format forbids (long lengths, tags, floats, indefinite items), so this
//! one knows nothing else than what the format has.

use crate::error::{Error, Result};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// For a map that has a key too many, or lacks one.
pub(crate) const UNKNOWN_FIELD: Error = Error::Format {
    problem: "its header has a field that this cmkit doesn't know, or lacks one",
};

fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let be = argument.to_be_bytes();
    match argument {
        0..=23 => out.push(major | be[7]),
        24..=0xFF => out.extend_from_slice(&[major | 24, be[7]]),
        0x100..=0xFFFF => {
            out.push(major | 25);
            out.extend_from_slice(&be[6..]);
        }
        0x1_0000..=0xFFFF_FFFF => {
            out.push(major | 26);
            out.extend_from_slice(&be[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&be);
        }
    }
}

pub(crate) fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    write_head(out, UNSIGNED, value);
}

/// Writes the integer -1 - `argument`.
pub(crate) fn write_negative(out: &mut Vec<u8>, argument: u64) {
    write_head(out, NEGATIVE, argument);
}

pub(crate) fn write_bytes(out: &mut Vec<u8>, value: &[u8]) {
    write_head(out, BYTES, value.len() as u64);
    out.extend_from_slice(value);
}

pub(crate) fn write_text(out: &mut Vec<u8>, value: &str) {
    write_head(out, TEXT, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

pub(crate) fn write_array_len(out: &mut Vec<u8>, len: usize) {
    write_head(out, ARRAY, len as u64);
}

pub(crate) fn write_map_len(out: &mut Vec<u8>, len: usize) {
    write_head(out, MAP, len as u64);
}

/// Reads items off the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(Error::format("a header field is longer than the header"));
        };
        self.rest = rest;
        Ok(head)
    }

    fn head(&mut self, want: u8) -> Result<u64> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        if major != want {
            return Err(Error::format("a header field has the wrong type"));
        }
        let (argument, least) = match info {
            0..=23 => return Ok(u64::from(info)),
            24 => (self.number(1)?, 24),
            25 => (self.number(2)?, 0x100),
            26 => (self.number(4)?, 0x1_0000),
            27 => (self.number(8)?, 0x1_0000_0000),
            _ => {
                return Err(Error::format(
                    "a header field has an indefinite or reserved length",
                ));
            }
        };
        if argument < least {
            return Err(Error::format("a header number is not in its shortest form"));
        }
        if argument >= 1 << 63 {
            return Err(Error::format("a header number is 2^63 or more"));
        }
        Ok(argument)
    }

    fn number(&mut self, len: usize) -> Result<u64> {
        Ok(self
            .take(len)?
            .iter()
            .fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn len(&mut self, major: u8) -> Result<usize> {
        usize::try_from(self.head(major)?)
            .map_err(|_| Error::format("a header length is too large"))
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        self.head(UNSIGNED)
    }

    /// The argument n of the integer -1 - n.
    pub(crate) fn negative(&mut self) -> Result<u64> {
        self.head(NEGATIVE)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.len(BYTES)?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let len = self.len(TEXT)?;
        std::str::from_utf8(self.take(len)?)
            .map_err(|_| Error::format("a header text is not UTF-8"))
    }

    /// The next key of a map, which must be this one.
    pub(crate) fn key(&mut self, want: u64) -> Result<()> {
        if self.unsigned()? != want {
            return Err(UNKNOWN_FIELD);
        }
        Ok(())
    }

    pub(crate) fn array_len(&mut self) -> Result<usize> {
        self.len(ARRAY)
    }

    pub(crate) fn map_len(&mut self) -> Result<usize> {
        self.len(MAP)
    }
}
