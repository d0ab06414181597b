//! Following the rotations of a keyring's wrapping keys.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_void};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use cmkit::{RewrapOutcome, Rotate, RotateOutcome, Rotation};

use crate::arg::{self, Handle};
use crate::buffer::cmk_buffer;
use crate::call::Outcome;
use crate::callback::{Userdata, required};
use crate::error::{c_string, cmk_error};
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::rewrap::rewrap_number;
use crate::structure::Structure;

/// None of its recipients is a wrapping key of the keyring's. So it is for compact envelopes: rotate their key store.
pub const CMK_ROTATE_NOT_OURS: u32 = 1;
/// Wrapped by the newest version alone.
pub const CMK_ROTATE_UP_TO_DATE: u32 = 2;
/// Wrapped by the newest version, and it isn't time yet to drop the old wrap: nothing was changed.
pub const CMK_ROTATE_WAITING: u32 = 3;
/// Old wraps were dropped: the newest version's had been there for long enough.
pub const CMK_ROTATE_FINISHED: u32 = 4;
/// The newest version's wrap took the place of the old one.
pub const CMK_ROTATE_REPLACED: u32 = 5;
/// The newest version's wrap was added, and the old one kept. The same call made later drops it.
pub const CMK_ROTATE_ADDED: u32 = 6;

fn number(outcome: RotateOutcome) -> u32 {
    match outcome {
        RotateOutcome::NotOurs => CMK_ROTATE_NOT_OURS,
        RotateOutcome::UpToDate => CMK_ROTATE_UP_TO_DATE,
        RotateOutcome::Waiting => CMK_ROTATE_WAITING,
        RotateOutcome::Finished => CMK_ROTATE_FINISHED,
        RotateOutcome::Replaced => CMK_ROTATE_REPLACED,
        RotateOutcome::Added => CMK_ROTATE_ADDED,
        // One that this file doesn't know yet.
        _ => 0,
    }
}

/// For `keep_old_ms`: replace old wraps at once. A region of the vault that hasn't the newest version yet can't open the data then.
pub const CMK_KEEP_OLD_NOT: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// How to follow rotations. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_rotate_options {
    /// sizeof(cmk_rotate_options).
    pub struct_size: usize,
    /// How long a wrap by an older version is kept after the one by the newest was added, counted in whole seconds. 0: 24 hours. CMK_KEEP_OLD_NOT: not at all.
    pub keep_old_ms: u64,
    /// 1: only tell what would be done, and change nothing. Else 0.
    pub dry_run: u32,
}

// SAFETY: `repr(C)` with the size first; zeros are 0.
unsafe impl Structure for cmk_rotate_options {
    const MIN_SIZE: usize = std::mem::offset_of!(Self, dry_run) + size_of::<u32>();
}

/// The newest versions of a keyring's wrapping keys as of when it was made, to bring any number of envelopes to. It never changes; any number of threads may
/// use one at the same time, and the keyring may be freed.
pub struct cmk_rotation {
    pub(crate) rotation: Rotation,
    ids: Vec<CString>,
}

impl Handle for cmk_rotation {}

/// Told what became of a file: a CMK_ROTATE_... and how it was written, a CMK_REWRAP_... or 0 when it wasn't; until when an old wrap is kept, in seconds since
/// 1970, or 0. When `error` isn't NULL the file failed with it, and the numbers are 0; it belongs to cmkit. Called on the calling thread. Returns 0 to go on;
/// anything else cancels, and what was done stays done.
pub type cmk_rotated_file_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        path: *const c_char,
        outcome: u32,
        written: u32,
        old_kept_until: u64,
        error: *const cmk_error,
    ) -> i32,
>;

/// The same for a row of a key store, named by its id of 16 bytes.
pub type cmk_rotated_row_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        id: *const u8,
        outcome: u32,
        old_kept_until: u64,
        error: *const cmk_error,
    ) -> i32,
>;

fn options_of(options: Option<cmk_rotate_options>) -> Outcome<Rotate> {
    let mut rotate = Rotate::default();
    let Some(options) = options else {
        return Ok(rotate);
    };
    rotate = match options.keep_old_ms {
        0 => rotate,
        CMK_KEEP_OLD_NOT => rotate.keep_old(Duration::ZERO),
        time => rotate.keep_old(Duration::from_millis(time)),
    };
    match options.dry_run {
        0 => Ok(rotate),
        1 => Ok(rotate.dry_run()),
        other => Err(crate::call::invalid(format!(
            "dry_run is 0 or 1, not {other}"
        ))),
    }
}

fn go_on(code: i32) -> ControlFlow<()> {
    match code {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}

/// Asks, once for each wrapping key, for its newest version, which data is to be brought to. `options` may be NULL. A wrapping key that was given with a version
/// stays at that one.
///
/// A rotation wraps data keys anew and changes only headers. What is written under older versions meanwhile takes another run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_new(
    keyring: *const cmk_keyring,
    options: *const cmk_rotate_options,
    out: *mut *mut cmk_rotation,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); options = optional_structure(options); => {
        let rotation = keyring.0.rotation(&options_of(options)?)?;
        let ids = rotation.newest().iter().map(|newest| c_string(newest.key.as_str())).collect();
        *out = Box::into_raw(Box::new(cmk_rotation { rotation, ids }));
        Ok(())
    })
}

/// How many wrapping keys are followed; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_newest_len(rotation: *const cmk_rotation) -> usize {
    value!(0; rotation = shared(rotation); => rotation.ids.len())
}

/// The id of the newest version of a followed key; NULL beyond the end. Lives as long as the rotation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_newest_id(
    rotation: *const cmk_rotation,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); rotation = shared(rotation); => rotation.ids.get(index).map_or(ptr::null(), |id| id.as_ptr()))
}

/// When that version was made, in seconds since 1970; 0 when that isn't known, and beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_newest_created(
    rotation: *const cmk_rotation,
    index: usize,
) -> u64 {
    value!(0; rotation = shared(rotation); => rotation.rotation.newest().get(index).and_then(|n| n.created).unwrap_or(0))
}

/// Follows the rotations in an envelope, or the header of one; the body stays. `*out` is what to store in its place, or NULL when nothing changed and in a dry
/// run. `outcome`, a CMK_ROTATE_..., and `old_kept_until`, in seconds since 1970 or 0, may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_rotate(
    rotation: *const cmk_rotation,
    envelope: *const u8,
    envelope_len: usize,
    out: *mut *mut cmk_buffer,
    outcome: *mut u32,
    old_kept_until: *mut u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); outcome = optional_out(outcome, 0); until = optional_out(old_kept_until, 0);
        rotation = shared(rotation); envelope = bytes(envelope, envelope_len);
    => {
        let rotated = rotation.rotation.rotate(envelope)?;
        if let Some(outcome) = outcome {
            *outcome = number(rotated.outcome);
        }
        if let Some(until) = until {
            *until = rotated.old_kept_until.unwrap_or(0);
        }
        if let Some(envelope) = rotated.envelope {
            *out = cmk_buffer::handle(envelope);
        }
        Ok(())
    })
}

/// Follows the rotations in a file, safe against a crash at any instruction: the same call made again completes what was interrupted. A file with
/// nothing to do is only read. `outcome`, a CMK_ROTATE_..., `written`, a CMK_REWRAP_... or 0, and `old_kept_until` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_rotate_file(
    rotation: *const cmk_rotation,
    path: *const c_char,
    outcome: *mut u32,
    written: *mut u32,
    old_kept_until: *mut u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; outcome = optional_out(outcome, 0); written = optional_out(written, 0); until = optional_out(old_kept_until, 0);
        rotation = shared(rotation); path = path(path);
    => {
        let rotated = rotation.rotation.rotate_file(path)?;
        if let Some(outcome) = outcome {
            *outcome = number(rotated.outcome);
        }
        if let Some(written) = written {
            *written = rewrap_or_none(rotated.written);
        }
        if let Some(until) = until {
            *until = rotated.old_kept_until.unwrap_or(0);
        }
        Ok(())
    })
}

fn rewrap_or_none(written: Option<RewrapOutcome>) -> u32 {
    written.map_or(0, rewrap_number)
}

/// Follows the rotations in files, and in every envelope and key store below directories; `paths` are strings. A path that is named must be an envelope or a
/// directory; in directories what isn't an envelope is passed over, links aren't followed, and a file may be come across twice. `on_file` learns what
/// became of each; failures of files go to it alone. CMK_ERR_CANCELLED when it said to stop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_rotate_paths(
    rotation: *const cmk_rotation,
    paths: *const *const c_char,
    paths_len: usize,
    on_file: cmk_rotated_file_callback,
    userdata: *mut c_void,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; rotation = shared(rotation); paths = array(paths, paths_len); => {
        let on_file = required("on_file", on_file)?;
        let userdata = Userdata(userdata);
        let mut roots = Vec::with_capacity(paths.len().min(1024));
        for path in paths {
            // SAFETY: the header asks the caller for an array of strings.
            roots.push(unsafe { arg::path("a path", *path) }?);
        }
        rotation.rotation.rotate_paths(roots, |path, result| {
            let path = c_path(path);
            let (outcome, written, until, error) = match result {
                Ok(done) => (number(done.outcome), rewrap_or_none(done.written), done.old_kept_until.unwrap_or(0), None),
                Err(e) => (0, 0, 0, Some(cmk_error::of(e.into()))),
            };
            let error = error.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: the header asks for a callback that can be called with these arguments during the call.
            go_on(unsafe { on_file(userdata.pointer(), path.as_ptr(), outcome, written, until, error) })
        })?;
        Ok(())
    })
}

pub(crate) fn c_path(path: &Path) -> CString {
    let bytes: &OsStr = path.as_os_str();
    c_string(bytes.as_bytes())
}

/// Follows the rotations in every row of the keyring's key store. `on_row` learns what became of each row; failures of rows go to it alone.
/// CMK_ERR_CANCELLED when it said to stop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_rotate_key_store(
    rotation: *const cmk_rotation,
    on_row: cmk_rotated_row_callback,
    userdata: *mut c_void,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; rotation = shared(rotation); => {
        let on_row = required("on_row", on_row)?;
        let userdata = Userdata(userdata);
        rotation.rotation.rotate_key_store(|id, result| {
            let (outcome, until, error) = match result {
                Ok(done) => (number(done.outcome), done.old_kept_until.unwrap_or(0), None),
                Err(e) => (0, 0, Some(cmk_error::of(e.into()))),
            };
            let error = error.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: as above.
            go_on(unsafe { on_row(userdata.pointer(), id.0.as_ptr(), outcome, until, error) })
        })?;
        Ok(())
    })
}

/// Ends a rotation and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_rotation_free(rotation: *mut cmk_rotation) {
    free!(rotation)
}
