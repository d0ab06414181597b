//! Files.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

use cmkit::{FileOptions, Overwrite};

use crate::call::{Outcome, invalid};
use crate::callback::Userdata;
use crate::context::{cmk_context, or_empty};
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::structure::Structure;

/// A destination that exists is left as it is: CMK_ERR_ALREADY_EXISTS.
pub const CMK_OVERWRITE_REFUSE: u32 = 0;
/// The new file takes its place, in one step.
pub const CMK_OVERWRITE_REPLACE: u32 = 1;

/// What the total of a progress callback is where the source doesn't say how long it is.
pub const CMK_LEN_UNKNOWN: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// Told how many bytes of plaintext are done, of how many: at the start, at the end and some fifty times a second in between, on the calling
/// thread. Returns 0 to go on; anything else cancels, and nothing is kept.
pub type cmk_progress_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, done: u64, total: u64) -> i32>;

/// What one may choose about files. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_file_options {
    /// sizeof(cmk_file_options).
    pub struct_size: usize,
    /// A CMK_OVERWRITE_...
    pub overwrite: u32,
    /// Threads that work on the file, counting the caller's; they end before the call does. 0: one for each CPU, at most 8.
    pub threads: u32,
    /// Or NULL.
    pub progress: cmk_progress_callback,
    /// The first argument of the callback.
    pub userdata: *mut c_void,
}

// SAFETY: `repr(C)` with the size first; zeros are 0 and NULL.
unsafe impl Structure for cmk_file_options {
    const MIN_SIZE: usize = size_of::<Self>();
}

fn options_of(options: Option<cmk_file_options>) -> Outcome<FileOptions> {
    let mut result = FileOptions::default();
    let Some(options) = options else {
        return Ok(result);
    };
    result = match options.overwrite {
        CMK_OVERWRITE_REFUSE => result.overwrite(Overwrite::Refuse),
        CMK_OVERWRITE_REPLACE => result.overwrite(Overwrite::Replace),
        other => return Err(invalid(format!("{other} is no CMK_OVERWRITE_..."))),
    };
    if options.threads > 0 {
        result = result.threads(options.threads as usize);
    }
    if let Some(progress) = options.progress {
        let userdata = Userdata(options.userdata);
        result = result.on_progress(move |now| {
            // SAFETY: the header asks for a callback that can be called with these arguments during the call.
            match unsafe {
                progress(
                    userdata.pointer(),
                    now.done,
                    now.total.unwrap_or(CMK_LEN_UNKNOWN),
                )
            } {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
    }
    Ok(result)
}

/// Encrypts a file into another one. The destination appears whole and synced, or not at all; until then only its owner may read it, then it
/// has the source's mode. `options` and `plaintext_len`, the bytes that were encrypted, may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_encrypt_file(
    keyring: *const cmk_keyring,
    source: *const c_char,
    destination: *const c_char,
    context: *const cmk_context,
    options: *const cmk_file_options,
    plaintext_len: *mut u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; len = optional_out(plaintext_len, 0); keyring = shared(keyring); source = path(source);
        destination = path(destination); context = optional(context); options = optional_structure(options);
    => {
        let done = keyring.0.encrypt_file(source, destination, or_empty(context), &options_of(options)?)?;
        if let Some(len) = len {
            *len = done;
        }
        Ok(())
    })
}

/// Decrypts a file into another one, as cmk_keyring_encrypt_file does: a damaged or cut envelope leaves nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_decrypt_file(
    keyring: *const cmk_keyring,
    source: *const c_char,
    destination: *const c_char,
    context: *const cmk_context,
    options: *const cmk_file_options,
    plaintext_len: *mut u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; len = optional_out(plaintext_len, 0); keyring = shared(keyring); source = path(source);
        destination = path(destination); context = optional(context); options = optional_structure(options);
    => {
        let done = keyring.0.decrypt_file(source, destination, or_empty(context), &options_of(options)?)?;
        if let Some(len) = len {
            *len = done;
        }
        Ok(())
    })
}
