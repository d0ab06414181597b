//! The encryption context.

#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::LazyLock;

use cmkit::EncryptionContext;

use crate::arg::{self, Handle};
use crate::call::{Outcome, invalid};
use crate::error::cmk_error;
use crate::result::cmk_result;

/// A map of text to text that must be the same at decryption as at encryption; it is not stored. Where a function takes one, NULL
/// means none. It can be used any number of times.
pub struct cmk_context(pub(crate) EncryptionContext);

impl Handle for cmk_context {}

/// One entry of an encryption context: UTF-8, with a length instead of a NUL. See CMK_PAIR.
#[repr(C)]
pub struct cmk_pair {
    /// The key.
    pub key: *const c_char,
    /// Bytes in the key.
    pub key_len: usize,
    /// The value.
    pub value: *const c_char,
    /// Bytes in the value.
    pub value_len: usize,
}

static EMPTY: LazyLock<EncryptionContext> = LazyLock::new(EncryptionContext::empty);

/// What a caller gave, or none.
pub(crate) fn or_empty(context: Option<&cmk_context>) -> &EncryptionContext {
    context.map_or_else(|| &*EMPTY, |context| &context.0)
}

/// Makes an encryption context of pairs in any order. No key may occur twice; all together have at most 8192 bytes encoded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_context_new(
    pairs: *const cmk_pair,
    pairs_len: usize,
    out: *mut *mut cmk_context,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); pairs = array(pairs, pairs_len); => {
        let mut texts = Vec::with_capacity(pairs.len().min(1024));
        for pair in pairs {
            texts.push((text("a pair's key", pair.key, pair.key_len)?, text("a pair's value", pair.value, pair.value_len)?));
        }
        *out = Box::into_raw(Box::new(cmk_context(EncryptionContext::new(texts)?)));
        Ok(())
    })
}

fn text(name: &str, p: *const c_char, len: usize) -> Outcome<&str> {
    // SAFETY: the header asks the caller of cmk_context_new that pairs point to their texts.
    let bytes = unsafe { arg::bytes(name, p.cast(), len) }?;
    std::str::from_utf8(bytes).map_err(|_| invalid(format!("{name} is not UTF-8")))
}

/// Ends an encryption context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_context_free(context: *mut cmk_context) {
    free!(context)
}
