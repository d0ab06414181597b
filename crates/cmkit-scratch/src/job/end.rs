//! Erasing a job's disk.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cmkit::{Error, Result};

use super::JobScratch;
use super::front::Front;
use crate::backing::Punched;
use crate::device::BlockDevice as _;
use crate::record::{Discard, ErasureRecord};
use crate::state::{Claim, JobState};
use crate::time::UtcTime;
use crate::volume::Volume;

/// Where erasure records go, in the state directory.
pub(crate) const RECORDS: &str = "records";

/// How long giving room back may take. The ciphertext that would be left is nobody's any more.
const DISCARD: Duration = Duration::from_secs(30);

impl JobScratch {
    pub(super) fn finish(&mut self, deadline: Duration, how: &str) -> Result<ErasureRecord> {
        if !self.origin.is_here() {
            return Err(Error::InvalidState {
                problem: "this job belongs to the process that this one was forked from, and only that one ends it",
            });
        }
        let Some(claim) = self.claim.take() else {
            return Err(Error::InvalidState {
                problem: "this job has ended already",
            });
        };
        let mut front = std::mem::replace(&mut self.front, Front::Nothing);
        let now = Instant::now();
        let busy = front.quiesce(now.checked_add(deadline).unwrap_or(now));
        let mut record = record_of(&self.state);
        if self.state.is_kept() {
            return self.close(front, busy, record, claim, how);
        }
        self.volume.destroy();

        record.key_destroyed = Some(UtcTime::now());
        record.bytes_written = self.volume.stats().bytes_written;
        record.end = match busy {
            None => how.to_owned(),
            Some(busy) => format!("{how}; its key was destroyed while it was in use: {busy}"),
        };
        record.left_behind = front.take_down();
        record.discard = discard(&self.volume);
        record.left_behind.extend(remove_created(&self.state));
        record.ended = Some(UtcTime::now());
        let saved = record.save(&self.records);
        // Also without a record: nothing is left that recovery could do better, but what it is told here.
        if record.left_behind.is_empty() {
            claim.release()?;
        }
        saved?;
        Ok(record)
    }
}

impl JobScratch {
    /// The end of a job whose volume stays: what was written reaches it.
    fn close(
        &self,
        mut front: Front,
        busy: Option<String>,
        mut record: ErasureRecord,
        claim: Claim,
        how: &str,
    ) -> Result<ErasureRecord> {
        record.end = how.to_owned();
        if let Some(busy) = busy {
            front.sync();
            record.end = format!("{how}; it was taken away while it was in use: {busy}");
        }
        record.left_behind = front.take_down();
        let flushed = self.volume.flush();
        record.bytes_written = self.volume.stats().bytes_written;
        self.volume.destroy();
        record.left_behind.extend(remove_created(&self.state));
        record.ended = Some(UtcTime::now());
        if record.left_behind.is_empty() {
            claim.release()?;
        }
        flushed?;
        Ok(record)
    }
}

/// What is known of a disk by its state alone.
pub(super) fn record_of(state: &JobState) -> ErasureRecord {
    // One that died before it had a volume.
    let volume = if state.volume.is_empty() {
        format!("{}-{}", state.job, state.created.unix())
    } else {
        state.volume.clone()
    };
    // A job's name may have 64 characters, and a volume's too.
    let mut record = ErasureRecord::new(volume.chars().take(64).collect::<String>());
    record.job = Some(state.job.clone());
    record.mode.clone_from(&state.mode);
    record.keys.clone_from(&state.keys);
    record.created = Some(state.created);
    record.size = state.size;
    record
}

/// Gives the room back, on a thread of its own: a backing that hangs mustn't keep the record from being written.
fn discard(volume: &Arc<Volume>) -> Discard {
    let (done, is_done) = mpsc::channel();
    let volume = Arc::clone(volume);
    let started = thread::Builder::new()
        .name("cmkit-discard".into())
        .spawn(move || {
            let _ = done.send(volume.discard_backing());
        });
    if let Err(error) = started {
        return Discard::Failed {
            why: error.to_string(),
        };
    }
    match is_done.recv_timeout(DISCARD) {
        Ok(Ok(Punched::Yes)) => Discard::GivenBack,
        Ok(Ok(Punched::Unsupported)) => Discard::Unsupported,
        Ok(Err(error)) => Discard::Failed {
            why: error.to_string(),
        },
        Err(_) => Discard::Failed {
            why: format!("it took longer than {} s and may go on", DISCARD.as_secs()),
        },
    }
}

/// Removes the files and directories that a job made. What is left, a sentence each.
pub(super) fn remove_created(state: &JobState) -> Vec<String> {
    let files = state
        .created_files
        .iter()
        .map(|file| (file, fs::remove_file(file)));
    // Only if empty: never what is in them.
    let dirs = state
        .created_dirs
        .iter()
        .rev()
        .map(|dir| (dir, fs::remove_dir(dir)));
    let tried: Vec<_> = files.chain(dirs).collect();
    let failed = tried
        .into_iter()
        .filter_map(|(path, removed)| match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Some(sentence(path, &e)),
            _ => None,
        });
    failed.collect()
}

fn sentence(path: &Path, error: &io::Error) -> String {
    format!("{}: can't be removed: {error}", path.display())
}
