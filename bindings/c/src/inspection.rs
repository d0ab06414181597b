//! What can be said about an envelope without a key.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::ptr;

use cmkit::{Inspection, RecipientInfo, WrapAlgorithm};

use crate::arg::Handle;
use crate::error::{c_string, cmk_error, pointer};
use crate::result::cmk_result;

/// What an envelope's header says. Nothing of it is authenticated: that takes a key. Its texts live as long as it does.
pub struct cmk_inspection {
    header: Inspection,
    suite_name: CString,
    workspace: Option<CString>,
    recipients: Vec<(CString, CString)>,
}

impl Handle for cmk_inspection {}

/// AES key wrap with a 256-bit key (RFC 3394); the number is COSE's.
pub const CMK_WRAP_A256KW: i32 = -5;
/// RSAES-OAEP with SHA-256 (RFC 8017); the number is COSE's.
pub const CMK_WRAP_RSA_OAEP_256: i32 = -41;

/// The envelope holds a document or a stream.
pub const CMK_PURPOSE_DATA: u32 = 1;
/// The header is that of a volume.
pub const CMK_PURPOSE_VOLUME: u32 = 2;
/// The envelope is compact, or a row of a key store.
pub const CMK_PURPOSE_KEY_STORE: u32 = 3;

pub(crate) fn algorithm_number(algorithm: WrapAlgorithm) -> i32 {
    match algorithm {
        WrapAlgorithm::A256Kw => CMK_WRAP_A256KW,
        WrapAlgorithm::RsaOaep256 => CMK_WRAP_RSA_OAEP_256,
        _ => 0,
    }
}

/// Reads the header that bytes begin with: an envelope, or its first 64 KiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_new(
    envelope: *const u8,
    envelope_len: usize,
    out: *mut *mut cmk_inspection,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); envelope = bytes(envelope, envelope_len); => {
        let header = cmkit::inspect(envelope)?;
        let texts = |r: &RecipientInfo| (c_string(r.provider.as_str()), c_string(r.key_id.as_str()));
        *out = Box::into_raw(Box::new(cmk_inspection {
            suite_name: c_string(header.suite_name),
            workspace: header.workspace.as_deref().map(c_string),
            recipients: header.recipients.iter().map(texts).collect(),
            header,
        }));
        Ok(())
    })
}

/// The format's version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_version(inspection: *const cmk_inspection) -> u32 {
    value!(0; inspection = shared(inspection); => inspection.header.version.into())
}

/// The number of the suite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_suite(inspection: *const cmk_inspection) -> u32 {
    value!(0; inspection = shared(inspection); => inspection.header.suite.into())
}

/// The algorithms of the suite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_suite_name(
    inspection: *const cmk_inspection,
) -> *const c_char {
    value!(c"".as_ptr(); inspection = shared(inspection); => inspection.suite_name.as_ptr())
}

/// The 16 bytes that name the data key; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_dek_id(inspection: *const cmk_inspection) -> *const u8 {
    value!(ptr::null(); inspection = shared(inspection); => inspection.header.dek_id.0.as_ptr())
}

/// What the data key may be used for: a CMK_PURPOSE_...
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_purpose(inspection: *const cmk_inspection) -> u32 {
    value!(0; inspection = shared(inspection); => match inspection.header.purpose {
        cmkit::Purpose::Data => CMK_PURPOSE_DATA,
        cmkit::Purpose::Volume => CMK_PURPOSE_VOLUME,
        cmkit::Purpose::KeyStore => CMK_PURPOSE_KEY_STORE,
        _ => 0,
    })
}

/// The workspace that it belongs to; NULL when it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_workspace(
    inspection: *const cmk_inspection,
) -> *const c_char {
    value!(ptr::null(); inspection = shared(inspection); => pointer(inspection.workspace.as_deref()))
}

/// When the data key was made, in seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_created(inspection: *const cmk_inspection) -> u64 {
    value!(0; inspection = shared(inspection); => inspection.header.created)
}

/// Bytes of the whole header. The body follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_header_len(inspection: *const cmk_inspection) -> usize {
    value!(0; inspection = shared(inspection); => inspection.header.header_len)
}

/// Zero bytes that make room for a rewrap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_padding_len(inspection: *const cmk_inspection) -> usize {
    value!(0; inspection = shared(inspection); => inspection.header.padding_len)
}

/// Whether the wrapped data key is in a key store and not in the envelope.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_is_compact(inspection: *const cmk_inspection) -> bool {
    value!(false; inspection = shared(inspection); => inspection.header.is_compact)
}

/// How many keys can open it: 0 in the compact form, else 1 to 16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_recipients_len(inspection: *const cmk_inspection) -> usize {
    value!(0; inspection = shared(inspection); => inspection.recipients.len())
}

/// The key provider's name of a recipient; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_recipient_provider(
    inspection: *const cmk_inspection,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); inspection = shared(inspection);
        => inspection.recipients.get(index).map_or(ptr::null(), |r| r.0.as_ptr()))
}

/// The exact key version of a recipient; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_recipient_key_id(
    inspection: *const cmk_inspection,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); inspection = shared(inspection);
        => inspection.recipients.get(index).map_or(ptr::null(), |r| r.1.as_ptr()))
}

/// How the data key was wrapped for a recipient: a CMK_WRAP_...; 0 beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_recipient_algorithm(
    inspection: *const cmk_inspection,
    index: usize,
) -> i32 {
    value!(0; inspection = shared(inspection);
        => inspection.header.recipients.get(index).map_or(0, |r| algorithm_number(r.algorithm)))
}

/// When the data key was wrapped for a recipient, in seconds since 1970; 0 beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_recipient_wrapped_at(
    inspection: *const cmk_inspection,
    index: usize,
) -> u64 {
    value!(0; inspection = shared(inspection); => inspection.header.recipients.get(index).map_or(0, |r| r.wrapped_at))
}

/// Bytes of the wrapped data key of a recipient; 0 beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_recipient_wrapped_len(
    inspection: *const cmk_inspection,
    index: usize,
) -> usize {
    value!(0; inspection = shared(inspection); => inspection.header.recipients.get(index).map_or(0, |r| r.wrapped_len))
}

/// Ends an inspection and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_inspection_free(inspection: *mut cmk_inspection) {
    free!(inspection)
}
