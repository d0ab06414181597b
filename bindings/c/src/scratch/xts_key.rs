//! Keys for sectors as dm-crypt has them: no I/O, no integrity.

#![allow(unsafe_code)]

use cmkit::{SectorSize, VolumeLayout, XtsKey};

use super::block_key::Process;
use crate::arg::Handle;
use crate::buffer::cmk_buffer;
use crate::census::cmk_text_list;
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::structure::Structure;

/// A key for the sectors of one volume, of 512 or 4096 bytes: AES-256-XTS, byte for byte dm-crypt's aes-xts-plain64 and LUKS payloads.
///
/// It has no integrity: whoever can write the disk can exchange any 16 bytes for garbage and any sector for an older version of it, unseen. Take a cmk_block_key unless the
/// volume must be opened again later, or mapped by a kernel. Threads and forked children are as with that.
pub struct cmk_xts_key(XtsKey, Process);

impl Handle for cmk_xts_key {}

impl cmk_xts_key {
    fn handle(key: XtsKey) -> *mut Self {
        Box::into_raw(Box::new(Self(key, Process::this())))
    }
}

/// How the bytes of a volume in XTS mode lie. Fill it with zeros, set struct_size, then the members; where it is an output, set struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_volume_layout {
    /// sizeof(cmk_volume_layout).
    pub struct_size: usize,
    /// Bytes in a sector: 512 or 4096. 0: 4096.
    pub sector_size: u32,
    /// The number of the first sector, in units of 512 bytes whatever the sector's size: dm-crypt's iv_offset.
    pub iv_offset: u64,
    /// Bytes: whole sectors, at most 2^48.
    pub len: u64,
}

// SAFETY: `repr(C)` with the size first; all members are numbers.
unsafe impl Structure for cmk_volume_layout {
    const MIN_SIZE: usize = size_of::<Self>();
}

impl From<VolumeLayout> for cmk_volume_layout {
    fn from(layout: VolumeLayout) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            sector_size: layout.sector_size.bytes(),
            iv_offset: layout.iv_offset,
            len: layout.len,
        }
    }
}

pub(super) fn sector_size(bytes: u32) -> cmkit::Result<SectorSize> {
    match bytes {
        0 => Ok(SectorSize::default()),
        bytes => SectorSize::from_bytes(bytes),
    }
}

/// Makes a key in this process's memory and nowhere else. `sector_size` is 512 or 4096.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_random(
    sector_size: u32,
    out: *mut *mut cmk_xts_key,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        *out = cmk_xts_key::handle(XtsKey::random(SectorSize::from_bytes(sector_size)?)?);
        Ok(())
    })
}

/// Takes a key that comes from elsewhere, of an existing dm-crypt or LUKS volume for instance: 64 bytes, first the half that encrypts data, then the tweak's, which must
/// differ. `iv_offset` as in cmk_volume_layout. The bytes are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_from_bytes(
    key: *const u8,
    key_len: usize,
    sector_size: u32,
    iv_offset: u64,
    out: *mut *mut cmk_xts_key,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); key = bytes(key, key_len); => {
        *out = cmk_xts_key::handle(XtsKey::from_bytes(key, SectorSize::from_bytes(sector_size)?, iv_offset)?);
        Ok(())
    })
}

/// Makes the key of a new volume in XTS mode, and the volume file that opens it again: the layout and the data key, wrapped by each of the keyring's keys, at most
/// 66 KiB. Keep it beside the volume, never in it; without it the volume is lost. It is an envelope, so that cmk_keyring_rewrap and rotations move it to other keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_create_xts_volume(
    keyring: *const cmk_keyring,
    layout: *const cmk_volume_layout,
    out: *mut *mut cmk_xts_key,
    volume_file: *mut *mut cmk_buffer,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); volume_file = handle(volume_file); keyring = shared(keyring); layout = structure(layout); => {
        let layout = VolumeLayout {
            sector_size: sector_size(layout.sector_size)?,
            iv_offset: layout.iv_offset,
            len: layout.len,
        };
        let (key, file) = keyring.0.create_xts_volume(&layout)?;
        *volume_file = cmk_buffer::handle(file);
        *out = cmk_xts_key::handle(key);
        Ok(())
    })
}

/// Opens the key of a volume from its volume file. `layout` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_open_xts_volume(
    keyring: *const cmk_keyring,
    volume_file: *const u8,
    volume_file_len: usize,
    out: *mut *mut cmk_xts_key,
    layout: *mut cmk_volume_layout,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); layout = optional_out_structure(layout); keyring = shared(keyring);
        file = bytes(volume_file, volume_file_len);
    => {
        let (key, found) = keyring.0.open_xts_volume(file)?;
        if let Some(layout) = layout {
            layout.set(&found.into());
        }
        *out = cmk_xts_key::handle(key);
        Ok(())
    })
}

/// The bytes in a sector; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_sector_size(key: *const cmk_xts_key) -> u32 {
    value!(0; key = shared(key); => key.0.sector_size().bytes())
}

/// The full ids of the keys that wrap its data key; none if no keyring has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_key_ids(
    key: *const cmk_xts_key,
    out: *mut *mut cmk_text_list,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); key = shared(key); => {
        *out = cmk_text_list::handle(key.0.key_ids().iter().map(|id| id.as_str()));
        Ok(())
    })
}

/// As cmk_block_key_check.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_check(
    key: *const cmk_xts_key,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; key = shared(key); => Ok(key.0.check()?))
}

/// Encrypts whole sectors in place, which lie at `offset` bytes on the volume: a multiple of the sector's size, like `len`. After a failure `data` is zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_encrypt(
    key: *const cmk_xts_key,
    offset: u64,
    data: *mut u8,
    len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; data = range(data, len); key = shared(key); => {
        data.fill(|data| key.0.encrypt_sectors(offset, data).map(|()| data.len()))
    })
}

/// Decrypts whole sectors in place. What was never written, or was changed, becomes garbage: nothing notices. After a failure `data` is zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_decrypt(
    key: *const cmk_xts_key,
    offset: u64,
    data: *mut u8,
    len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; data = range(data, len); key = shared(key); => {
        data.fill(|data| key.0.decrypt_sectors(offset, data).map(|()| data.len()))
    })
}

/// Gives the 64 bytes that `dmsetup` or `cryptsetup --volume-key-file` take, to have a kernel map the volume. Asks the keyring to unwrap the data key once more; a key that no
/// keyring has is CMK_ERR_INVALID_STATE. The buffer is wiped when it is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_kernel_key(
    key: *const cmk_xts_key,
    out: *mut *mut cmk_buffer,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); key = shared(key); => {
        *out = cmk_buffer::handle(key.0.kernel_key()?.expose().to_vec());
        Ok(())
    })
}

/// As cmk_block_key_destroy. The data key in a volume file can be unwrapped again for as long as a wrap of it is left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_destroy(key: *const cmk_xts_key) {
    value!((); key = shared(key); => key.0.destroy())
}

/// Whether the key was destroyed; true for NULL and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_is_destroyed(key: *const cmk_xts_key) -> bool {
    value!(true; key = shared(key); => key.1.is_foreign() || key.0.is_destroyed())
}

/// Wipes the key and ends its handle. In a forked child that is only the child's copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_xts_key_free(key: *mut cmk_xts_key) {
    free!(key)
}
