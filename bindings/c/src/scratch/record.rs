//! What is written down of disks' ends, and cleaning up after owners that died.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::ptr;

use cmkit_scratch::{Discard, ErasureRecord, Recovered, StateDir, recover};

use crate::arg::Handle;
use crate::call::Fault;
use crate::error::{c_string, cmk_error, pointer};
use crate::result::cmk_result;

/// That a scratch disk was erased: what is in its file in the state directory's `records`. It never changes; its texts live as long as it does.
pub struct cmk_erasure_record {
    json: CString,
    left_behind: Vec<CString>,
    discarded: bool,
}

impl Handle for cmk_erasure_record {}

impl cmk_erasure_record {
    pub(super) fn of(record: &ErasureRecord) -> Self {
        Self {
            // It is texts, numbers and lists, so nothing of it can't be JSON.
            json: c_string(serde_json::to_vec(record).unwrap_or_default()),
            left_behind: record
                .left_behind
                .iter()
                .map(|left| c_string(left.as_str()))
                .collect(),
            discarded: record.discard == Discard::GivenBack,
        }
    }
}

/// The record as a JSON object, in one line. NULL for NULL.
///
/// Its members: volume, job, mode, keys (the ids of those that wrapped its key; none: that was in memory only), created, ended and key_destroyed (RFC 3339, UTC), size,
/// bytes_written, discard (result: given_back, unsupported, failed with why, not_tried), left_behind, recovered, end. Later versions may add some.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_erasure_record_json(
    record: *const cmk_erasure_record,
) -> *const c_char {
    value!(ptr::null(); record = shared(record); => record.json.as_ptr())
}

/// How many things are still there and couldn't be removed. They are unreadable all the same; cmk_scratch_recover tries again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_erasure_record_left_behind_count(
    record: *const cmk_erasure_record,
) -> usize {
    value!(0; record = shared(record); => record.left_behind.len())
}

/// One of them, as a sentence; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_erasure_record_left_behind(
    record: *const cmk_erasure_record,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); record = shared(record); => pointer(record.left_behind.get(index).map(CString::as_c_str)))
}

/// Whether the room was given back. Else the ciphertext, which nobody can read, is there until it is overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_erasure_record_discarded(record: *const cmk_erasure_record) -> bool {
    value!(false; record = shared(record); => record.discarded)
}

/// Ends a record's handle; its file stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_erasure_record_free(record: *mut cmk_erasure_record) {
    free!(record)
}

/// What cmk_scratch_recover found. It never changes; what it gives lives as long as it does.
pub struct cmk_recovery(Vec<Job>);

struct Job {
    name: CString,
    record: Result<cmk_erasure_record, cmk_error>,
}

impl Handle for cmk_recovery {}

fn job(recovered: Recovered) -> Job {
    Job {
        name: c_string(recovered.job),
        record: match recovered.record {
            Ok(record) => Ok(cmk_erasure_record::of(&record)),
            Err(error) => Err(cmk_error::of(Fault::Error(error))),
        },
    }
}

/// Cleans up after every job whose owner died, and writes an erasure record for each: mounts, loop devices, sockets, files. Jobs that run are left alone. For a daemon's start, before the
/// first cmk_scratch_begin. The keys died with their owners.
///
/// `out` may be NULL. CMK_ERR_IO: the state directory can't be read. What goes wrong with one job is with that job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_scratch_recover(
    state_dir: *const c_char,
    out: *mut *mut cmk_recovery,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = optional_out(out, ptr::null_mut()); state_dir = path(state_dir); => {
        let recovered = recover(&StateDir::open(state_dir)?)?;
        if let Some(out) = out {
            *out = Box::into_raw(Box::new(cmk_recovery(recovered.into_iter().map(job).collect())));
        }
        Ok(())
    })
}

/// How many jobs it was; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_recovery_len(recovery: *const cmk_recovery) -> usize {
    value!(0; recovery = shared(recovery); => recovery.0.len())
}

/// The name of one of them; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_recovery_job(
    recovery: *const cmk_recovery,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); recovery = shared(recovery); => recovery.0.get(index).map_or(ptr::null(), |job| job.name.as_ptr()))
}

/// Its record, not to be freed; NULL beyond the end and where there is an error instead. What is in its left_behind is tried again next time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_recovery_record(
    recovery: *const cmk_recovery,
    index: usize,
) -> *const cmk_erasure_record {
    value!(ptr::null(); recovery = shared(recovery); => {
        let record = recovery.0.get(index).and_then(|job| job.record.as_ref().ok());
        record.map_or(ptr::null(), ptr::from_ref)
    })
}

/// Why it couldn't be looked at, not to be freed; NULL when it could.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_recovery_error(
    recovery: *const cmk_recovery,
    index: usize,
) -> *const cmk_error {
    value!(ptr::null(); recovery = shared(recovery); => {
        let error = recovery.0.get(index).and_then(|job| job.record.as_ref().err());
        error.map_or(ptr::null(), ptr::from_ref)
    })
}

/// Ends it, with its records and errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_recovery_free(recovery: *mut cmk_recovery) {
    free!(recovery)
}
