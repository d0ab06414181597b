//! A disk as a file: what a loop device, or any program, opens instead of a device.

mod disk;
mod errno;
mod event_loop;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use cmkit::{Error, Result};
use fuser::{BackgroundSession, Config, MountOption, Session};
use rustix::mount::UnmountFlags;

use self::disk::Disk;
use crate::device::BlockDevice;
use crate::failure::io_at;
use crate::mount::{Lazily, table};
use crate::origin::Origin;
use crate::program;

/// The name of the only file.
const FILE: &str = "disk";

/// What mount tables call it.
pub(crate) const SOURCE: &str = "cmkit-scratch";

/// Event loops; each has a buffer of 16 MiB of its own.
const MAX_THREADS: usize = 4;

/// How long [`FuseMount::unmount`] waits for the requests that are under way.
const DRAIN: Duration = Duration::from_secs(5);

/// The same while others have the file open, whose requests never end.
const LAZY_DRAIN: Duration = Duration::from_millis(250);

/// A mounted file system with one file, `disk`, whose bytes are a disk's.
///
/// The file's size is fixed, its mode is 0600, and nobody but the user who mounted it may look at the file system: not even root, unless that is who did.
/// Nothing of the file stays in the system's page cache, so what can be read is always what the disk says. A disk whose backing failed or whose key is gone
/// gives `EIO`; one without room below `ENOSPC`.
///
/// Root mounts directly, others through `fusermount3` (Debian's package `fuse3`). When the process dies the file system stays in the mount table, every access
/// gives `ENOTCONN`, and [`unmount_path`](crate::mount::unmount_path) takes it away. Dropping it unmounts it lazily; in a forked child that does nothing.
pub struct FuseMount {
    session: Option<BackgroundSession>,
    ended: Receiver<()>,
    stopped: Arc<AtomicBool>,
    dir: PathBuf,
    origin: Origin,
}

impl FuseMount {
    /// Mounts `device` on the empty directory `dir`.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: `dir` isn't an empty directory.
    /// * [`Error::NotPermitted`]: the system has no FUSE, or not for this user.
    /// * [`Error::Io`]: the system's.
    pub fn start(device: Arc<dyn BlockDevice>, dir: &Path) -> Result<Self> {
        let dir = crate::mount::empty_dir(dir)?;
        let read_only = device.geometry().read_only;
        let (ending, ended) = mpsc::channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let disk = Disk::new(device, Arc::clone(&stopped), ending);
        let session = Session::new(disk, &dir, &config(read_only))
            .and_then(Session::spawn)
            .map_err(|error| cannot_mount(&dir, error))?;
        Ok(Self {
            session: Some(session),
            ended,
            stopped,
            dir,
            origin: Origin::here(),
        })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// The directory that it is mounted on.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Unmounts it. With [`Lazily::No`] nobody may have the file open; with [`Lazily::Yes`] it leaves the mount table at once, and those who have the
    /// file open keep it until they close it. Waits up to 5 s, lazily a quarter of a second, for requests that are under way. Again, or when somebody else did it: nothing.
    ///
    /// # Errors
    /// * [`Error::Busy`]: the file is open; by whom.
    /// * [`Error::Io`]: the system's.
    pub fn unmount(&mut self, lazily: Lazily) -> Result<()> {
        if self.session.is_none() || !self.origin.is_here() {
            return Ok(());
        }
        let drain = match lazily {
            Lazily::No => DRAIN,
            Lazily::Yes => LAZY_DRAIN,
        };
        if table::read()?.on_top(&self.dir).is_some_and(is_ours) {
            take_away(&self.dir, lazily)?;
        }
        if let Some(session) = self.session.take() {
            // The session ends with the last open file. It can't be joined without perhaps waiting for ever, so it says itself when it is done.
            let _ = self.ended.recv_timeout(drain);
            drop(session);
        }
        Ok(())
    }

    /// From now on every request fails with `EIO` and none reaches the disk; those under way end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        if self.origin.is_here() {
            let _ = self.unmount(Lazily::Yes);
        } else {
            // It would unmount what the parent still uses.
            std::mem::forget(self.session.take());
        }
    }
}

/// Root unmounts itself, others through the program that mounted for them.
fn take_away(dir: &Path, lazily: Lazily) -> Result<()> {
    if !crate::mount::may_administrate() {
        let option = match lazily {
            Lazily::No => "-u",
            Lazily::Yes => "-uz",
        };
        let args = [Path::new(option), Path::new("--"), dir];
        return program::run("fusermount3", &args, dir).map(|_| ());
    }
    let flags = match lazily {
        Lazily::No => UnmountFlags::NOFOLLOW,
        Lazily::Yes => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    crate::mount::unmount_once(dir, flags)
}

fn is_ours(mount: &table::Entry) -> bool {
    mount.kind.starts_with("fuse") && mount.source == Path::new(SOURCE)
}

fn config(read_only: bool) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(SOURCE.into()),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
        MountOption::NoAtime,
    ];
    if read_only {
        config.mount_options.push(MountOption::RO);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // More than the cores only take turns; with one, a disk that waits would have everybody wait.
    config.n_threads = Some(cores.clamp(2, MAX_THREADS));
    config.clone_fd = true;
    config
}

/// A sentence for what fuser says: the system's error or, without a number, what `fusermount3` said.
fn cannot_mount(dir: &Path, error: io::Error) -> Error {
    let why = if fs::metadata("/dev/fuse").is_err() {
        "this system has no /dev/fuse (load the kernel's module `fuse`, or give the device to the container)".into()
    } else if error.raw_os_error().is_none() || error.kind() == io::ErrorKind::PermissionDenied {
        format!("this user may not use FUSE (be root, or install Debian's package fuse3): {error}")
    } else {
        return io_at("mount", dir, error);
    };
    Error::NotPermitted {
        problem: format!(
            "{}: can't mount a disk's file: {why}; or serve the disk over NBD, which needs neither",
            dir.display()
        ),
    }
}
