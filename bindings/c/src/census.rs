//! Which key versions still protect something.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::ops::ControlFlow;
use std::ptr;
use std::time::Duration;

use cmkit::{Census, KeyId, SafeToDisable, VersionUse};

use crate::arg::{Handle, OneAtATime};
use crate::call::invalid;
use crate::callback::Userdata;
use crate::error::{c_string, cmk_error, pointer};
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::rotation::{c_path, cmk_rotation};
use crate::structure::Structure;

/// A count of the key versions that headers are wrapped by. Takes no key and no network, and nothing of the headers is authenticated. It belongs to one thread at a
/// time.
pub struct cmk_census(OneAtATime<Census>);

impl Handle for cmk_census {
    fn in_use(&self) -> bool {
        self.0.in_use()
    }
}

/// Told of each file before it is read. Returns 0 to go on; anything else cancels.
pub type cmk_census_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, path: *const c_char) -> i32>;

/// Begins a census as of now. Of the keyring only its clock plays a part. Add everything that there is, then ask.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_new(
    keyring: *const cmk_keyring,
    out: *mut *mut cmk_census,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); => {
        *out = Box::into_raw(Box::new(cmk_census(OneAtATime::new(keyring.0.census()))));
        Ok(())
    })
}

/// Adds an envelope, or the header of one. What doesn't begin like an envelope counts as skipped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_add_envelope(
    census: *mut cmk_census,
    envelope: *const u8,
    envelope_len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; census = shared(census); envelope = bytes(envelope, envelope_len); => {
        census.0.enter()?.add_envelope(envelope);
        Ok(())
    })
}

/// Adds something that the caller couldn't read: a row of a table, an object of a store. `problem` is a sentence without a full stop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_add_unreadable(
    census: *mut cmk_census,
    name: *const c_char,
    problem: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; census = shared(census); name = text(name); problem = text(problem); => {
        census.0.enter()?.add_unreadable(name, problem);
        Ok(())
    })
}

/// Adds a file. What can't be read, or isn't there, counts as unreadable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_add_file(
    census: *mut cmk_census,
    path: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; census = shared(census); path = path(path); => {
        census.0.enter()?.add_file(path);
        Ok(())
    })
}

/// Adds a file, or every file below a directory, key stores included. Links below a directory aren't followed but counted; what can't be read counts as
/// unreadable. `on_file` may be NULL; when it stops the call, that is CMK_ERR_CANCELLED, and the census finds nothing safe to disable from then on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_add_path(
    census: *mut cmk_census,
    path: *const c_char,
    on_file: cmk_census_callback,
    userdata: *mut c_void,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; census = shared(census); path = path(path); => {
        let userdata = Userdata(userdata);
        census.0.enter()?.add_path_with(path, |path| {
            let Some(on_file) = on_file else {
                return ControlFlow::Continue(());
            };
            let path = c_path(path);
            // SAFETY: the header asks for a callback that can be called with these arguments during the call.
            match unsafe { on_file(userdata.pointer(), path.as_ptr()) } {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
        Ok(())
    })
}

/// Adds every row of a keyring's key store. Rows that can't be read count as unreadable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_add_key_store(
    census: *mut cmk_census,
    keyring: *const cmk_keyring,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; census = shared(census); keyring = shared(keyring); => {
        census.0.enter()?.add_key_store_of(&keyring.0)?;
        Ok(())
    })
}

/// What besides the census plays a part in whether a version may be disabled. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_disable_conditions {
    /// sizeof(cmk_disable_conditions).
    pub struct_size: usize,
    /// How long it takes, at most, until every writer has noticed a new version: an hour for those without maintenance, else the longest cmk_keyring_builder_poll_ms among them and a minute. 0: one hour.
    pub poll_interval_ms: u64,
    /// How old a data key gets, at most, that writers still encrypt under: the longest cmk_keyring_builder_max_age_ms among them. 0: one hour.
    pub dek_age_ms: u64,
}

// SAFETY: `repr(C)` with the size first; zeros are 0.
unsafe impl Structure for cmk_disable_conditions {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// Whether a key version, given by its full id, may be disabled: nothing that was counted has a wrap by it, nothing was unreadable, it isn't the newest version,
/// and the census was begun when nobody could be writing under it any more. `rotation` knows the newest version: it follows the key. `conditions` and
/// `reasons` may be NULL; the latter says why not, each a sentence, empty for a yes.
///
/// A census knows what it was shown. Data that it wasn't shown, backups for instance, may need any version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_safe_to_disable(
    census: *const cmk_census,
    key_id: *const c_char,
    rotation: *const cmk_rotation,
    conditions: *const cmk_disable_conditions,
    safe: *mut bool,
    reasons: *mut *mut cmk_text_list,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; safe = out(safe, false); reasons = optional_out(reasons, ptr::null_mut()); census = shared(census);
        key_id = text(key_id); rotation = shared(rotation); conditions = optional_structure(conditions);
    => {
        let key = KeyId::parse(key_id)?;
        let newest = rotation.rotation.newest().iter().find(|newest| newest.key.same_key(&key));
        let newest = newest.ok_or_else(|| invalid(format!(
            "the rotation doesn't follow the key of {key}: make one with a keyring that wraps with it, given without a version"
        )))?;
        let mut given = SafeToDisable::new(newest.clone());
        if let Some(conditions) = conditions {
            if conditions.poll_interval_ms > 0 {
                given = given.poll_interval(Duration::from_millis(conditions.poll_interval_ms));
            }
            if conditions.dek_age_ms > 0 {
                given = given.dek_age(Duration::from_millis(conditions.dek_age_ms));
            }
        }
        let verdict = census.0.enter()?.safe_to_disable(&key, &given);
        *safe = verdict.is_yes();
        if let Some(reasons) = reasons {
            *reasons = cmk_text_list::handle(verdict.reasons().iter().map(String::as_str));
        }
        Ok(())
    })
}

/// Ends a census.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_free(census: *mut cmk_census) {
    free!(census)
}

/// A list of texts.
pub struct cmk_text_list(Vec<CString>);

impl Handle for cmk_text_list {}

impl cmk_text_list {
    pub(crate) fn handle<'a>(texts: impl IntoIterator<Item = &'a str>) -> *mut Self {
        let texts = texts.into_iter().map(c_string).collect();
        Box::into_raw(Box::new(Self(texts)))
    }
}

/// How many texts there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_text_list_len(list: *const cmk_text_list) -> usize {
    value!(0; list = shared(list); => list.0.len())
}

/// One of the texts, which lives as long as the list; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_text_list_get(
    list: *const cmk_text_list,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); list = shared(list); => pointer(list.0.get(index).map(CString::as_c_str)))
}

/// Ends a list and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_text_list_free(list: *mut cmk_text_list) {
    free!(list)
}

/// What a census has counted so far. It never changes; its texts live as long as it does.
pub struct cmk_census_report {
    census: Census,
    versions: Vec<Version>,
    unreadable: Vec<(CString, CString)>,
}

struct Version {
    used: VersionUse,
    id: CString,
    example: Option<CString>,
}

impl Handle for cmk_census_report {}

/// Gives what was counted so far. The census may go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_count(
    census: *const cmk_census,
    out: *mut *mut cmk_census_report,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); census = shared(census); => {
        let census = census.0.enter()?.clone();
        let version = |used: &VersionUse| Version {
            id: c_string(used.key.as_str()),
            example: used.example.as_deref().map(c_string),
            used: used.clone(),
        };
        *out = Box::into_raw(Box::new(cmk_census_report {
            versions: census.versions().map(version).collect(),
            unreadable: census.unreadable().iter().map(|u| (c_string(u.name.as_str()), c_string(u.problem.as_str()))).collect(),
            census,
        }));
        Ok(())
    })
}

/// When the census was begun, in seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_begun(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.begun())
}

/// Headers that were counted: of envelopes and of rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_headers(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.headers())
}

/// Those of them that are rows of key stores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_rows(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.rows())
}

/// Compact envelopes, whose data keys are in key stores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_compact(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.compact())
}

/// Files and bytes that aren't envelopes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_skipped(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.skipped())
}

/// Symbolic links in directories, which weren't followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_links(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.links())
}

/// How many things couldn't be read, each of which may need any key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_unreadable(report: *const cmk_census_report) -> u64 {
    value!(0; report = shared(report); => report.census.unreadable_count())
}

/// The name of one of the first 20 of them; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_unreadable_name(
    report: *const cmk_census_report,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.unreadable.get(index).map_or(ptr::null(), |u| u.0.as_ptr()))
}

/// Why it couldn't be read; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_unreadable_problem(
    report: *const cmk_census_report,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.unreadable.get(index).map_or(ptr::null(), |u| u.1.as_ptr()))
}

/// How many key versions were found; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_versions(report: *const cmk_census_report) -> usize {
    value!(0; report = shared(report); => report.versions.len())
}

/// The full id of a key version; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_id(
    report: *const cmk_census_report,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => report.versions.get(index).map_or(ptr::null(), |v| v.id.as_ptr()))
}

/// Headers that have a wrap by it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_headers(
    report: *const cmk_census_report,
    index: usize,
) -> u64 {
    value!(0; report = shared(report); => report.versions.get(index).map_or(0, |v| v.used.headers))
}

/// Those of them that nothing else opens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_only_key(
    report: *const cmk_census_report,
    index: usize,
) -> u64 {
    value!(0; report = shared(report); => report.versions.get(index).map_or(0, |v| v.used.only_key))
}

/// Those of them that have a wrap by a newer version of the same key beside it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_old_kept(
    report: *const cmk_census_report,
    index: usize,
) -> u64 {
    value!(0; report = shared(report); => report.versions.get(index).map_or(0, |v| v.used.old_kept))
}

/// When the oldest wrap by it was made, in seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_oldest_wrap(
    report: *const cmk_census_report,
    index: usize,
) -> u64 {
    value!(0; report = shared(report); => report.versions.get(index).map_or(0, |v| v.used.oldest_wrap))
}

/// When the newest one was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_newest_wrap(
    report: *const cmk_census_report,
    index: usize,
) -> u64 {
    value!(0; report = shared(report); => report.versions.get(index).map_or(0, |v| v.used.newest_wrap))
}

/// One of the files or rows that have it; NULL when the census wasn't told of names, and beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_version_example(
    report: *const cmk_census_report,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); report = shared(report); => pointer(report.versions.get(index).and_then(|v| v.example.as_deref())))
}

/// Ends a report and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_census_report_free(report: *mut cmk_census_report) {
    free!(report)
}
