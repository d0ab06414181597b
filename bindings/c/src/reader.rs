//! Random access to the plaintext of an envelope.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::fs::File;
use std::io;
use std::sync::Arc;

use cmkit::{ReadAt, Reader};

use crate::arg::Handle;
use crate::callback::{Owned, answer, cmk_destroy_callback, given, required};
use crate::context::{cmk_context, or_empty};
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::stream::duplicate;
use crate::structure::Structure;

/// Puts up to `capacity` bytes from `offset` on into `out` and their number into *out_len, which is 0 before; 0 means that the offset is
/// at or behind the end, and fewer than there is room for is fine. Returns as cmk_read_callback does.
pub type cmk_read_at_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        offset: u64,
        out: *mut u8,
        capacity: usize,
        out_len: *mut usize,
    ) -> i32,
>;

/// Puts the number of bytes of the source into *size. Returns as cmk_read_callback does.
pub type cmk_size_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, size: *mut u64) -> i32>;

/// Something that can be read at any offset. Fill it with zeros, set struct_size, then the members. It is copied. The callbacks are called
/// from any thread, several at a time, also from threads of cmkit's that end before the call does. They must not free the reader.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_source {
    /// sizeof(cmk_source).
    pub struct_size: usize,
    /// The first argument of every callback.
    pub userdata: *mut c_void,
    /// Reads.
    pub read_at: cmk_read_at_callback,
    /// Says how long it is.
    pub size: cmk_size_callback,
    /// Or NULL. Called exactly once, when the reader is freed; not if opening it failed.
    pub destroy: cmk_destroy_callback,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL.
unsafe impl Structure for cmk_source {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// Reads the plaintext of an envelope at any place. Its length is authenticated when it is made; each read opens the chunks of 16 KiB that it
/// touches. Any number of threads may use one at the same time. After a failure other places can still be read.
pub struct cmk_reader(Kind);

enum Kind {
    File(Reader<File>),
    Callbacks(Reader<Source>),
}

impl Handle for cmk_reader {}

impl cmk_reader {
    fn handle(kind: Kind) -> *mut Self {
        Box::into_raw(Box::new(Self(kind)))
    }
}

struct Source {
    userdata: Arc<Owned>,
    read_at: unsafe extern "C" fn(*mut c_void, u64, *mut u8, usize, *mut usize) -> i32,
    size: unsafe extern "C" fn(*mut c_void, *mut u64) -> i32,
}

impl ReadAt for Source {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut len = 0;
        // SAFETY: the header asks for callbacks that can be called with these arguments from any thread.
        answer(unsafe {
            (self.read_at)(
                self.userdata.pointer(),
                offset,
                out.as_mut_ptr(),
                out.len(),
                &raw mut len,
            )
        })?;
        given(len, out.len())
    }

    fn size(&self) -> io::Result<u64> {
        let mut size = 0;
        // SAFETY: as above.
        answer(unsafe { (self.size)(self.userdata.pointer(), &raw mut size) })?;
        Ok(size)
    }
}

/// Opens an envelope that callbacks read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_reader_new(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    source: *const cmk_source,
    out: *mut *mut cmk_reader,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context); source = structure(source); => {
        let userdata = Owned::new(source.userdata, source.destroy);
        let source = Source {
            userdata: userdata.clone(),
            read_at: required("read_at", source.read_at)?,
            size: required("size", source.size)?,
        };
        *out = cmk_reader::handle(Kind::Callbacks(keyring.0.reader(source, or_empty(context))?));
        userdata.own();
        Ok(())
    })
}

/// Opens the envelope that a file descriptor of a regular file or a block device has. The descriptor is duplicated: the caller's may be
/// closed right after. Its position is neither used nor changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_reader_open_fd(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    fd: i32,
    out: *mut *mut cmk_reader,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context); => {
        *out = cmk_reader::handle(Kind::File(keyring.0.reader(duplicate(fd)?, or_empty(context))?));
        Ok(())
    })
}

/// Opens an envelope by its file's name. If a rewrap of the file was interrupted, the header is completed from the file beside it; nothing
/// is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_reader_open_file(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    path: *const c_char,
    out: *mut *mut cmk_reader,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context); path = path(path); => {
        *out = cmk_reader::handle(Kind::File(keyring.0.open_file(path, or_empty(context))?));
        Ok(())
    })
}

/// Bytes of plaintext, authenticated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_reader_len(reader: *const cmk_reader) -> u64 {
    value!(0; reader = shared(reader); => match &reader.0 {
        Kind::File(reader) => reader.len(),
        Kind::Callbacks(reader) => reader.len(),
    })
}

/// Fills `out` with the plaintext from `offset` on: all of it, less only at the end, 0 bytes behind it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_reader_read_at(
    reader: *const cmk_reader,
    offset: u64,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = output(out, capacity, out_len); reader = shared(reader); => {
        out.fill(|out| match &reader.0 {
            Kind::File(reader) => reader.read_at(out, offset),
            Kind::Callbacks(reader) => reader.read_at(out, offset),
        })
    })
}

/// Ends a reader.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_reader_free(reader: *mut cmk_reader) {
    free!(reader)
}
