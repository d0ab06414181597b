//! A job's scratch disk, from begin to end.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use cmkit_scratch::{Expose, FileSystem, JobScratch, JobSpec, Occupied, Place, StateDir};

use super::record::cmk_erasure_record;
use super::volume::{cmk_volume, cmk_volume_options, spec};
use crate::arg::{self, Handle, OneAtATime};
use crate::call::{Outcome, invalid, wrong_state};
use crate::error::{c_string, cmk_error, pointer};
use crate::result::cmk_result;
use crate::structure::Structure;

/// A file without a name in a directory: sparse, and nothing of it is left when the process ends, however that happens.
pub const CMK_PLACE_DIR: u32 = 0;
/// A new file of this name, which is removed at the end. Sparse.
pub const CMK_PLACE_FILE: u32 = 1;
/// All of a block device.
pub const CMK_PLACE_DEVICE: u32 = 2;
/// This process's memory, all of it taken at once.
pub const CMK_PLACE_MEMORY: u32 = 3;

/// Not at all: it is used in this process, with cmk_scratch_volume.
pub const CMK_EXPOSE_NOTHING: u32 = 0;
/// As an NBD export on a Unix socket.
pub const CMK_EXPOSE_NBD: u32 = 1;
/// As a file over FUSE, `disk` in a directory.
pub const CMK_EXPOSE_FILE: u32 = 2;
/// As a mounted file system. Needs root.
pub const CMK_EXPOSE_MOUNT: u32 = 3;

/// ext4 without a journal.
pub const CMK_FILE_SYSTEM_EXT4: u32 = 0;
/// XFS, at least 300 MiB.
pub const CMK_FILE_SYSTEM_XFS: u32 = 1;

/// What a job's disk is to be. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_scratch_options {
    /// sizeof(cmk_scratch_options).
    pub struct_size: usize,
    /// A directory that knows every job with a scratch disk, for cmk_scratch_recover; made if it is missing (mode 0700). On a file system that a restart empties, such as /run/....
    pub state_dir: *const c_char,
    /// The job's name: 1 to 64 of 0-9A-Za-z._-, the first no dot.
    pub job: *const c_char,
    /// Bytes. 0: all of a device; of the others an error.
    pub size: u64,
    /// A CMK_PLACE_...: what the ciphertext is on.
    pub place: u32,
    /// A CMK_EXPOSE_...: how the job sees its disk.
    pub expose: u32,
    /// The directory, the file or the device; NULL for memory. NULL for a directory: the system's for temporary files.
    pub place_path: *const c_char,
    /// The socket; or an empty directory for the file or the mount, where NULL is one in the state directory. NULL for CMK_EXPOSE_NOTHING.
    pub expose_path: *const c_char,
    /// How it is encrypted, or NULL: as in cmk_volume_create.
    pub volume: *const cmk_volume_options,
    /// 1: a device is taken also if something is on it, which is lost. 0: then it is CMK_ERR_ALREADY_EXISTS. A device in use is refused even so.
    pub overwrite: u32,
    /// A CMK_FILE_SYSTEM_..., for a mount.
    pub file_system: u32,
    /// The user that the root directory of a mount belongs to.
    pub owner_uid: u32,
    /// And its group.
    pub owner_gid: u32,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL and 0.
unsafe impl Structure for cmk_scratch_options {
    const MIN_SIZE: usize = size_of::<Self>();
}

impl cmk_scratch_options {
    fn place(&self) -> Outcome<Place> {
        // SAFETY: the header asks the caller of cmk_scratch_begin that this is NULL or points to a string.
        let path = unsafe { arg::optional_path("place_path", self.place_path) }?;
        if self.overwrite > 1 || (self.overwrite == 1 && self.place != CMK_PLACE_DEVICE) {
            return Err(invalid("overwrite is 0, or 1 for a device"));
        }
        let needed = || {
            path.map(PathBuf::from)
                .ok_or_else(|| invalid("place_path is NULL"))
        };
        Ok(match self.place {
            CMK_PLACE_DIR => Place::Dir(path.map_or_else(std::env::temp_dir, PathBuf::from)),
            CMK_PLACE_FILE => Place::File(needed()?),
            CMK_PLACE_DEVICE if self.overwrite == 1 => {
                Place::Device(needed()?, Occupied::Overwrite)
            }
            CMK_PLACE_DEVICE => Place::Device(needed()?, Occupied::Refuse),
            CMK_PLACE_MEMORY if path.is_some() => {
                return Err(invalid("a disk in memory has no place_path"));
            }
            CMK_PLACE_MEMORY => Place::Memory,
            other => return Err(invalid(format!("{other} is no CMK_PLACE_..."))),
        })
    }

    fn spec(&self) -> Outcome<JobSpec> {
        // SAFETY: the header asks the caller of cmk_scratch_begin that this is NULL or points to options.
        let volume = unsafe { arg::optional_structure("volume", self.volume) }?;
        let made = match (self.place()?, self.size) {
            (Place::Device(path, occupied), 0) => JobSpec::on_device(path, occupied),
            (_, 0) => return Err(invalid("size is 0, which only a device can have")),
            (place, size) => JobSpec::new(size).at(place),
        };
        Ok(made.volume(spec(volume)?))
    }

    fn expose(&self) -> Outcome<Expose> {
        // SAFETY: the header asks the caller of cmk_scratch_begin that this is NULL or points to a string.
        let path = unsafe { arg::optional_path("expose_path", self.expose_path) }?;
        let path = path.map(PathBuf::from);
        let owner = (self.owner_uid, self.owner_gid);
        if self.expose != CMK_EXPOSE_MOUNT && (self.file_system != 0 || owner != (0, 0)) {
            return Err(invalid(
                "file_system and owner are for CMK_EXPOSE_MOUNT, and 0 otherwise",
            ));
        }
        Ok(match (self.expose, path) {
            (CMK_EXPOSE_NOTHING, None) => Expose::Nothing,
            (CMK_EXPOSE_NOTHING, Some(_)) => {
                return Err(invalid("a disk that isn't exposed has no expose_path"));
            }
            (CMK_EXPOSE_NBD, Some(socket)) => Expose::Nbd(socket),
            (CMK_EXPOSE_NBD, None) => return Err(invalid("expose_path is NULL: no socket")),
            (CMK_EXPOSE_FILE, dir) => Expose::File(dir),
            (CMK_EXPOSE_MOUNT, dir) => Expose::Mount {
                dir,
                file_system: match self.file_system {
                    CMK_FILE_SYSTEM_EXT4 => FileSystem::Ext4,
                    CMK_FILE_SYSTEM_XFS => FileSystem::Xfs,
                    other => return Err(invalid(format!("{other} is no CMK_FILE_SYSTEM_..."))),
                },
                owner: (owner != (0, 0)).then_some(owner),
            },
            (other, _) => return Err(invalid(format!("{other} is no CMK_EXPOSE_..."))),
        })
    }
}

/// A job's scratch disk: encrypted, exposed, and written down so that nothing of it is left behind when this process dies. It belongs to one thread at a time, and to the process that
/// made it: in a forked child cmk_scratch_end and _volume are CMK_ERR_INVALID_STATE, and cmk_scratch_free leaves the parent's mount, socket and files alone.
pub struct cmk_scratch {
    /// `None` once it has ended.
    job: OneAtATime<Option<JobScratch>>,
    path: Option<CString>,
    process: u32,
}

impl Handle for cmk_scratch {
    fn in_use(&self) -> bool {
        self.job.in_use()
    }
}

impl cmk_scratch {
    fn is_foreign(&self) -> bool {
        std::process::id() != self.process
    }

    /// Asked before anything that takes a lock: a thread that isn't here may have had it at the fork.
    fn check_process(&self) -> Outcome {
        if self.is_foreign() {
            return Err(wrong_state(
                "this job belongs to the process that forked this one, and only that one ends it",
            ));
        }
        Ok(())
    }
}

fn ended() -> crate::call::Fault {
    wrong_state("this job has ended already")
}

/// Makes a disk for a job and exposes it. What an owner of the same name that died has left is cleaned up first. Everything is written down in the state directory before it is
/// taken, and undone again if this fails.
///
/// CMK_ERR_BUSY: a job of that name runs, or the device is in use. CMK_ERR_ALREADY_EXISTS: something is on the device, or the file exists. CMK_ERR_ACCESS_DENIED: mounting needs root; no
/// FUSE; the state directory is another's. Else as cmk_volume_create and cmk_nbd_server_start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_scratch_begin(
    options: *const cmk_scratch_options,
    out: *mut *mut cmk_scratch,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); options = structure(options); => {
        // SAFETY: the header asks the caller that these are strings.
        let (state, job) = unsafe { (arg::path("state_dir", options.state_dir)?, arg::text("job", options.job)?) };
        let (spec, expose) = (options.spec()?, options.expose()?);
        let job = JobScratch::begin(&StateDir::open(state)?, job, &spec, &expose)?;
        *out = Box::into_raw(Box::new(cmk_scratch {
            path: job.path().map(|path| c_string(path.as_os_str().as_bytes())),
            job: OneAtATime::new(Some(job)),
            process: std::process::id(),
        }));
        Ok(())
    })
}

/// Where the job finds its disk: the mounted directory, the NBD server's socket, or the file; NULL if it isn't exposed. Lives as long as the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_scratch_path(scratch: *const cmk_scratch) -> *const c_char {
    value!(ptr::null(); scratch = shared(scratch); => pointer(scratch.path.as_deref()))
}

/// Another handle to the disk itself, for reading and writing in this process, for statistics, and for cmk_volume_destroy from any thread while the job ends. It is to be freed; that
/// ends nothing, but a device or a file's room is taken until then. cmk_volume_reset refuses it.
///
/// Whoever writes under a mounted file system destroys it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_scratch_volume(
    scratch: *const cmk_scratch,
    out: *mut *mut cmk_volume,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); scratch = shared(scratch); => {
        scratch.check_process()?;
        let job = scratch.job.enter()?;
        *out = cmk_volume::of_job(job.as_ref().ok_or_else(ended)?.volume());
        Ok(())
    })
}

/// Erases the disk: waits for users of a mount until the deadline, then destroys the key, whatever happened before, takes down what exposed it, gives the room back, and writes an
/// erasure record into the state directory's `records`. The handle has to be freed all the same.
///
/// `how` are words for the record on how the job ended, or NULL. *record, which may be NULL, is to be freed: what couldn't be taken away is in it, unreadable all the same.
///
/// CMK_ERR_INVALID_STATE: it has ended, or is a forked child's; nothing was done. CMK_ERR_IO: the record can't be written; the key is destroyed, and everything was tried.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_scratch_end(
    scratch: *const cmk_scratch,
    deadline_ms: u64,
    how: *const c_char,
    record: *mut *mut cmk_erasure_record,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; record = optional_out(record, ptr::null_mut()); scratch = shared(scratch); how = optional_text(how); => {
        scratch.check_process()?;
        let job = scratch.job.enter()?.take().ok_or_else(ended)?;
        let made = job.end_with(Duration::from_millis(deadline_ms), how.unwrap_or("ended"))?;
        if let Some(record) = record {
            *record = Box::into_raw(Box::new(cmk_erasure_record::of(&made)));
        }
        Ok(())
    })
}

/// Ends the handle. Without cmk_scratch_end before, the key is destroyed at once, nobody is waited for, and the rest is cleaned up as far as that goes. In a forked child nothing outside of
/// its memory changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_scratch_free(scratch: *mut cmk_scratch) {
    free!(scratch)
}
