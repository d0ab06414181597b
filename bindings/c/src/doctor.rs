//! Trying everything that a vault's key needs.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::ptr;

use cmkit::KeyRef;

use crate::arg::Handle;
use crate::call::Outcome;
use crate::error::cmk_error;
use crate::key_vault::cmk_key_vault;
use crate::result::cmk_result;

/// All right.
pub const CMK_DOCTOR_PASS: u32 = 0;
/// Not all right: the row says what and what to do.
pub const CMK_DOCTOR_FAIL: u32 = 1;
/// Not tried: something before it failed, or it isn't allowed. Nothing is known about it.
pub const CMK_DOCTOR_SKIPPED: u32 = 2;

/// What was found about a key. It never changes; its texts live as long as it does.
pub struct cmk_doctor_report {
    key: CString,
    identity: CString,
    table: CString,
    is_healthy: bool,
    is_verified: bool,
    rows: Vec<Row>,
}

struct Row {
    name: CString,
    outcome: u32,
    detail: CString,
}

impl Handle for cmk_doctor_report {}

#[cfg(feature = "azure")]
fn examine(key_vault: &cmk_key_vault, key: &KeyRef) -> Outcome<cmk_doctor_report> {
    use crate::error::c_string;

    let report = key_vault.provider.doctor(key);
    let row = |row: &cmkit_azure::Row| Row {
        name: c_string(row.check.name()),
        outcome: match row.outcome {
            cmkit_azure::Outcome::Pass => CMK_DOCTOR_PASS,
            cmkit_azure::Outcome::Fail => CMK_DOCTOR_FAIL,
            _ => CMK_DOCTOR_SKIPPED,
        },
        detail: c_string(row.detail.as_str()),
    };
    Ok(cmk_doctor_report {
        table: c_string(report.to_string()),
        is_healthy: report.is_healthy(),
        is_verified: report.is_verified(),
        rows: report.rows.iter().map(row).collect(),
        key: c_string(report.key),
        identity: c_string(report.identity),
    })
}

#[cfg(not(feature = "azure"))]
fn examine(_: &cmk_key_vault, _: &KeyRef) -> Outcome<cmk_doctor_report> {
    Err(crate::key_vault::lacking())
}

/// Tries everything that `key` needs, whatever failed before, and says what to do. It wraps and unwraps 32 random bytes; nothing changes in the vault. Takes as
/// long as its calls do: seconds, or minutes when nothing answers. What is wrong with the key is no failure of this call, but stands in the report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_doctor(
    key_vault: *const cmk_key_vault,
    key: *const c_char,
    out: *mut *mut cmk_doctor_report,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); key_vault = shared(key_vault); key = text(key); => {
        let report = examine(key_vault, &KeyRef::parse(key)?)?;
        *out = Box::into_raw(Box::new(report));
        Ok(())
    })
}

/// The key, with the version that was tried if it is known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_key(report: *const cmk_doctor_report) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.key.as_ptr())
}

/// As whom it was tried.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_identity(
    report: *const cmk_doctor_report,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.identity.as_ptr())
}

/// Everything as a table for people, of several lines.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_text(report: *const cmk_doctor_report) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.table.as_ptr())
}

/// Whether nothing failed. What was skipped may still be wrong: see cmk_doctor_report_verified.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_healthy(report: *const cmk_doctor_report) -> bool {
    value!(false; report = shared(report); => report.is_healthy)
}

/// Whether everything was tried and all right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_verified(report: *const cmk_doctor_report) -> bool {
    value!(false; report = shared(report); => report.is_verified)
}

/// How many rows there are, one for each check in the order in which they were tried; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_len(report: *const cmk_doctor_report) -> usize {
    value!(0; report = shared(report); => report.rows.len())
}

/// What a row is about, such as "purge protection"; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_name(
    report: *const cmk_doctor_report,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.rows.get(index).map_or(ptr::null(), |row| row.name.as_ptr()))
}

/// How it went: a CMK_DOCTOR_...; CMK_DOCTOR_SKIPPED beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_outcome(
    report: *const cmk_doctor_report,
    index: usize,
) -> u32 {
    value!(CMK_DOCTOR_SKIPPED; report = shared(report); => report.rows.get(index).map_or(CMK_DOCTOR_SKIPPED, |row| row.outcome))
}

/// What was found, or what is wrong and what to do; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_detail(
    report: *const cmk_doctor_report,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.rows.get(index).map_or(ptr::null(), |row| row.detail.as_ptr()))
}

/// Ends a report and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_doctor_report_free(report: *mut cmk_doctor_report) {
    free!(report)
}
