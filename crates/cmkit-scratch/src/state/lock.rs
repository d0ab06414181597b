//! The locks that say which jobs run.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cmkit::{Error, Result};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::failure::io_at;

/// The locks that this process has: the directory, and the job's name. With the process that put it there, because a forked child has the list and
/// not the locks.
type Key = (u64, u64, String, u32);

/// Held while a lock file is open that this process doesn't own: closing it would let the lock of another thread go that took it meanwhile.
static OWN: Mutex<BTreeSet<Key>> = Mutex::new(BTreeSet::new());

/// Who has a lock.
pub(super) enum Holder {
    None,
    /// `None`: a process that can't be seen from here.
    Process(Option<u32>),
}

/// A job's lock, held. Dropping it leaves the file where it is.
pub(super) struct Lock {
    /// Always there until the drop.
    file: Option<File>,
    path: PathBuf,
    key: Key,
}

impl Lock {
    /// Takes a job's lock, without waiting.
    pub(super) fn take(jobs: &Path, job: &str) -> Result<Self> {
        let path = lock_path(jobs, job);
        let key = key(jobs, job)?;
        let mut own = own();
        if own.contains(&key) {
            return Err(busy(job, Some(key.3)));
        }
        loop {
            let file = open(&path, OpenOptions::new().create(true))?;
            match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => match asked(&file, &path)? {
                    Holder::Process(process) => return Err(busy(job, process)),
                    // Let go in between.
                    Holder::None => continue,
                },
                Err(e) => return Err(io_at("lock", &path, e.into())),
            }
            // Its last owner may have removed it after it was opened here.
            if is_at(&file, &path) {
                own.insert(key.clone());
                return Ok(Self {
                    file: Some(file),
                    path,
                    key,
                });
            }
        }
    }

    /// Removes the file as well.
    pub(super) fn remove(self) -> Result<()> {
        let removed = fs::remove_file(&self.path);
        removed.map_err(|e| io_at("remove", &self.path, e))
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        self.file.as_ref().unwrap()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.key.3 == std::process::id() {
            let mut own = own();
            // Closed before another thread may take it: its own closing would let that one's lock go.
            drop(self.file.take());
            own.remove(&self.key);
        }
        // A forked child closes its descriptor and nothing else: it never had the lock.
    }
}

/// Who has a job's lock.
pub(super) fn holder(jobs: &Path, job: &str) -> Result<Holder> {
    let path = lock_path(jobs, job);
    let key = key(jobs, job)?;
    let own = own();
    if own.contains(&key) {
        return Ok(Holder::Process(Some(key.3)));
    }
    match open(&path, &mut OpenOptions::new()) {
        Ok(file) => asked(&file, &path),
        Err(e) if e.io().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => Ok(Holder::None),
        Err(e) => Err(e),
    }
}

fn own() -> MutexGuard<'static, BTreeSet<Key>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(jobs: &Path, job: &str) -> Result<Key> {
    let metadata = fs::metadata(jobs);
    let metadata = metadata.map_err(|e| io_at("look at", jobs, e))?;
    let process = std::process::id();
    Ok((metadata.dev(), metadata.ino(), job.to_owned(), process))
}

fn lock_path(jobs: &Path, job: &str) -> PathBuf {
    jobs.join(format!("{job}.lock"))
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    // An exclusive lock needs a descriptor that may write.
    options.read(true).write(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let opened = options.open(path);
    opened.map_err(|e| io_at("open", path, e))
}

fn asked(file: &File, path: &Path) -> Result<Holder> {
    let found = fcntl_getlk(file, &Flock::from(FlockType::WriteLock));
    let found = found.map_err(|e| io_at("ask for the lock of", path, e.into()))?;
    Ok(match found {
        None => Holder::None,
        Some(lock) => {
            let process = lock.pid.map(|p| p.as_raw_nonzero().get());
            Holder::Process(process.and_then(|p| u32::try_from(p).ok()))
        }
    })
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn busy(job: &str, process: Option<u32>) -> Error {
    let who = match process {
        Some(process) => format!("in process {process}"),
        None => "in a process that can't be seen from here".to_owned(),
    };
    Error::Busy {
        problem: format!("job {job} runs already, {who}; end it first, or use another name"),
    }
}
