//! Erasing a job's disk.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cmkit::{Error, Result};

use super::JobScratch;
use super::files::{Left, remove_created};
use super::front::Front;
use super::steps::step;
use crate::backing::Punched;
use crate::device::BlockDevice as _;
use crate::record::{Discard, ErasureRecord};
use crate::state::{Claim, JobState};
use crate::time::UtcTime;
use crate::volume::Volume;

/// How long giving room back may take. The ciphertext that would be left is nobody's any more.
const DISCARD: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });

/// A deadline beyond this is none.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What an attempt to unmount gets after the deadline, and a moment more.
const LATE: Duration = Duration::from_secs(1);

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
        let deadline = now + deadline.min(LONGEST);
        step();
        if self.state.is_kept() {
            let busy = front.quiesce(deadline);
            return self.close(front, busy, claim, how);
        }
        let destroyer = destroy_at(&self.volume, deadline + LATE);
        let busy = front.quiesce(deadline);
        drop(destroyer);
        self.volume.destroy();
        step();

        let mut record = record_of(&self.state);
        record.key_destroyed = Some(UtcTime::now());
        record.bytes_written = self.volume.stats().bytes_written;
        record.end = match busy {
            None => how.to_owned(),
            Some(busy) => format!("{how}; its key was destroyed while it was in use: {busy}"),
        };
        let mut left = Left::default();
        for sentence in front.take_down() {
            left.add(sentence);
        }
        step();
        let volume = Arc::clone(&self.volume);
        record.discard = within(move || discarded(volume.discard_backing()));
        step();
        remove_created(&self.state, &mut left);
        record.left_behind = left.sentences;
        record.ended = Some(UtcTime::now());
        step();
        let saved = record.save(&self.records);
        step();
        if saved.is_ok() && !left.again {
            claim.release()?;
        } else {
            // For recovery, which tries again; without this it would say that the process died.
            self.state.erased = Some(record.clone());
            let _ = claim.save(&self.state);
        }
        saved?;
        Ok(record)
    }

    /// The end of a job whose volume stays: what was written reaches it.
    fn close(
        &self,
        mut front: Front,
        busy: Option<String>,
        claim: Claim,
        how: &str,
    ) -> Result<ErasureRecord> {
        let mut record = record_of(&self.state);
        record.end = how.to_owned();
        if let Some(busy) = busy {
            front.sync();
            record.end = format!("{how}; it was taken away while it was in use: {busy}");
        }
        let mut left = Left::default();
        for sentence in front.take_down() {
            left.add(sentence);
        }
        let flushed = self.volume.flush();
        record.bytes_written = self.volume.stats().bytes_written;
        self.volume.destroy();
        remove_created(&self.state, &mut left);
        record.left_behind = left.sentences;
        record.ended = Some(UtcTime::now());
        if !left.again {
            claim.release()?;
        }
        flushed?;
        Ok(record)
    }
}

/// Destroys a key at that time, unless what comes back is dropped before: whatever happens meanwhile.
fn destroy_at(volume: &Arc<Volume>, time: Instant) -> Sender<()> {
    let (done, is_done) = mpsc::channel();
    let volume = Arc::clone(volume);
    // Without a thread the key is destroyed when users have been waited for.
    let _ = thread::Builder::new()
        .name("cmkit-deadline".into())
        .spawn(move || {
            let left = time.saturating_duration_since(Instant::now());
            if is_done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                volume.destroy();
            }
        });
    done
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

pub(super) fn discarded(result: Result<Punched>) -> Discard {
    match result {
        Ok(Punched::Yes) => Discard::GivenBack,
        Ok(Punched::Unsupported) => Discard::Unsupported,
        Err(error) => Discard::Failed {
            why: error.to_string(),
        },
    }
}

/// Gives the room back, on a thread of its own: a backing that hangs mustn't keep the record from being written.
pub(super) fn within(discard: impl FnOnce() -> Discard + Send + 'static) -> Discard {
    let (done, is_done) = mpsc::channel();
    let started = thread::Builder::new()
        .name("cmkit-discard".into())
        .spawn(move || {
            let _ = done.send(discard());
        });
    if let Err(error) = started {
        return Discard::Failed {
            why: error.to_string(),
        };
    }
    is_done
        .recv_timeout(DISCARD)
        .unwrap_or_else(|_| Discard::Failed {
            why: format!("it took longer than {} s and may go on", DISCARD.as_secs()),
        })
}
