//! Encrypted disks: making, opening and ending them.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use cmkit::BlockSize;
use cmkit_scratch::{BlockDevice as _, Punched, Volume, VolumeMode, VolumeSpec};

use super::backing::cmk_backing;
use super::reentry::{self, Inside};
use super::xts_key::sector_size;
use crate::arg::Handle;
use crate::buffer::cmk_buffer;
use crate::call::{Outcome, invalid, wrong_state};
use crate::census::cmk_text_list;
use crate::error::{c_string, cmk_error, pointer};
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::structure::Structure;

/// AES-256-GCM per block, with the seals in memory: authenticated, zeros where nothing was written, and gone with the process.
pub const CMK_VOLUME_EPHEMERAL: u32 = 0;
/// AES-256-XTS per sector, as dm-crypt has it: no integrity.
pub const CMK_VOLUME_XTS: u32 = 1;

/// What a new volume is to be. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_volume_options {
    /// sizeof(cmk_volume_options).
    pub struct_size: usize,
    /// A CMK_VOLUME_...
    pub mode: u32,
    /// Bytes in a block: 4096, 16384 or 65536 in the ephemeral mode, 512 or 4096 in XTS mode. 0: 4096.
    pub block_size: u32,
    /// Or NULL: the key is in this process's memory only. Else the data key is wrapped by the keyring's keys, and the volume stops when these are taken away. The keyring may be
    /// freed before the volume.
    pub keyring: *const cmk_keyring,
    /// Bytes of memory that the seals of the ephemeral mode may take, 22 for each block that was written. 0: half of the machine's.
    pub metadata_budget: u64,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL and 0.
unsafe impl Structure for cmk_volume_options {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// An encrypted disk of a fixed size, read and written at any byte, over a cmk_backing. Any number of threads may use one at the same time. It belongs to the process that made
/// it: in a forked child everything but cmk_volume_destroy and _free is CMK_ERR_INVALID_STATE. A volume of a keyring has a thread that looks after its key while nobody reads or
/// writes.
pub struct cmk_volume {
    pub(super) volume: Arc<Volume>,
    id: CString,
    backing_name: CString,
    warning: Option<CString>,
    is_of_job: bool,
    process: u32,
}

impl Handle for cmk_volume {
    fn in_use(&self) -> bool {
        reentry::is_inside(key_of(&self.volume))
    }
}

/// What a volume is known by to [`reentry`], by whichever handle it is called.
pub(super) fn key_of(volume: &Arc<Volume>) -> usize {
    Arc::as_ptr(volume).addr()
}

impl cmk_volume {
    fn handle(volume: Volume) -> *mut Self {
        Self::over(Arc::new(volume), false)
    }

    /// Another handle to a job's disk.
    pub(super) fn of_job(volume: &Arc<Volume>) -> *mut Self {
        Self::over(Arc::clone(volume), true)
    }

    fn over(volume: Arc<Volume>, is_of_job: bool) -> *mut Self {
        Box::into_raw(Box::new(Self {
            id: c_string(volume.id()),
            backing_name: c_string(volume.backing_name()),
            warning: volume.warning().map(c_string),
            is_of_job,
            process: std::process::id(),
            volume,
        }))
    }

    fn is_foreign(&self) -> bool {
        std::process::id() != self.process
    }

    /// That this process may use it. Asked before anything that takes a lock: a thread that isn't here may have had it at the fork.
    pub(super) fn check_process(&self) -> Outcome {
        if self.is_foreign() {
            return Err(wrong_state(
                "this volume belongs to the process that forked this one; make one of your own",
            ));
        }
        Ok(())
    }

    /// Begins a call that may run callbacks under the volume's locks.
    pub(super) fn enter(&self) -> Outcome<Inside> {
        self.check_process()?;
        reentry::enter(key_of(&self.volume))
    }
}

pub(super) fn spec(options: Option<cmk_volume_options>) -> Outcome<VolumeSpec> {
    let Some(options) = options else {
        return Ok(VolumeSpec::default());
    };
    let mode = match (options.mode, options.block_size) {
        (CMK_VOLUME_EPHEMERAL, 0) => VolumeMode::Ephemeral(BlockSize::default()),
        (CMK_VOLUME_EPHEMERAL, bytes) => VolumeMode::Ephemeral(BlockSize::from_bytes(bytes)?),
        (CMK_VOLUME_XTS, bytes) => VolumeMode::Xts(sector_size(bytes)?),
        (other, _) => return Err(invalid(format!("{other} is no CMK_VOLUME_..."))),
    };
    let mut spec = VolumeSpec::new(mode);
    // SAFETY: the header asks the caller of cmk_volume_create that this is NULL or a keyring.
    if let Some(keyring) = unsafe { crate::arg::optional("keyring", options.keyring) }? {
        spec = spec.keyring(keyring.0.clone());
    }
    if options.metadata_budget > 0 {
        spec = spec.metadata_budget(options.metadata_budget);
    }
    Ok(spec)
}

/// Makes a new volume over all of a backing. Nothing is written: in the ephemeral mode every block reads as zeros, in XTS mode as garbage. `options` may be NULL: ephemeral, in
/// blocks of 4096 bytes, with a key in memory only.
///
/// CMK_ERR_INVALID_ARGUMENT: the backing isn't a whole number of blocks, or the seals would need more memory than allowed. CMK_ERR_INVALID_STATE: there is a volume over it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_create(
    backing: *const cmk_backing,
    options: *const cmk_volume_options,
    out: *mut *mut cmk_volume,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); backing = shared(backing); options = optional_structure(options); => {
        let spec = spec(options)?;
        *out = cmk_volume::handle(Volume::create(backing.take()?, &spec)?);
        Ok(())
    })
}

/// Makes a new volume in XTS mode that can be opened again, and its volume file (cmk_keyring_create_xts_volume). Store the file, beside the volume and before anything is written.
/// `sector_size` is 512 or 4096, or 0 for 4096.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_create_reopenable(
    backing: *const cmk_backing,
    sector_size: u32,
    keyring: *const cmk_keyring,
    out: *mut *mut cmk_volume,
    volume_file: *mut *mut cmk_buffer,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); volume_file = handle(volume_file); backing = shared(backing); keyring = shared(keyring); => {
        let size = super::xts_key::sector_size(sector_size)?;
        let (volume, file) = Volume::create_reopenable(backing.take()?, size, &keyring.0)?;
        *volume_file = cmk_buffer::handle(file);
        *out = cmk_volume::handle(volume);
        Ok(())
    })
}

/// Opens a volume of cmk_volume_create_reopenable again, for writing unless the backing was opened for reading only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_open(
    backing: *const cmk_backing,
    volume_file: *const u8,
    volume_file_len: usize,
    keyring: *const cmk_keyring,
    out: *mut *mut cmk_volume,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); backing = shared(backing); file = bytes(volume_file, volume_file_len); keyring = shared(keyring); => {
        *out = cmk_volume::handle(Volume::open(backing.take()?, file, &keyring.0)?);
        Ok(())
    })
}

/// Opens a volume in XTS mode with a key that the caller has, of dm-crypt for instance. `layout` says how it lies in the backing, from whose first byte it has `layout->len` bytes.
/// The 64 bytes of the key are as in cmk_xts_key_from_bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_open_with_key(
    backing: *const cmk_backing,
    key: *const u8,
    key_len: usize,
    layout: *const super::xts_key::cmk_volume_layout,
    out: *mut *mut cmk_volume,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); backing = shared(backing); key = bytes(key, key_len); layout = structure(layout); => {
        let key = cmkit::XtsKey::from_bytes(key, sector_size(layout.sector_size)?, layout.iv_offset)?;
        *out = cmk_volume::handle(Volume::open_with(backing.take()?, key, layout.len)?);
        Ok(())
    })
}

/// Its bytes, which never change; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_len(volume: *const cmk_volume) -> u64 {
    value!(0; volume = shared(volume); => volume.volume.len())
}

/// A CMK_VOLUME_...
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_mode(volume: *const cmk_volume) -> u32 {
    value!(CMK_VOLUME_EPHEMERAL; volume = shared(volume); => match volume.volume.mode() {
        VolumeMode::Ephemeral(_) => CMK_VOLUME_EPHEMERAL,
        VolumeMode::Xts(_) => CMK_VOLUME_XTS,
    })
}

/// Bytes in a block or sector: requests that are whole ones are the fastest. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_block_size(volume: *const cmk_volume) -> u32 {
    value!(0; volume = shared(volume); => volume.volume.mode().block_bytes())
}

/// Whether nothing can be written, since the backing was opened for reading only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_read_only(volume: *const cmk_volume) -> bool {
    value!(true; volume = shared(volume); => volume.volume.geometry().read_only)
}

/// A name for it in records: 32 hex digits. Lives as long as the volume; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_id(volume: *const cmk_volume) -> *const c_char {
    value!(ptr::null(); volume = shared(volume); => volume.id.as_ptr())
}

/// What its bytes are on: a path, where there is one. Lives as long as the volume; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_backing_name(volume: *const cmk_volume) -> *const c_char {
    value!(ptr::null(); volume = shared(volume); => volume.backing_name.as_ptr())
}

/// Something to be told to whoever made it, or NULL. Lives as long as the volume.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_warning(volume: *const cmk_volume) -> *const c_char {
    value!(ptr::null(); volume = shared(volume); => pointer(volume.warning.as_deref()))
}

/// The full ids of the keys that wrap its data key; none if that is in this process's memory only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_key_ids(
    volume: *const cmk_volume,
    out: *mut *mut cmk_text_list,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); volume = shared(volume); => {
        volume.check_process()?;
        *out = cmk_text_list::handle(volume.volume.key_ids().iter().map(|id| id.as_str()));
        Ok(())
    })
}

/// That the keys still allow it: what every request asks. As cmk_block_key_check.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_check(
    volume: *const cmk_volume,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; volume = shared(volume); => {
        let _inside = volume.enter()?;
        Ok(volume.volume.check()?)
    })
}

/// Makes it an empty disk again, for the next job: the old key is wiped at once, requests under way are waited for, then there is a new data key, nothing was ever
/// written, and room is given back. *punched, which may be NULL, says whether the backing can do the latter. Only in the ephemeral mode. If there is no new key, the
/// disk stays destroyed, and this may be called again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_reset(
    volume: *const cmk_volume,
    punched: *mut bool,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; punched = optional_out(punched, false); volume = shared(volume); => {
        let _inside = volume.enter()?;
        if volume.is_of_job {
            return Err(wrong_state("this is a job's disk, which isn't used again: end the job, and begin another one"));
        }
        let done = volume.volume.reset()?;
        if let Some(punched) = punched {
            *punched = done == Punched::Yes;
        }
        Ok(())
    })
}

/// Gives the room of the whole backing back, which has no meaning any more: after cmk_volume_destroy. *punched as for cmk_volume_reset. A volume that isn't destroyed is
/// CMK_ERR_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_discard_backing(
    volume: *const cmk_volume,
    punched: *mut bool,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; punched = optional_out(punched, false); volume = shared(volume); => {
        let _inside = volume.enter()?;
        if !volume.volume.is_destroyed() {
            return Err(wrong_state("the volume is in use; destroy its key first"));
        }
        let done = volume.volume.discard_backing()?;
        if let Some(punched) = punched {
            *punched = done == Punched::Yes;
        }
        Ok(())
    })
}

/// Wipes the key: what was written can't be read any more, by nobody. Takes microseconds, whatever the backing is doing; requests under way end with an error. May be called from
/// any thread, also from a callback; a second time and in a forked child it does nothing. The handle has to be freed all the same.
///
/// Of a volume with a volume file this is no erasure: that needs every wrap of its data key, or the key that wraps it, to be destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_destroy(volume: *const cmk_volume) {
    value!((); volume = shared(volume); => volume.volume.destroy())
}

/// Whether the key was destroyed; true for NULL and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_is_destroyed(volume: *const cmk_volume) -> bool {
    value!(true; volume = shared(volume); => volume.is_foreign() || volume.volume.is_destroyed())
}

/// Destroys the key and ends the handle, and the backing unless that has a handle of its own. A file stays where it is. In a forked child nothing outside of its memory
/// changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_volume_free(volume: *mut cmk_volume) {
    free!(volume)
}
