//! Mounting what is on a disk, and getting it out of the mount table again.
//!
//! The functions on paths work on what another process left behind as well, and do nothing when there is nothing left to do. What they take away is told
//! by its source too, so that a name that somebody else uses by now is left alone.

pub(crate) mod table;

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use cmkit::{Error, Result};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::failure::io_at;
use crate::file_system::FileSystem;
use crate::origin::Origin;
use crate::usage;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(25);

/// An attempt gets this long even when the deadline has passed.
const SHORTEST: Duration = Duration::from_millis(250);

/// Whether something that is in use may be unmounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lazily {
    /// No: that is an error.
    No,
    /// Yes: it leaves the mount table at once, and goes when its last user does (`MNT_DETACH`).
    Yes,
}

/// A file system from a disk, mounted on a directory with `nosuid`, `nodev` and `noatime`.
///
/// Dropping it unmounts it, lazily if it is in use; in a forked child that does nothing.
#[derive(Debug)]
pub struct Mount {
    device: PathBuf,
    dir: PathBuf,
    origin: Origin,
    /// Unmounted: the next that is mounted there from that device is another.
    gone: bool,
}

impl Mount {
    /// Mounts what [`FileSystem::make`] made on a device, on an empty directory.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: `dir` isn't an empty directory.
    /// * [`Error::NotPermitted`]: needs root.
    /// * [`Error::Busy`]: the device is mounted, or used by something else.
    /// * [`Error::Io`]: the system's: it isn't such a file system, or the disk fails.
    pub fn new(device: &Path, dir: &Path, file_system: FileSystem) -> Result<Self> {
        check_permitted()?;
        let dir = empty_dir(dir)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
        let data: Option<&CStr> = None;
        match rustix::mount::mount(device, &dir, file_system.name(), flags, data) {
            Ok(()) => Ok(Self {
                device: device.to_owned(),
                dir,
                origin: Origin::here(),
                gone: false,
            }),
            Err(Errno::PERM | Errno::ACCESS) => Err(not_permitted("this user may not mount")),
            Err(Errno::BUSY) => Err(Error::Busy {
                problem: format!(
                    "{}: it is mounted already, or something else has it for itself",
                    device.display()
                ),
            }),
            Err(Errno::NODEV) => Err(Error::NotPermitted {
                problem: format!(
                    "the kernel has no file system {0}: load its module (`modprobe {0}`), or choose another",
                    file_system.name()
                ),
            }),
            Err(error) => Err(io_at("mount", device, error.into())),
        }
    }

    /// The directory, as the mount table has it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Unmounts it; see [`unmount_path`].
    ///
    /// # Errors
    /// * Those of [`unmount_path`].
    pub fn unmount(&mut self, deadline: Instant) -> Result<()> {
        if !self.gone && self.origin.is_here() {
            unmount_path(&self.dir, &self.device, deadline)?;
            self.gone = true;
        }
        Ok(())
    }

    /// Takes it out of the mount table; see [`unmount_path_lazily`].
    ///
    /// # Errors
    /// * Those of [`unmount_path_lazily`].
    pub fn unmount_lazily(&mut self) -> Result<()> {
        if !self.gone && self.origin.is_here() {
            unmount_path_lazily(&self.dir, &self.device)?;
            self.gone = true;
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.unmount_lazily();
    }
}

/// Unmounts what is mounted from `source` on `dir`, trying again until `deadline` while it is in use. When nothing from `source` is on top there: nothing.
///
/// `dir` is an absolute path without links, as [`Mount::dir`] gives it. What programs wrote is written to the disk first, which takes its time; that
/// goes on after the deadline, too. An attempt is made, and given a moment, even if the deadline has passed.
///
/// # Errors
/// * [`Error::Busy`]: still in use at the deadline, by whom; or still being written to the disk.
/// * [`Error::NotPermitted`]: needs root.
/// * [`Error::Io`]: the system's.
pub fn unmount_path(dir: &Path, source: &Path, deadline: Instant) -> Result<()> {
    while let Some(mounted) = mounted(dir, source)? {
        let left = deadline.saturating_duration_since(Instant::now());
        match unmount_within(dir, left.max(SHORTEST)) {
            Ok(()) => {}
            Err(Waited::Failed(Errno::BUSY)) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(Waited::Failed(Errno::BUSY)) => {
                let users = usage::of_file_system(mounted.device, dir, &table::read()?);
                return Err(busy(dir, &users));
            }
            Err(Waited::Failed(error)) => failed(dir, error)?,
            Err(Waited::TooLong) => {
                return Err(Error::Busy {
                    problem: format!(
                        "{}: what was written is still on its way to the disk; unmounting goes on by itself",
                        dir.display()
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Takes what is mounted from `source` on `dir` out of the mount table, in use or not; who uses it keeps it until the last file is closed. When nothing from
/// `source` is on top there: nothing.
///
/// If nobody uses it, what programs wrote is written to the disk before this returns: without a deadline, but at once when the disk fails.
///
/// # Errors
/// * [`Error::NotPermitted`]: needs root.
/// * [`Error::Io`]: the system's.
pub fn unmount_path_lazily(dir: &Path, source: &Path) -> Result<()> {
    while mounted(dir, source)?.is_some() {
        let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
        if let Err(error) = rustix::mount::unmount(dir, flags) {
            failed(dir, error)?;
        }
    }
    Ok(())
}

/// Where a source, such as `/dev/loop3`, is mounted.
///
/// # Errors
/// * [`Error::Io`]: the mount table can't be read.
pub fn dirs_of(source: &Path) -> Result<Vec<PathBuf>> {
    let table = table::read()?;
    Ok(table
        .of_source(source)
        .map(|entry| entry.dir.clone())
        .collect())
}

/// Whether this process may make a disk and mount it here: loop devices and mounts need root.
///
/// # Errors
/// * [`Error::NotPermitted`]: not, and what can be done instead.
pub fn check_permitted() -> Result<()> {
    if !may_administrate() {
        return Err(not_permitted("this process isn't root with CAP_SYS_ADMIN"));
    }
    for (device, module) in [("/dev/fuse", "fuse"), ("/dev/loop-control", "loop")] {
        if fs::metadata(device).is_err() {
            return Err(not_permitted(&format!(
                "this system has no {device} (load the kernel's module `{module}`, or give the device to the container)"
            )));
        }
    }
    Ok(())
}

/// Has every request to a FUSE file system fail, now and from now on; it stays where it is if it is in use. Best effort: only root may.
pub(crate) fn abort(dir: &Path) {
    let _ = rustix::mount::unmount(dir, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE);
}

/// Whether what is seen at `dir` is from `source`.
pub(crate) fn is_mounted(dir: &Path, source: &Path) -> Result<bool> {
    Ok(mounted(dir, source)?.is_some())
}

/// One attempt for a file system that is ours in any case.
pub(crate) fn unmount_once(dir: &Path, flags: UnmountFlags) -> Result<()> {
    match rustix::mount::unmount(dir, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => {
            let table = table::read()?;
            let device = table.on_top(dir).map(|entry| entry.device);
            let users = device.map(|device| usage::of_file_system(device, dir, &table));
            Err(busy(dir, &users.unwrap_or_default()))
        }
        Err(error) => failed(dir, error),
    }
}

/// The absolute path without links of an empty directory.
pub(crate) fn empty_dir(dir: &Path) -> Result<PathBuf> {
    let invalid = |what: &str| Error::InvalidArgument {
        problem: format!("{}: {what}", dir.display()),
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            invalid("no such directory: create it, empty, to mount a scratch disk on it")
        }
        io::ErrorKind::NotADirectory => {
            invalid("not a directory: a scratch disk is mounted on an empty one")
        }
        io::ErrorKind::NotConnected => Error::Busy {
            problem: format!(
                "{}: the scratch disk of a process that died is still mounted here: recover it first",
                dir.display()
            ),
        },
        _ => io_at("open", dir, error),
    };
    let path = dir.canonicalize().map_err(failed)?;
    if fs::read_dir(&path).map_err(failed)?.next().is_some() {
        return Err(invalid(
            "the directory isn't empty: what is in it would be out of sight",
        ));
    }
    Ok(path)
}

/// Why an unmount isn't done.
enum Waited {
    Failed(Errno),
    TooLong,
}

/// An unmount that is left alone when it takes too long: it can't be interrupted while the disk is written to.
fn unmount_within(dir: &Path, limit: Duration) -> Result<(), Waited> {
    let (done, is_done) = mpsc::channel();
    let dir = dir.to_owned();
    let attempt = thread::Builder::new()
        .name("unmount".into())
        .spawn(move || {
            let _ = done.send(rustix::mount::unmount(&dir, UnmountFlags::NOFOLLOW));
        });
    if attempt.is_err() {
        return Err(Waited::Failed(Errno::AGAIN));
    }
    match is_done.recv_timeout(limit) {
        Ok(result) => result.map_err(Waited::Failed),
        Err(RecvTimeoutError::Timeout) => Err(Waited::TooLong),
        Err(RecvTimeoutError::Disconnected) => Err(Waited::Failed(Errno::IO)),
    }
}

fn mounted(dir: &Path, source: &Path) -> Result<Option<table::Entry>> {
    let table = table::read()?;
    Ok(table
        .on_top(dir)
        .filter(|entry| entry.source == source)
        .cloned())
}

/// Nothing for what somebody else unmounted in between.
fn failed(dir: &Path, error: Errno) -> Result<()> {
    match error {
        Errno::INVAL | Errno::NOENT => Ok(()),
        Errno::PERM => Err(not_permitted("this user may not unmount")),
        error => Err(io_at("unmount", dir, error.into())),
    }
}

fn busy(dir: &Path, users: &[usage::User]) -> Error {
    Error::Busy {
        problem: format!(
            "{}: in use by {}; end that, or unmount lazily",
            dir.display(),
            usage::list(users)
        ),
    }
}

fn not_permitted(why: &str) -> Error {
    Error::NotPermitted {
        problem: format!(
            "can't mount a scratch disk: {why}; without that, serve it over NBD, or as a file over FUSE"
        ),
    }
}

/// Bit 21 of the effective capabilities, CAP_SYS_ADMIN: a container's root often has it not.
pub(crate) fn may_administrate() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << 21) != 0)
}
