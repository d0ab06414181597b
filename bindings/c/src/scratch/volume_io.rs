//! Reading and writing encrypted disks.

#![allow(unsafe_code)]

use std::ffi::c_void;

use cmkit_scratch::{BlockDevice as _, Durability, Extent, ExtentKind, Zeroes};

use super::volume::cmk_volume;
use crate::call::{Outcome, invalid};
use crate::callback::{answer, required};
use crate::error::cmk_error;
use crate::result::cmk_result;
use crate::structure::Structure;

/// Extents that are looked up at a time: the callback runs between, with no lock held.
const EXTENTS: usize = 256;

/// The write has reached the medium when the call returns (FUA).
pub const CMK_WRITE_DURABLE: u32 = 1;
/// Zeros are written: the room stays taken. For cmk_volume_write_zeroes.
pub const CMK_WRITE_KEEP_ROOM: u32 = 2;

/// Something is there.
pub const CMK_EXTENT_DATA: u32 = 0;
/// Nothing was written there, and it reads as zeros.
pub const CMK_EXTENT_ZERO: u32 = 1;

fn durability(flags: u32, known: u32) -> Outcome<Durability> {
    if flags & !known != 0 {
        return Err(invalid(format!(
            "flags are {flags}, which aren't CMK_WRITE_... of this function"
        )));
    }
    Ok(match flags & CMK_WRITE_DURABLE {
        0 => Durability::Cached,
        _ => Durability::Durable,
    })
}

/// Reads `len` bytes at `offset`: all of them. After a failure all of `out` is zero.
///
/// CMK_ERR_INVALID_ARGUMENT: beyond the end. CMK_ERR_AUTHENTICATION: a block isn't what was written there; cmk_error_block says which, and others can be read.
/// CMK_ERR_IO: the backing failed, or the last write of a block did. CMK_ERR_INVALID_STATE: destroyed, a forked child's, or called by the volume's own callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_read(
    volume: *const cmk_volume,
    offset: u64,
    out: *mut u8,
    len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = range(out, len); volume = shared(volume); => {
        let _inside = volume.enter()?;
        out.fill(|out| volume.volume.read_at(out, offset).map(|()| out.len()))
    })
}

/// Writes all of `data` at `offset`. `flags` are 0 or CMK_WRITE_DURABLE. Blocks that are written in part are read first. After a failure any block of the range may have its old or its new
/// content, or be unreadable until it is written again.
///
/// CMK_ERR_POLICY: the key may encrypt no more, or the disk is read-only. Else as cmk_volume_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_write(
    volume: *const cmk_volume,
    offset: u64,
    data: *const u8,
    len: usize,
    flags: u32,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; volume = shared(volume); data = bytes(data, len); => {
        let durability = durability(flags, CMK_WRITE_DURABLE)?;
        let _inside = volume.enter()?;
        Ok(volume.volume.write_at(data, offset, durability)?)
    })
}

/// The same, using `data` as room to work in, which saves a copy: what is in it afterwards is unspecified, and no plaintext; after a failure it is zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_write_from(
    volume: *const cmk_volume,
    offset: u64,
    data: *mut u8,
    len: usize,
    flags: u32,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; data = range(data, len); volume = shared(volume); => {
        let durability = durability(flags, CMK_WRITE_DURABLE)?;
        let _inside = volume.enter()?;
        data.fill(|data| volume.volume.write_from(data, offset, durability).map(|()| data.len()))
    })
}

/// Makes a range read as zeros. `flags` are any of CMK_WRITE_DURABLE and CMK_WRITE_KEEP_ROOM; without the latter, room may be given back. In XTS mode encrypted zeros are written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_write_zeroes(
    volume: *const cmk_volume,
    offset: u64,
    len: u64,
    flags: u32,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; volume = shared(volume); => {
        let durability = durability(flags, CMK_WRITE_DURABLE | CMK_WRITE_KEEP_ROOM)?;
        let zeroes = match flags & CMK_WRITE_KEEP_ROOM {
            0 => Zeroes::MayPunch,
            _ => Zeroes::KeepRoom,
        };
        let _inside = volume.enter()?;
        Ok(volume.volume.write_zeroes(offset, len, zeroes, durability)?)
    })
}

/// Says that the content of a range is of no use any more. Advice: parts of a block stay as they are, and a backing that can't give room back is no failure. In the ephemeral mode
/// whole blocks then read as zeros; in XTS mode they may be anything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_discard(
    volume: *const cmk_volume,
    offset: u64,
    len: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; volume = shared(volume); => {
        let _inside = volume.enter()?;
        Ok(volume.volume.discard(offset, len)?)
    })
}

/// Has everything written so far reach the backing's medium.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_flush(
    volume: *const cmk_volume,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; volume = shared(volume); => {
        let _inside = volume.enter()?;
        Ok(volume.volume.flush()?)
    })
}

/// Is told of an extent: where it begins, its bytes, and a CMK_EXTENT_... Returns 0 to go on, an error number (errno), or CMK_CANCEL. It may call the volume.
pub type cmk_extent_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, offset: u64, len: u64, kind: u32) -> i32>;

/// Says what lies in a range: calls `found` for each extent in order, which join without gaps from `offset` on. Neighbours may be of one kind. What others write meanwhile may be missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_extents(
    volume: *const cmk_volume,
    offset: u64,
    len: u64,
    found: cmk_extent_callback,
    userdata: *mut c_void,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; volume = shared(volume); => {
        let found = required("found", found)?;
        each_extent(volume, offset, len, |at, extent| {
            let kind = match extent.kind {
                ExtentKind::Data => CMK_EXTENT_DATA,
                ExtentKind::Zero => CMK_EXTENT_ZERO,
            };
            // SAFETY: the header asks for a callback that can be called with these arguments.
            let code = unsafe { found(userdata, at, extent.len, kind) };
            answer(code).map_err(cmkit::error_from_io)
        })
    })
}

/// Looks extents up some at a time, and tells of them with no lock held.
fn each_extent(
    volume: &cmk_volume,
    mut offset: u64,
    mut len: u64,
    mut tell: impl FnMut(u64, &Extent) -> cmkit::Result<()>,
) -> Outcome {
    loop {
        let mut some = Vec::new();
        {
            let _inside = volume.enter()?;
            volume.volume.extents(offset, len, &mut |extent| {
                some.push(extent);
                some.len() < EXTENTS
            })?;
        }
        for extent in &some {
            tell(offset, extent)?;
            offset += extent.len;
            len -= extent.len;
        }
        if len == 0 || some.is_empty() {
            return Ok(());
        }
    }
}

/// What a volume did since it was made, and what it holds now. Set struct_size; cmk_volume_stats fills in the rest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_volume_counters {
    /// sizeof(cmk_volume_counters).
    pub struct_size: usize,
    /// Requests to read that succeeded.
    pub reads: u64,
    /// Bytes that they read.
    pub bytes_read: u64,
    /// Requests to write, zeros too, that succeeded.
    pub writes: u64,
    /// Bytes that they wrote.
    pub bytes_written: u64,
    /// Bytes that were discarded.
    pub bytes_discarded: u64,
    /// Requests that met a block which wasn't what was written there.
    pub damaged: u64,
    /// Requests that failed otherwise.
    pub failed: u64,
    /// Blocks whose last write failed: they can't be read until they are written again.
    pub poisoned_blocks: u64,
    /// Bytes of memory that the seals of its blocks take.
    pub metadata_bytes: u64,
}

// SAFETY: `repr(C)` with the size first; all members are numbers.
unsafe impl Structure for cmk_volume_counters {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// Counts what a volume did.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_stats(
    volume: *const cmk_volume,
    out: *mut cmk_volume_counters,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = out_structure(out); volume = shared(volume); => {
        let _inside = volume.enter()?;
        let stats = volume.volume.stats();
        out.set(&cmk_volume_counters {
            struct_size: 0,
            reads: stats.reads,
            bytes_read: stats.bytes_read,
            writes: stats.writes,
            bytes_written: stats.bytes_written,
            bytes_discarded: stats.bytes_discarded,
            damaged: stats.damaged,
            failed: stats.failed,
            poisoned_blocks: stats.poisoned_blocks,
            metadata_bytes: stats.metadata_bytes,
        });
        Ok(())
    })
}
