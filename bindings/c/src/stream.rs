//! Data that passes through: an encryptor that writes, a decryptor that reads.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use cmkit::{Decryptor, Encryptor, HeaderPadding, StreamOptions, error_from_io};

use crate::arg::{Handle, OneAtATime};
use crate::call::{Outcome, invalid, wrong_state};
use crate::callback::{Userdata, answer, given, required};
use crate::context::{cmk_context, or_empty};
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;
use crate::structure::Structure;

/// Takes all of `data`. Called on the thread that uses the stream. Returns 0, an error number (errno), or CMK_CANCEL; after EINTR it is called again.
pub type cmk_write_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, data: *const u8, len: usize) -> i32>;

/// Puts up to `capacity` bytes into `out` and their number into *out_len, which is 0 before; 0 means the end, and fewer than there is
/// room for is fine. Called on the thread that uses the stream. Returns 0, an error number (errno), or CMK_CANCEL; after EINTR it is called again.
pub type cmk_read_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        out: *mut u8,
        capacity: usize,
        out_len: *mut usize,
    ) -> i32,
>;

/// The header is as short as it can be.
pub const CMK_PADDING_NONE: u32 = 0;
/// The header is a multiple of 4096 bytes: for files, so that cmk_keyring_rewrap_file needn't copy them.
pub const CMK_PADDING_FILE: u32 = 1;

/// What one may choose about a stream. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_stream_options {
    /// sizeof(cmk_stream_options).
    pub struct_size: usize,
    /// Threads that work on a batch, counting the caller's; they end before a call does. 0: one for each CPU, at most 8. With 1 a
    /// stream holds no more than 256 KiB, else no more than 4 MiB.
    pub threads: u32,
    /// A CMK_PADDING_..., for writing.
    pub header_padding: u32,
}

// SAFETY: `repr(C)` with the size first; all members are numbers.
unsafe impl Structure for cmk_stream_options {
    const MIN_SIZE: usize = size_of::<Self>();
}

fn options_of(options: Option<cmk_stream_options>) -> Outcome<StreamOptions> {
    let mut result = StreamOptions::default();
    let Some(options) = options else {
        return Ok(result);
    };
    if options.threads > 0 {
        result = result.threads(options.threads.min(1024) as usize);
    }
    match options.header_padding {
        CMK_PADDING_NONE => Ok(result),
        CMK_PADDING_FILE => Ok(result.padded_header(HeaderPadding::FileBlock)),
        other => Err(invalid(format!("{other} is no CMK_PADDING_..."))),
    }
}

struct Callback<F> {
    call: F,
    userdata: Userdata,
}

type WriteFn = unsafe extern "C" fn(*mut c_void, *const u8, usize) -> i32;
type ReadFn = unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> i32;

impl Write for Callback<WriteFn> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // SAFETY: the header asks for a callback that can be called with these arguments.
        answer(unsafe { (self.call)(self.userdata.pointer(), data.as_ptr(), data.len()) })?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Callback<ReadFn> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        // SAFETY: as above.
        answer(unsafe {
            (self.call)(
                self.userdata.pointer(),
                out.as_mut_ptr(),
                out.len(),
                &raw mut len,
            )
        })?;
        given(len, out.len())
    }
}

/// A duplicate of a descriptor, so that the caller's stays the caller's.
pub(crate) fn duplicate(fd: i32) -> Outcome<File> {
    if fd < 0 {
        return Err(invalid("the file descriptor is negative"));
    }
    // SAFETY: it isn't -1, and it is only borrowed for the duplication, which says so if it isn't open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let duplicate = borrowed.try_clone_to_owned().map_err(error_from_io)?;
    Ok(File::from(duplicate))
}

/// Encrypts what is written to it and writes the envelope on. It belongs to one thread at a time, and to the process that made it: in a
/// forked child everything but cmk_encryptor_free is CMK_ERR_INVALID_STATE. After a failure it stays failed.
pub struct cmk_encryptor(OneAtATime<Option<Encryptor<Box<dyn Write>>>>);

impl Handle for cmk_encryptor {
    fn in_use(&self) -> bool {
        self.0.in_use()
    }
}

fn encryptor(
    keyring: &cmk_keyring,
    context: Option<&cmk_context>,
    writer: Box<dyn Write>,
    options: Option<cmk_stream_options>,
) -> Outcome<*mut cmk_encryptor> {
    let encryptor = keyring
        .0
        .encryptor_with(writer, or_empty(context), options_of(options)?)?;
    Ok(Box::into_raw(Box::new(cmk_encryptor(OneAtATime::new(
        Some(encryptor),
    )))))
}

/// Begins an envelope that goes to a callback, which gets the header at once. `userdata` stays the caller's and must live as long as the
/// encryptor. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_encryptor_new(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    write: cmk_write_callback,
    userdata: *mut c_void,
    options: *const cmk_stream_options,
    out: *mut *mut cmk_encryptor,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context);
        options = optional_structure(options);
    => {
        let writer = Callback { call: required("write", write)?, userdata: Userdata(userdata) };
        *out = encryptor(keyring, context, Box::new(writer), options)?;
        Ok(())
    })
}

/// Begins an envelope that goes to a file descriptor. The descriptor is duplicated: the caller's may be closed right after. It must be a
/// blocking one: EAGAIN is a failure like others. A closed pipe raises SIGPIPE, unless the program ignores it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_encryptor_new_fd(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    fd: i32,
    options: *const cmk_stream_options,
    out: *mut *mut cmk_encryptor,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context);
        options = optional_structure(options);
    => {
        *out = encryptor(keyring, context, Box::new(duplicate(fd)?), options)?;
        Ok(())
    })
}

/// Encrypts more. All of it is taken, or the stream has failed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_encryptor_write(
    encryptor: *mut cmk_encryptor,
    plaintext: *const u8,
    plaintext_len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; encryptor = shared(encryptor); plaintext = bytes(plaintext, plaintext_len); => {
        let mut stream = encryptor.0.enter()?;
        let stream = stream.as_mut().ok_or_else(finished)?;
        Ok(stream.write_all(plaintext).map_err(error_from_io)?)
    })
}

/// Writes the end. Only then is what was written an envelope. The encryptor has to be freed all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_encryptor_finish(
    encryptor: *mut cmk_encryptor,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; encryptor = shared(encryptor); => {
        // In use until the end is written: the callback may call back here too.
        let mut stream = encryptor.0.enter()?;
        stream.take().ok_or_else(finished)?.finish()?;
        Ok(())
    })
}

fn finished() -> crate::call::Fault {
    wrong_state("this stream is finished; begin a new one")
}

/// Ends an encryptor and calls nobody. If it wasn't finished, what was written is no envelope: every reader refuses it. From its own
/// callback it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_encryptor_free(encryptor: *mut cmk_encryptor) {
    free!(encryptor)
}

/// Decrypts an envelope that is read once, from front to end. It belongs to one thread at a time. After a failure it stays failed.
pub struct cmk_decryptor(OneAtATime<Decryptor<Box<dyn Read>>>);

impl Handle for cmk_decryptor {
    fn in_use(&self) -> bool {
        self.0.in_use()
    }
}

fn decryptor(
    keyring: &cmk_keyring,
    context: Option<&cmk_context>,
    reader: Box<dyn Read>,
    options: Option<cmk_stream_options>,
) -> Outcome<*mut cmk_decryptor> {
    let decryptor = keyring
        .0
        .decryptor_with(reader, or_empty(context), options_of(options)?)?;
    Ok(Box::into_raw(Box::new(cmk_decryptor(OneAtATime::new(
        decryptor,
    )))))
}

/// Opens an envelope that comes from a callback; its header is read and checked at once. It ends where the callback's bytes do: nothing may
/// follow it. `userdata` stays the caller's and must live as long as the decryptor. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_decryptor_new(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    read: cmk_read_callback,
    userdata: *mut c_void,
    options: *const cmk_stream_options,
    out: *mut *mut cmk_decryptor,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context);
        options = optional_structure(options);
    => {
        let reader = Callback { call: required("read", read)?, userdata: Userdata(userdata) };
        *out = decryptor(keyring, context, Box::new(reader), options)?;
        Ok(())
    })
}

/// Opens an envelope that comes from a file descriptor and ends where that does. It is duplicated: the caller's may be closed right after.
/// The two share their position. It must be a blocking one: EAGAIN is a failure like others.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_decryptor_new_fd(
    keyring: *const cmk_keyring,
    context: *const cmk_context,
    fd: i32,
    options: *const cmk_stream_options,
    out: *mut *mut cmk_decryptor,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); context = optional(context);
        options = optional_structure(options);
    => {
        *out = decryptor(keyring, context, Box::new(duplicate(fd)?), options)?;
        Ok(())
    })
}

/// Gives more plaintext: up to `capacity` bytes, which must not be 0. *out_len of 0 means the end, and that the envelope was whole. A
/// stream that is cut or damaged fails instead, after the chunks before: discard those then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_decryptor_read(
    decryptor: *mut cmk_decryptor,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = output(out, capacity, out_len); decryptor = shared(decryptor); => {
        if capacity == 0 {
            return Err(invalid("the capacity is 0, so that the end could not be told"));
        }
        let mut stream = decryptor.0.enter()?;
        out.fill(|out| stream.read(out).map_err(error_from_io))
    })
}

/// Ends a decryptor. From its own callback it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_decryptor_free(decryptor: *mut cmk_decryptor) {
    free!(decryptor)
}
