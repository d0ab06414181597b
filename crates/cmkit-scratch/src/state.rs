//! What running jobs hold, written down so that it can be cleaned up after a crash.

mod claim;
mod job;
mod lock;

use std::path::{Path, PathBuf};

use cmkit::Result;

use self::lock::Holder;
use crate::failure::io_at;
use crate::private::{check_dir, check_name, json_names, private_dir, read_json};

pub use self::claim::Claim;
pub use self::job::{BackingPlace, CreatedFile, FileIdentity, JobState, LoopState, Owner};

/// A directory that knows every job with a scratch disk: which are running, and what those held that died.
///
/// For each job there is `jobs/NAME.json`, replaced in one step whenever it changes, and `jobs/NAME.lock`, which its owner has locked for as long
/// as it lives.
///
/// The lock is a POSIX record lock (`fcntl`), not `flock`: it belongs to the process and not to the open file, so it ends with the process even
/// while children live that were forked from it, and it says by whom it is held. The state file can't have it, because each replacement is another
/// file. Such a lock is let go when its process closes any descriptor of that file; so the lock files are opened here only, and a list of what this
/// process has claimed keeps it from opening those.
///
/// It should be on a file system that a restart of the machine empties, such as `/run`; where it isn't,
/// [`Owner::is_of_this_boot`] tells what is of an earlier time.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    jobs: PathBuf,
}

/// Whether a job's owner lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It does, as this process; `None` if it can't be seen from here (another PID namespace).
    Running {
        /// Its process id.
        process: Option<u32>,
    },
    /// It ended without cleaning up.
    Dead,
}

/// A job that is or was running.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobEntry {
    /// The job's name.
    pub job: String,
    /// Whether its owner lives: at that moment. Before anything is done about a dead one, [claim](StateDir::claim) it.
    pub liveness: Liveness,
    /// What it holds; an error that names the file if it can't be read.
    pub state: Result<JobState>,
}

impl StateDir {
    /// Opens the directory, which is made if there is none (mode 0700).
    ///
    /// # Errors
    /// * [`Error::NotPermitted`](cmkit::Error::NotPermitted): it is another user's, a symbolic link, or others may write to it; or it can't be
    ///   made.
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): it isn't a directory.
    /// * [`Error::Io`](cmkit::Error::Io): it can't be looked at or made.
    pub fn open(path: &Path) -> Result<Self> {
        // Names in states and records are of use wherever one is.
        let path = &std::path::absolute(path).map_err(|e| io_at("find", path, e))?;
        private_dir(path)?;
        let jobs = path.join("jobs");
        private_dir(&jobs)?;
        Ok(Self {
            path: path.to_owned(),
            jobs,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the records of erasures are.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.path.join("records")
    }

    /// Makes this process the owner of a job: 1 to 64 of `0-9A-Za-z._-`, the first no dot. What a dead owner left is then in
    /// [`Claim::left_behind`], and is to be cleaned up before anything new is taken.
    ///
    /// # Errors
    /// * [`Error::Busy`](cmkit::Error::Busy): the job runs, in this process or another one, which is named.
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): that is no job's name, or what was left can't be read.
    /// * [`Error::Io`](cmkit::Error::Io): the files can't be made.
    pub fn claim(&self, job: &str) -> Result<Claim> {
        check_name("a job", job)?;
        check_dir(&self.jobs)?;
        Claim::new(&self.jobs, job)
    }

    /// All jobs, by name.
    ///
    /// # Errors
    /// * [`Error::Io`](cmkit::Error::Io): the directory can't be listed, or a lock not asked for.
    pub fn jobs(&self) -> Result<Vec<JobEntry>> {
        let mut entries = Vec::new();
        for job in json_names(&self.jobs)? {
            // First this: one that is released in between has no state any more, and isn't taken for a dead one.
            let holder = lock::holder(&self.jobs, &job)?;
            let state = match read_json(&state_path(&self.jobs, &job)) {
                Ok(Some(state)) => Ok(state),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            let liveness = match holder {
                Holder::None => Liveness::Dead,
                Holder::Process(process) => Liveness::Running { process },
            };
            entries.push(JobEntry {
                job,
                liveness,
                state,
            });
        }
        Ok(entries)
    }
}

fn state_path(jobs: &Path, job: &str) -> PathBuf {
    jobs.join(format!("{job}.json"))
}

#[cfg(test)]
mod tests;
