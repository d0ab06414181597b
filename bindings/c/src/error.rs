//! The details of a failure, owned by the caller.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use crate::arg::Handle;
use crate::call::Fault;
use crate::result::{self, CMK_OK, CMK_PANIC, CMK_UNSUPPORTED, cmk_result};

/// The details of a failure. Its texts live as long as it does.
pub struct cmk_error {
    code: cmk_result,
    message: CString,
    key_id: Option<CString>,
    request_id: Option<CString>,
    client_request_id: Option<CString>,
    provider_code: Option<CString>,
    region: Option<CString>,
    retryable: bool,
    retry_after_ms: u64,
    http_status: u32,
    system_code: i32,
    bytes_needed: u64,
    block: Option<u64>,
}

impl Handle for cmk_error {}

impl Fault {
    pub(crate) fn code(&self) -> cmk_result {
        match self {
            Self::Error(error) => result::code_of(error.kind()),
            Self::Unsupported(_) => CMK_UNSUPPORTED,
            Self::Panic => CMK_PANIC,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Error(error) => error.to_string(),
            Self::Unsupported(what) => what.clone(),
            Self::Panic => "a fault in cmkit was caught; please report it".into(),
        }
    }
}

impl cmk_error {
    pub(crate) fn of(fault: Fault) -> Self {
        let mut error = Self {
            code: fault.code(),
            message: c_string(fault.message()),
            key_id: None,
            request_id: None,
            client_request_id: None,
            provider_code: None,
            region: None,
            retryable: false,
            retry_after_ms: 0,
            http_status: 0,
            system_code: 0,
            bytes_needed: 0,
            block: None,
        };
        let Fault::Error(cause) = fault else {
            return error;
        };
        error.retryable = cause.is_retryable();
        if let Some(provider) = cause.provider() {
            error.key_id = provider.key.clone().map(c_string);
            error.request_id = provider.request_id.clone().map(c_string);
            error.client_request_id = provider.client_request_id.clone().map(c_string);
            error.provider_code = provider.code.clone().map(c_string);
            error.region = provider.region.clone().map(c_string);
            error.http_status = provider.http_status.unwrap_or(0).into();
            if let Some(wait) = provider.retry_after {
                error.retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            }
        }
        match cause.root() {
            cmkit::Error::KeyNotAllowed { keys } => {
                error.key_id = keys.first().cloned().map(c_string)
            }
            cmkit::Error::BufferTooSmall { needed, .. } => error.bytes_needed = *needed,
            cmkit::Error::DamagedBlock { block } => error.block = Some(*block),
            _ => {}
        }
        error.system_code = cause
            .io()
            .and_then(std::io::Error::raw_os_error)
            .unwrap_or(0);
        error
    }
}

/// Text for C. A NUL inside, which a file's name or a provider's message may smuggle in, would cut it short: it is left out.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    bytes.retain(|byte| *byte != 0);
    CString::new(bytes).unwrap_or_default()
}

pub(crate) fn pointer(text: Option<&CStr>) -> *const c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}

/// The code of the failure; CMK_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_code(error: *const cmk_error) -> cmk_result {
    value!(CMK_OK; error = shared(error); => error.code)
}

/// What happened and what to do, as a sentence without a full stop. It never has key bytes or plaintext in it. For NULL an empty string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_message(error: *const cmk_error) -> *const c_char {
    value!(c"".as_ptr(); error = shared(error); => error.message.as_ptr())
}

/// The key that it is about; NULL when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_key_id(error: *const cmk_error) -> *const c_char {
    value!(ptr::null(); error = shared(error); => pointer(error.key_id.as_deref()))
}

/// Whether the same call may succeed later without anybody changing anything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_retryable(error: *const cmk_error) -> bool {
    value!(false; error = shared(error); => error.retryable)
}

/// How many milliseconds the provider asks to wait; 0 when it doesn't say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_retry_after_ms(error: *const cmk_error) -> u64 {
    value!(0; error = shared(error); => error.retry_after_ms)
}

/// The HTTP status that a provider got; 0 when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_http_status(error: *const cmk_error) -> u32 {
    value!(0; error = shared(error); => error.http_status)
}

/// The provider's id of the failed request, for its support or audit log; NULL when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_request_id(error: *const cmk_error) -> *const c_char {
    value!(ptr::null(); error = shared(error); => pointer(error.request_id.as_deref()))
}

/// Our id of the failed operation, which the provider was told: Key Vault's audit log has it as correlationId. NULL when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_client_request_id(error: *const cmk_error) -> *const c_char {
    value!(ptr::null(); error = shared(error); => pointer(error.client_request_id.as_deref()))
}

/// The provider's own code for the failure, such as "ForbiddenByRbac"; NULL when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_provider_code(error: *const cmk_error) -> *const c_char {
    value!(ptr::null(); error = shared(error); => pointer(error.provider_code.as_deref()))
}

/// Where the provider answered from, such as "westeurope"; NULL when it doesn't say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_region(error: *const cmk_error) -> *const c_char {
    value!(ptr::null(); error = shared(error); => pointer(error.region.as_deref()))
}

/// The system's error number (errno) behind CMK_ERR_IO; 0 when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_system_code(error: *const cmk_error) -> i32 {
    value!(0; error = shared(error); => error.system_code)
}

/// The capacity that CMK_ERR_BUFFER_TOO_SMALL asks for; 0 for other codes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_bytes_needed(error: *const cmk_error) -> u64 {
    value!(0; error = shared(error); => error.bytes_needed)
}

/// Whether it is about a damaged block of a scratch disk: then its number, from 0, goes into *block, which is 0 otherwise. `block` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_block(error: *const cmk_error, block: *mut u64) -> bool {
    value!(false; place = optional_out(block, 0); error = shared(error); => {
        if let (Some(place), Some(block)) = (place, error.block) {
            *place = block;
        }
        error.block.is_some()
    })
}

/// Ends an error and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_error_free(error: *mut cmk_error) {
    free!(error)
}

/// The name of a code, such as "CMK_ERR_FORMAT"; "CMK_?" for a number that is none. Never NULL, and never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn cmk_result_name(code: cmk_result) -> *const c_char {
    value!(c"CMK_?".as_ptr(); => {
        let known = result::NAMES.iter().find(|(known, _)| *known == code);
        known.map_or(c"CMK_?", |(_, name)| name).as_ptr()
    })
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library, such as "0.1.0". Never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn cmk_version() -> *const c_char {
    value!(c"".as_ptr(); => VERSION.as_ptr().cast())
}
