//! What comes before each job, and what comes after.

use std::path::PathBuf;
use std::time::Duration;

use cmkit::{Error, ErrorKind};
use cmkit_scratch::{
    BackingPlace, ErasureRecord, Expose, JobScratch, MemoryPolicy, StateDir, protect_process,
};

use super::disk::{Disk, Keys};
use super::tell::{self, discreet, failure};
use super::{recover, state};
use crate::args::{self, LockMemory};
use crate::discreet::is_discreet;
use crate::failure::{Doing, Failure, Result, say};

/// Where and how a job is to be held.
pub(super) struct Setup {
    pub(super) state: StateDir,
    pub(super) name: String,
    grace: Duration,
    record: Option<PathBuf>,
    pub(super) quiet: bool,
}

impl Setup {
    /// Protects the process, and cleans up after jobs that died: before there is any key.
    pub(super) fn new(args: args::Job, kind: &str) -> Result<Self> {
        let memory = match args.lock_memory {
            LockMemory::Required => MemoryPolicy::Required,
            LockMemory::BestEffort => MemoryPolicy::BestEffort,
            LockMemory::Off => MemoryPolicy::Off,
        };
        let protection =
            protect_process(memory, MemoryPolicy::BestEffort).map_err(|e| failure(&e))?;
        if !args.quiet {
            protection.warnings.iter().for_each(|warning| say(warning));
        }
        let state = state::open(&args.state)?;
        recover::quietly(&state, args.quiet);
        Ok(Self {
            state,
            name: args.job.unwrap_or_else(|| own_name(kind)),
            grace: args.grace,
            record: args.record,
            quiet: args.quiet,
        })
    }

    /// Makes the disk and exposes it.
    pub(super) fn begin(&self, disk: &Disk, expose: &Expose) -> Result<JobScratch> {
        let job = JobScratch::begin(&self.state, &self.name, &disk.spec, expose)
            .map_err(|e| self.cannot_begin(&e, &disk.keys))?;
        self.warn_of(&job);
        Ok(job)
    }

    /// What a disk's size brings with it.
    pub(super) fn warn_of(&self, job: &JobScratch) {
        if let Some(warning) = job.volume().warning().filter(|_| !self.quiet) {
            say(warning);
        }
    }

    pub(super) fn cannot_begin(&self, error: &Error, keys: &Keys) -> Failure {
        // Of what is found on a device or in a file the sentence says where; `--force` is for nothing else.
        if let (Error::AlreadyExists { what }, false) = (error.root(), is_discreet())
            && what.contains(" on /")
        {
            return failure(error).saying(&format!(
                "{what}: there is something already; if it may be lost, add `--force`"
            ));
        }
        let failure = discreet(error, keys.keyrings.failure(error, Doing::Encrypt));
        match error.kind() {
            ErrorKind::Provider | ErrorKind::Unavailable => failure.and("no disk was made"),
            _ => failure,
        }
    }

    /// Ends the job, and tells what became of it.
    pub(super) fn end(&self, job: JobScratch, how: &str) -> Result {
        let trouble = match job.state().backing {
            BackingPlace::Kept { .. } => "what was written last may not be on the volume",
            _ => "the disk's key is destroyed, and that couldn't be written down",
        };
        let record = job.end_with(self.grace, how);
        let record = record.map_err(|e| failure(&e).and(trouble))?;
        self.tell(&record)
    }

    fn tell(&self, record: &ErasureRecord) -> Result {
        tell::erased(record, self.record.as_deref(), self.quiet)
    }
}

/// A name that no other job on this machine has.
fn own_name(kind: &str) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    format!("{kind}-{}-{}", now.as_secs(), std::process::id())
}

/// A signal that came while the disk was made: it is gone again.
pub(super) fn stopped_early(signal: i32) -> Failure {
    Failure::signal(usize::try_from(signal).unwrap_or_default())
        .saying("stopped before the disk was ready; nothing was kept")
}
