//! What a keyring did with its keys, for whoever keeps account.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use cmkit::{AuditEvent, AuditOperation, AuditSink, JsonLines};

use crate::builder::cmk_keyring_builder;
use crate::callback::{Owned, cmk_destroy_callback, required};
use crate::error::{c_string, cmk_error, pointer};
use crate::result::{self, CMK_OK, cmk_result};
use crate::structure::Structure;

/// A data key was to be wrapped.
pub const CMK_AUDIT_WRAP: u32 = 1;
/// A data key was to be unwrapped: for a message, or to see whether the key still works.
pub const CMK_AUDIT_UNWRAP: u32 = 2;
/// The newest version of a key was asked for and checked.
pub const CMK_AUDIT_NEWEST: u32 = 3;
/// A key was found to be taken away: its data keys are let go.
pub const CMK_AUDIT_REVOKED: u32 = 4;
/// A key that was taken away or out of reach works again.
pub const CMK_AUDIT_RECOVERED: u32 = 5;
/// A key can't be reached.
pub const CMK_AUDIT_UNAVAILABLE: u32 = 6;
/// A data key was moved to a key outside its vault, which was asked for.
pub const CMK_AUDIT_OTHER_VAULT: u32 = 7;

fn number(operation: AuditOperation) -> u32 {
    match operation {
        AuditOperation::Wrap => CMK_AUDIT_WRAP,
        AuditOperation::Unwrap => CMK_AUDIT_UNWRAP,
        AuditOperation::Newest => CMK_AUDIT_NEWEST,
        AuditOperation::Revoked => CMK_AUDIT_REVOKED,
        AuditOperation::Recovered => CMK_AUDIT_RECOVERED,
        AuditOperation::Unavailable => CMK_AUDIT_UNAVAILABLE,
        AuditOperation::OtherVault => CMK_AUDIT_OTHER_VAULT,
        // One that this file doesn't know yet.
        _ => 0,
    }
}

/// One operation of a key provider, or what came of one: ids and outcomes, never content. It and its texts live until the callback returns.
#[repr(C)]
pub struct cmk_audit_event {
    /// Bytes of this structure: a later version may have more members.
    pub struct_size: usize,
    /// Milliseconds since 1970, when it ended.
    pub time_ms: u64,
    /// What was done: a CMK_AUDIT_..., or another number in a later version.
    pub operation: u32,
    /// CMK_OK, or how it failed: a CMK_ERR_...
    pub outcome: cmk_result,
    /// A lower-case name of the operation, such as "unwrap".
    pub operation_name: *const c_char,
    /// The provider's name.
    pub provider: *const c_char,
    /// The key's id: with the version that was used, where that is known.
    pub key_id: *const c_char,
    /// The keyring's id of the operation, which the provider was told.
    pub call_id: *const c_char,
    /// The provider's own code for the failure; NULL when there is none.
    pub code: *const c_char,
    /// The service's id of its last answer; NULL when there is none.
    pub request_id: *const c_char,
    /// Where the service answered from; NULL when it doesn't say.
    pub region: *const c_char,
    /// The keyring's workspace; NULL when it has none, and with high business impact.
    pub workspace: *const c_char,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The HTTP status of the last answer; 0 when there is none.
    pub http_status: u32,
    /// Requests that were sent for it; 0 where the provider doesn't count.
    pub attempts: u32,
}

/// Takes an event. The operation was done: what can't be recorded is the callback's own affair.
pub type cmk_audit_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, event: *const cmk_audit_event)>;

/// Takes a keyring's events. Fill it with zeros, set struct_size, then the members. It is copied.
///
/// The callback is called on the thread that did the operation, several at a time, with no lock held. It may block, but the caller waits for it. It must not call the
/// keyring that is calling it, which is refused with CMK_ERR_POLICY, and must not free it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_audit_sink {
    /// sizeof(cmk_audit_sink).
    pub struct_size: usize,
    /// The first argument of every callback.
    pub userdata: *mut c_void,
    /// Takes an event.
    pub record: cmk_audit_callback,
    /// Or NULL. Called exactly once, when the last builder, keyring and unfinished encryptor that know it are gone; not if adding it
    /// failed.
    pub destroy: cmk_destroy_callback,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL.
unsafe impl Structure for cmk_audit_sink {
    const MIN_SIZE: usize = size_of::<Self>();
}

struct CallbackSink {
    userdata: Arc<Owned>,
    record: unsafe extern "C" fn(*mut c_void, *const cmk_audit_event),
}

impl AuditSink for CallbackSink {
    fn record(&self, event: &AuditEvent<'_>) {
        let text = |text: Option<&str>| -> Option<CString> { text.map(c_string) };
        let operation_name = c_string(event.operation.name());
        let (provider, key, call_id) = (
            c_string(event.provider),
            c_string(event.key),
            c_string(event.call_id),
        );
        let (code, request_id) = (text(event.code), text(event.request_id));
        let (region, workspace) = (text(event.region), text(event.workspace));
        let told = cmk_audit_event {
            struct_size: size_of::<cmk_audit_event>(),
            time_ms: event.time,
            operation: number(event.operation),
            outcome: event.failure.map_or(CMK_OK, result::code_of),
            operation_name: operation_name.as_ptr(),
            provider: provider.as_ptr(),
            key_id: key.as_ptr(),
            call_id: call_id.as_ptr(),
            code: pointer(code.as_deref()),
            request_id: pointer(request_id.as_deref()),
            region: pointer(region.as_deref()),
            workspace: pointer(workspace.as_deref()),
            duration_ms: u64::try_from(event.duration.as_millis()).unwrap_or(u64::MAX),
            http_status: event.http_status.unwrap_or(0).into(),
            attempts: event.attempts,
        };
        // SAFETY: the header asks for a callback that can be called with these arguments from any thread; the texts live until here.
        unsafe { (self.record)(self.userdata.pointer(), &raw const told) }
    }
}

/// Appends every operation of a provider to a file as a line of JSON: time (milliseconds since 1970), pid, operation, provider, key, outcome, call_id,
/// attempts, duration_ms, and where they are known code, request_id, region, http_status, workspace. The file is made with mode 0600 if it isn't there; several
/// processes may share it. A line that can't be written is lost, and fails nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_audit_file(
    builder: *mut cmk_keyring_builder,
    path: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); path = path(path); => {
        let lines = JsonLines::append(path)?;
        builder.0.enter()?.audit.push(Arc::new(lines));
        Ok(())
    })
}

/// Tells a callback of every operation of a provider. Several may be added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_audit(
    builder: *mut cmk_keyring_builder,
    sink: *const cmk_audit_sink,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); sink = structure(sink); => {
        let record = required("record", sink.record)?;
        let userdata = Owned::new(sink.userdata, sink.destroy);
        let audit = CallbackSink { userdata: Arc::clone(&userdata), record };
        builder.0.enter()?.audit.push(Arc::new(audit));
        userdata.own();
        Ok(())
    })
}
