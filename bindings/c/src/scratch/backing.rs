//! Where a volume's bytes are: memory, files, devices, callbacks.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cmkit_scratch::{Access, Backing, FileBacking, MemoryBacking, Punched, open_path};

use crate::arg::{self, Handle};
use crate::call::{Outcome, invalid, wrong_state};
use crate::callback::{Owned, answer, cmk_destroy_callback, required};
use crate::error::cmk_error;
use crate::result::cmk_result;
use crate::structure::Structure;

/// Fills all of `out` from `offset` on. What was never written may be anything. Returns 0 or an error number (errno); after EINTR it is called again.
pub type cmk_backing_read_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, offset: u64, out: *mut u8, len: usize) -> i32,
>;

/// Writes all of `data` at `offset`. Returns 0 or an error number (errno), after which any part of it may have been written; after EINTR it is called again.
pub type cmk_backing_write_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, offset: u64, data: *const u8, len: usize) -> i32,
>;

/// Has what was written reach the medium. Returns 0 or an error number (errno).
pub type cmk_backing_flush_callback = Option<unsafe extern "C" fn(userdata: *mut c_void) -> i32>;

/// Gives room back; what is there afterwards may be anything. Returns 0 or an error number (errno): EOPNOTSUPP where that can't be done.
pub type cmk_backing_discard_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, offset: u64, len: u64) -> i32>;

/// Room for a volume's ciphertext that the caller's own I/O reads and writes. Fill it with zeros, set struct_size, then the members. It is copied.
///
/// The callbacks are called from any thread that calls the volume, several at a time, but never for a range that is being written. They are called while the blocks that
/// they are for are locked: they may block, and must not call the volume that is calling them, which is refused with CMK_ERR_INVALID_STATE, nor free it, which then does
/// nothing. cmk_volume_destroy is allowed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_backing_callbacks {
    /// sizeof(cmk_backing_callbacks).
    pub struct_size: usize,
    /// The first argument of every callback.
    pub userdata: *mut c_void,
    /// Or NULL. What errors call it. Copied.
    pub name: *const c_char,
    /// Bytes; never changes.
    pub len: u64,
    /// Reads.
    pub read: cmk_backing_read_callback,
    /// Writes.
    pub write: cmk_backing_write_callback,
    /// Or NULL: what was written is on the medium, or there is none.
    pub flush: cmk_backing_flush_callback,
    /// Or NULL: room isn't given back.
    pub discard: cmk_backing_discard_callback,
    /// Or NULL. Called exactly once, when the backing and the volume over it are freed; not if making the backing failed.
    pub destroy: cmk_destroy_callback,
    /// 1 when callbacks may wait for a medium, else 0: servers then give each request a thread.
    pub blocking: u32,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL and 0.
unsafe impl Structure for cmk_backing_callbacks {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// Opened for reading only; others may have it open for that too.
pub const CMK_ACCESS_READ: u32 = 0;
/// Opened for reading and writing; nobody else may have it open through cmkit.
pub const CMK_ACCESS_READ_WRITE: u32 = 1;

/// What a volume's ciphertext is on. One volume at a time is made over it; it may be freed as soon as that is made.
pub struct cmk_backing {
    backing: Arc<dyn Backing>,
    taken: Arc<AtomicBool>,
}

impl Handle for cmk_backing {}

impl cmk_backing {
    fn handle(backing: Arc<dyn Backing>) -> *mut Self {
        Box::into_raw(Box::new(Self {
            backing,
            taken: Arc::default(),
        }))
    }

    /// For one volume, until that is gone.
    pub(super) fn take(&self) -> Outcome<Box<dyn Backing>> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return Err(wrong_state(
                "there is a volume over this backing already, and two would overwrite each other",
            ));
        }
        Ok(Box::new(Taken {
            backing: Arc::clone(&self.backing),
            taken: Arc::clone(&self.taken),
        }))
    }
}

/// What a volume has of a backing.
struct Taken {
    backing: Arc<dyn Backing>,
    taken: Arc<AtomicBool>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.taken.store(false, Ordering::Release);
    }
}

impl Backing for Taken {
    fn len(&self) -> u64 {
        self.backing.len()
    }

    fn name(&self) -> &str {
        self.backing.name()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.backing.read_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.backing.write_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.backing.flush()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        self.backing.punch(offset, len)
    }

    fn is_blocking(&self) -> bool {
        self.backing.is_blocking()
    }

    fn is_read_only(&self) -> bool {
        self.backing.is_read_only()
    }
}

/// Makes room of `len` bytes in this process's memory: at most what the machine has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_memory(
    len: u64,
    out: *mut *mut cmk_backing,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        *out = cmk_backing::handle(Arc::new(MemoryBacking::try_new(len)?));
        Ok(())
    })
}

/// Makes a sparse file of `len` bytes that only its owner may read, and locks it. CMK_ERR_ALREADY_EXISTS: there is something of that name. The file stays when the volume is
/// gone: without its key it is noise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_create_file(
    path: *const c_char,
    len: u64,
    out: *mut *mut cmk_backing,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); path = path(path); => {
        *out = cmk_backing::handle(Arc::new(FileBacking::create(path, len)?));
        Ok(())
    })
}

/// Makes a sparse file of `len` bytes without a name in the file system of a directory: nobody else can open it, and nothing of it is left when the process ends,
/// however it does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_anonymous_file(
    dir: *const c_char,
    len: u64,
    out: *mut *mut cmk_backing,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); dir = path(dir); => {
        *out = cmk_backing::handle(Arc::new(FileBacking::anonymous(dir, len)?));
        Ok(())
    })
}

/// Opens a file or a block device that is there, all of it. `access` is a CMK_ACCESS_... A device is opened past the page cache, and must not be in use. CMK_ERR_BUSY: it is
/// mounted, or another volume has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_open(
    path: *const c_char,
    access: u32,
    out: *mut *mut cmk_backing,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); path = path(path); => {
        let access = match access {
            CMK_ACCESS_READ => Access::ReadOnly,
            CMK_ACCESS_READ_WRITE => Access::ReadWrite,
            other => return Err(invalid(format!("{other} is no CMK_ACCESS_..."))),
        };
        *out = cmk_backing::handle(Arc::from(open_path(path, access)?));
        Ok(())
    })
}

/// Makes a backing of callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_new(
    callbacks: *const cmk_backing_callbacks,
    out: *mut *mut cmk_backing,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); callbacks = structure(callbacks); => {
        let backing = CallbackBacking::new(&callbacks)?;
        let owned = Arc::clone(&backing.userdata);
        *out = cmk_backing::handle(Arc::new(backing));
        owned.own();
        Ok(())
    })
}

/// Its bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_len(backing: *const cmk_backing) -> u64 {
    value!(0; backing = shared(backing); => backing.backing.len())
}

/// Ends a backing. The volume over it goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_backing_free(backing: *mut cmk_backing) {
    free!(backing)
}

struct CallbackBacking {
    userdata: Arc<Owned>,
    name: String,
    len: u64,
    read: unsafe extern "C" fn(*mut c_void, u64, *mut u8, usize) -> i32,
    write: unsafe extern "C" fn(*mut c_void, u64, *const u8, usize) -> i32,
    flush: cmk_backing_flush_callback,
    discard: cmk_backing_discard_callback,
    is_blocking: bool,
}

impl CallbackBacking {
    fn new(callbacks: &cmk_backing_callbacks) -> Outcome<Self> {
        // SAFETY: the header asks the caller of cmk_backing_new that this is NULL or points to a string.
        let name = unsafe { arg::optional_text("name", callbacks.name) }?;
        Ok(Self {
            userdata: Owned::new(callbacks.userdata, callbacks.destroy),
            name: name.unwrap_or("the caller's backing").to_owned(),
            len: callbacks.len,
            read: required("read", callbacks.read)?,
            write: required("write", callbacks.write)?,
            flush: callbacks.flush,
            discard: callbacks.discard,
            is_blocking: match callbacks.blocking {
                0 => false,
                1 => true,
                other => return Err(invalid(format!("blocking is 0 or 1, not {other}"))),
            },
        })
    }

    /// Calls until it isn't interrupted.
    fn ask(&self, call: impl Fn(*mut c_void) -> i32) -> io::Result<()> {
        loop {
            match answer(call(self.userdata.pointer())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Backing for CallbackBacking {
    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        let (out, len) = (data.as_mut_ptr(), data.len());
        // SAFETY: the header asks for callbacks that can be called with these arguments from any thread.
        self.ask(|userdata| unsafe { (self.read)(userdata, offset, out, len) })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        // SAFETY: as above.
        self.ask(|userdata| unsafe { (self.write)(userdata, offset, data.as_ptr(), data.len()) })
    }

    fn flush(&self) -> io::Result<()> {
        match self.flush {
            // SAFETY: as above.
            Some(flush) => self.ask(|userdata| unsafe { flush(userdata) }),
            None => Ok(()),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        let Some(discard) = self.discard else {
            return Ok(Punched::Unsupported);
        };
        // SAFETY: as above.
        match self.ask(|userdata| unsafe { discard(userdata, offset, len) }) {
            Ok(()) => Ok(Punched::Yes),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Punched::Unsupported),
            Err(error) => Err(error),
        }
    }

    fn is_blocking(&self) -> bool {
        self.is_blocking
    }
}
