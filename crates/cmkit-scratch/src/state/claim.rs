//! Owning a job.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cmkit::{Error, Result};

use super::job::JobState;
use super::lock::Lock;
use super::state_path;
use crate::failure::io_at;
use crate::origin::Origin;
use crate::private::{read_json, write_json};

/// That this process owns a job, until it is released or dropped.
///
/// [`release`](Self::release) removes the job. Dropped without it, or when the process dies, the job stays as a [dead](super::Liveness::Dead) one
/// with what was saved last, for somebody to clean up.
pub struct Claim {
    lock: Lock,
    jobs: PathBuf,
    job: String,
    left_behind: Option<JobState>,
    origin: Origin,
}

impl Claim {
    pub(super) fn new(jobs: &Path, job: &str) -> Result<Self> {
        let lock = Lock::take(jobs, job)?;
        remove_temporary(jobs, job);
        Ok(Self {
            lock,
            jobs: jobs.to_owned(),
            job: job.to_owned(),
            left_behind: read_json(&state_path(jobs, job))?,
            origin: Origin::here(),
        })
    }

    /// The job's name.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// What an owner that died held, when this job was claimed.
    #[must_use]
    pub fn left_behind(&self) -> Option<&JobState> {
        self.left_behind.as_ref()
    }

    /// Writes down what the job holds or is about to take: each thing before it is taken, so that recovery never misses one, and may find one that
    /// was never made. It is on the disk when this returns; a crash leaves the old state or the new one.
    ///
    /// # Errors
    /// * [`Error::InvalidState`]: this process was forked from the owner.
    /// * [`Error::InvalidArgument`]: it is another job's state, or a path in it isn't UTF-8.
    /// * [`Error::Io`]: it can't be written; nothing new may be taken then.
    pub fn save(&self, state: &JobState) -> Result<()> {
        self.check_process()?;
        if state.job != self.job {
            return Err(Error::InvalidArgument {
                problem: format!(
                    "the state of job {} can't be saved for job {}",
                    state.job, self.job
                ),
            });
        }
        write_json(&state_path(&self.jobs, &self.job), state)
    }

    /// Removes the job: it holds nothing any more.
    ///
    /// # Errors
    /// * [`Error::InvalidState`]: this process was forked from the owner.
    /// * [`Error::Io`]: its files can't be removed; it stays as a dead job.
    pub fn release(self) -> Result<()> {
        self.check_process()?;
        let path = state_path(&self.jobs, &self.job);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_at("remove", &path, e));
            }
            _ => {}
        }
        // Last: a lock without a state is no job.
        self.lock.remove()
    }

    fn check_process(&self) -> Result<()> {
        if self.origin.is_here() {
            return Ok(());
        }
        Err(Error::InvalidState {
            problem: "this job belongs to the process that this one was forked from, and only that one may change it",
        })
    }

    #[cfg(test)]
    pub(super) fn lock_file(&self) -> &fs::File {
        self.lock.file()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.job).finish()
    }
}

/// Removes what a process left that was killed while it saved: `.JOB.json.RANDOM.cmk-tmp`. It does no harm, and is tried only.
fn remove_temporary(jobs: &Path, job: &str) {
    let prefix = format!(".{job}.json.");
    for entry in fs::read_dir(jobs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name
            .to_str()
            .and_then(|n| n.strip_prefix(&prefix))
            .and_then(|n| n.strip_suffix(".cmk-tmp"));
        // Not that of a job whose name goes on with `.json.`.
        if random.is_some_and(|r| r.len() == 16 && r.bytes().all(|b| b.is_ascii_hexdigit())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
