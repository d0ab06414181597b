//! Bytes whose number the caller can't know beforehand.

#![allow(unsafe_code)]

use std::ptr;

use zeroize::Zeroizing;

use crate::arg::Handle;

/// Bytes made by cmkit. They are wiped when it is freed.
pub struct cmk_buffer {
    /// With a NUL behind the content.
    bytes: Zeroizing<Vec<u8>>,
}

impl Handle for cmk_buffer {}

impl cmk_buffer {
    pub(crate) fn handle(content: Vec<u8>) -> *mut Self {
        let content = Zeroizing::new(content);
        // Not pushed on, so that no grown copy leaves an unwiped one behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(content.len() + 1));
        bytes.extend_from_slice(&content);
        bytes.push(0);
        Box::into_raw(Box::new(Self { bytes }))
    }

    fn content(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 1]
    }
}

/// The bytes of a buffer, and behind them a NUL that doesn't count. They live as long as it does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_buffer_data(buffer: *const cmk_buffer) -> *const u8 {
    value!(ptr::null(); buffer = shared(buffer); => buffer.content().as_ptr())
}

/// How many bytes a buffer has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_buffer_len(buffer: *const cmk_buffer) -> usize {
    value!(0; buffer = shared(buffer); => buffer.content().len())
}

/// Wipes and ends a buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_buffer_free(buffer: *mut cmk_buffer) {
    free!(buffer)
}
