//! What a volume file says of its volume.

use super::derive::{Mode, SALT_LEN};
use super::xts_key::{SectorSize, check_len};
use crate::cbor;
use crate::error::{Error, Result};

/// How the bytes of a volume in XTS mode lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeLayout {
    /// The size of its sectors.
    pub sector_size: SectorSize,
    /// The number of its first sector, in units of 512 bytes: dm-crypt's `iv_offset`.
    pub iv_offset: u64,
    /// Bytes; whole sectors, at most 2^48.
    pub len: u64,
}

const MODE: u64 = 1;
const SECTOR_SIZE: u64 = 2;
const IV_OFFSET: u64 = 3;
const LEN: u64 = 4;
const SALT: u64 = 5;
const ENTRIES: usize = 5;

pub(super) fn encode(layout: &VolumeLayout, salt: &[u8; SALT_LEN]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    cbor::write_map_len(&mut out, ENTRIES);
    for (key, value) in [
        (MODE, Mode::Xts as u64),
        (SECTOR_SIZE, u64::from(layout.sector_size.bytes())),
        (IV_OFFSET, layout.iv_offset),
        (LEN, layout.len),
    ] {
        cbor::write_unsigned(&mut out, key);
        cbor::write_unsigned(&mut out, value);
    }
    cbor::write_unsigned(&mut out, SALT);
    cbor::write_bytes(&mut out, salt);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<(VolumeLayout, [u8; SALT_LEN])> {
    let unknown = || {
        Error::format(
            "the volume file describes a volume that this cmkit doesn't know; a newer cmkit may",
        )
    };
    let mut reader = cbor::Reader::new(bytes);
    if reader.map_len()? != ENTRIES {
        return Err(unknown());
    }
    let mut value = |key| {
        reader.key(key)?;
        reader.unsigned()
    };
    if value(MODE)? != Mode::Xts as u64 {
        return Err(unknown());
    }
    let sector_size = u32::try_from(value(SECTOR_SIZE)?).ok();
    let sector_size = sector_size.and_then(|bytes| SectorSize::from_bytes(bytes).ok());
    let layout = VolumeLayout {
        sector_size: sector_size.ok_or_else(unknown)?,
        iv_offset: value(IV_OFFSET)?,
        len: value(LEN)?,
    };
    reader.key(SALT)?;
    let salt = reader.bytes()?.try_into().map_err(|_| unknown())?;
    if !reader.is_at_end() || check_len(&layout).is_err() {
        return Err(unknown());
    }
    Ok((layout, salt))
}
