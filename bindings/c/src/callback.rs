//! What callbacks have in common: their userdata, the end of it, and how they say that they failed.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::arg::ID_CAPACITY;
use crate::call::{Outcome, invalid};

/// What a read, write or progress callback returns to stop: the call fails with CMK_ERR_CANCELLED.
pub const CMK_CANCEL: i32 = -1;

/// Ends the userdata of callbacks.
pub type cmk_destroy_callback = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// The caller's pointer, of which nothing is known.
#[derive(Clone, Copy)]
pub(crate) struct Userdata(pub(crate) *mut c_void);

// SAFETY: cmkit never looks at what it points to. Where callbacks come from several threads, the header says so, and asks that they can.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

impl Userdata {
    /// The pointer. A method, so that closures capture the whole struct.
    pub(crate) fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// Userdata that is cmkit's to end: `destroy` is called exactly once, by the last one who lets go of it, but never before [`own`](Self::own).
pub(crate) struct Owned {
    userdata: Userdata,
    destroy: cmk_destroy_callback,
    owned: AtomicBool,
}

impl Owned {
    pub(crate) fn new(userdata: *mut c_void, destroy: cmk_destroy_callback) -> Arc<Self> {
        Arc::new(Self {
            userdata: Userdata(userdata),
            destroy,
            owned: AtomicBool::new(false),
        })
    }

    /// Takes it over: what the caller called has succeeded.
    pub(crate) fn own(&self) {
        self.owned.store(true, Ordering::Release);
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.userdata.pointer()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let (Some(destroy), true) = (self.destroy, self.owned.load(Ordering::Acquire)) {
            // SAFETY: the header says that this is called once, after every other callback has returned.
            unsafe { destroy(self.userdata.pointer()) };
        }
    }
}

/// A callback that must be there.
pub(crate) fn required<F>(name: &str, callback: Option<F>) -> Outcome<F> {
    callback.ok_or_else(|| invalid(format!("the callback {name} is NULL")))
}

/// What a read or write callback returned.
pub(crate) fn answer(code: i32) -> io::Result<()> {
    match code {
        0 => Ok(()),
        CMK_CANCEL => Err(cmkit::Error::Cancelled.into()),
        1.. => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::other(format!(
            "the callback returned {code}, which is no error number"
        ))),
    }
}

/// How much a read callback says it gave.
pub(crate) fn given(len: usize, capacity: usize) -> io::Result<usize> {
    if len <= capacity {
        Ok(len)
    } else {
        Err(io::Error::other(format!(
            "the callback says that it gave {len} bytes where {capacity} were asked for"
        )))
    }
}

/// Calls with a key id as a string, without allocating: providers are asked about a key's state for every message.
pub(crate) fn with_id<T>(id: &str, call: impl FnOnce(*const c_char) -> T) -> T {
    let mut text = [0_u8; ID_CAPACITY];
    let len = id.len().min(ID_CAPACITY - 1);
    text[..len].copy_from_slice(&id.as_bytes()[..len]);
    call(text.as_ptr().cast())
}
