//! A disk as a file: what a loop device, or any program, opens instead of a device.

mod connection;
mod disk;
mod errno;
mod event_loop;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use cmkit::Result;
use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::mount::UnmountFlags;

use self::disk::Disk;
use crate::device::BlockDevice;
use crate::mount::{Lazily, table};
use crate::origin::Origin;
use crate::program;

/// The name of the only file.
const FILE: &str = "disk";

/// What mount tables call it; a job's has its volume's id behind it.
const SOURCE: &str = "cmkit-scratch";

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
    /// What the mount table calls it.
    source: String,
    origin: Origin,
}

impl FuseMount {
    /// Mounts `device` on the empty directory `dir`.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): `dir` isn't an empty directory.
    /// * [`Error::NotPermitted`](cmkit::Error::NotPermitted): the system has no FUSE, or not for this user.
    /// * [`Error::Io`](cmkit::Error::Io): the system's.
    pub fn start(device: Arc<dyn BlockDevice>, dir: &Path) -> Result<Self> {
        Self::start_as(device, dir, SOURCE.to_owned())
    }

    /// The same, told apart in the mount table from every other that is mounted on that directory.
    pub(crate) fn start_as(
        device: Arc<dyn BlockDevice>,
        dir: &Path,
        source: String,
    ) -> Result<Self> {
        let dir = crate::mount::empty_dir(dir)?;
        let read_only = device.geometry().read_only;
        let (ending, ended) = mpsc::channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let disk = Disk::new(device, Arc::clone(&stopped), ending);
        let connection = connection::mount(&dir, &source, read_only)?;
        let session = Session::from_fd(disk, connection, SessionACL::Owner, config())
            .and_then(Session::spawn)
            .map_err(|error| {
                let _ = take_away(&dir, Lazily::Yes);
                connection::cannot_mount(&dir, error)
            })?;
        Ok(Self {
            session: Some(session),
            ended,
            stopped,
            dir,
            source,
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
    /// * [`Error::Busy`](cmkit::Error::Busy): the file is open; by whom.
    /// * [`Error::Io`](cmkit::Error::Io): the system's.
    pub fn unmount(&mut self, lazily: Lazily) -> Result<()> {
        if self.session.is_none() || !self.origin.is_here() {
            return Ok(());
        }
        let drain = match lazily {
            Lazily::No => DRAIN,
            Lazily::Yes => LAZY_DRAIN,
        };
        if self.is_on_top()? {
            take_away(&self.dir, lazily)?;
        }
        // The session ends with the last open file. It can't be joined without perhaps waiting for ever, so it says itself when it is done.
        let _ = self.ended.recv_timeout(drain);
        self.session = None;
        Ok(())
    }

    /// Ends it for everybody: requests under way fail in the kernel even if the disk never answers them, and so does whatever those ask for who have the file open.
    /// It leaves the mount table, unless that fails. Where only `fusermount3` may unmount, this is [`unmount`](Self::unmount), lazily.
    ///
    /// # Errors
    /// * [`Error::Io`](cmkit::Error::Io): the system's.
    pub(crate) fn abort(&mut self) -> Result<()> {
        self.stop();
        self.cut_off()?;
        self.unmount(Lazily::Yes)
    }

    /// The same, but it stays in the mount table for as long as something is mounted from its file.
    pub(crate) fn cut_off(&self) -> Result<()> {
        if self.session.is_some() && self.origin.is_here() && self.is_on_top()? {
            crate::mount::abort(&self.dir);
        }
        Ok(())
    }

    fn is_on_top(&self) -> Result<bool> {
        let table = table::read()?;
        let on_top = table.on_top(&self.dir);
        Ok(on_top
            .is_some_and(|m| m.kind.starts_with("fuse") && m.source == Path::new(&self.source)))
    }

    /// From now on every request fails with `EIO` and none reaches the disk; those under way end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        let _ = self.unmount(Lazily::Yes);
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

/// What the mount table calls the file of a volume that a job has.
pub(crate) fn source_of(volume: &str) -> String {
    format!("{SOURCE}-{volume}")
}

fn config() -> Config {
    let mut config = Config::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // More than the cores only take turns; with one, a disk that waits would have everybody wait.
    config.n_threads = Some(cores.clamp(2, MAX_THREADS));
    config.clone_fd = true;
    config
}
