//! A job's scratch disk from begin to end: made, exposed, erased, and written down.

mod begin;
mod end;
mod files;
mod front;
mod recover;
mod spec;
mod steps;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cmkit::Result;

use self::front::Front;
pub use self::recover::{Recovered, recover};
pub use self::spec::{Expose, JobSpec, Occupied, Place};
use crate::origin::Origin;
use crate::record::ErasureRecord;
use crate::state::{Claim, JobState, StateDir};
use crate::volume::Volume;

/// A scratch disk that a job has, until [`end`](Self::end).
///
/// Dropped without an end, also by a panic, its key is destroyed at once and everything else is cleaned up as far as that goes. When the process dies the key is gone
/// with it, and [`recover`] cleans up the rest. In a forked child nothing of that happens: a child never ends its parent's job.
///
/// ```
/// use std::time::Duration;
/// use cmkit_scratch::{BlockDevice, Durability, Expose, JobScratch, JobSpec, StateDir};
///
/// # let dir = tempfile::tempdir()?;
/// # let (run, disks) = (dir.path().join("run"), dir.path());
/// let state = StateDir::open(&run)?;
/// let spec = JobSpec::new(64 << 20).in_dir(disks);
/// let job = JobScratch::begin(&state, "job-17", &spec, &Expose::Nothing)?;
/// job.volume().write_at(b"intermediate results", 0, Durability::Cached)?;
/// let record = job.end(Duration::from_secs(10))?;
/// assert!(record.left_behind.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JobScratch {
    volume: Arc<Volume>,
    front: Front,
    /// `None` once it has ended.
    claim: Option<Claim>,
    state: JobState,
    records: PathBuf,
    origin: Origin,
}

impl JobScratch {
    /// Makes a disk for a job and exposes it. What an owner of the same name that died has left is cleaned up first.
    ///
    /// Everything is written down in `state` before it is taken, and undone again if this fails.
    ///
    /// # Errors
    /// * [`Error::Busy`](cmkit::Error::Busy): a job of that name runs, or died and something that it left is still in use; the device is mounted or in use.
    /// * [`Error::AlreadyExists`](cmkit::Error::AlreadyExists): something is on the device; the file exists.
    /// * [`Error::NotPermitted`](cmkit::Error::NotPermitted): mounting needs root.
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): a size or name that can't be.
    /// * Those of [`Volume::create`], [`FileSystem::make`](crate::FileSystem::make) and [`NbdServerBuilder::start`](crate::NbdServerBuilder::start).
    pub fn begin(state: &StateDir, job: &str, spec: &JobSpec, expose: &Expose) -> Result<Self> {
        begin::begin(state, job, spec, expose)
    }

    /// Exposes a volume that stays when the job ends, such as one of [`Volume::open`]: its file system is mounted as it is, nothing is given back, and the
    /// end is no erasure. `path` is where its ciphertext is.
    ///
    /// # Errors
    /// * Those of [`begin`](Self::begin).
    pub fn begin_kept(
        state: &StateDir,
        job: &str,
        volume: Volume,
        path: &Path,
        expose: &Expose,
    ) -> Result<Self> {
        begin::begin_kept(state, job, volume, path, expose)
    }

    /// The job's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.job
    }

    /// The disk itself, for use in this process.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Where it is: the mounted directory, the NBD server's socket, or the file; `None` if it isn't exposed.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.front.path()
    }

    /// What was written down of it.
    #[must_use]
    pub fn state(&self) -> &JobState {
        &self.state
    }

    /// Erases the disk: waits for users of a mount until the deadline, then **destroys the key, whatever happened before**, takes down what exposed it, gives the
    /// room back, and writes an [`ErasureRecord`] into the state directory's `records`.
    ///
    /// What couldn't be taken away is in the record, a sentence each: it is unreadable all the same.
    ///
    /// Of a job of [`begin_kept`](Self::begin_kept) everything written reaches the volume first, nothing is erased, and the record, which has no time of the key's
    /// destruction, is only returned.
    ///
    /// # Errors
    /// * [`Error::InvalidState`](cmkit::Error::InvalidState): a forked child's; nothing was done.
    /// * [`Error::Io`](cmkit::Error::Io): the record can't be written. The key is destroyed, and everything was tried; [`recover`] writes the record later.
    pub fn end(mut self, deadline: Duration) -> Result<ErasureRecord> {
        self.finish(deadline, "ended")
    }

    /// The same, with words for the record on how the job ended.
    ///
    /// # Errors
    /// * Those of [`end`](Self::end).
    pub fn end_with(mut self, deadline: Duration, how: &str) -> Result<ErasureRecord> {
        self.finish(deadline, how)
    }
}

impl Drop for JobScratch {
    fn drop(&mut self) {
        if self.claim.is_some() && self.origin.is_here() {
            // First of all, and whatever comes next.
            if !self.state.is_kept() {
                self.volume.destroy();
            }
            let _ = self.finish(Duration::ZERO, "dropped without an end");
        }
    }
}

impl fmt::Debug for JobScratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobScratch")
            .field("job", &self.state.job)
            .field("volume", &self.volume)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
