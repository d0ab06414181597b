//! `cmkit scratch end`: ending another process's job.

use std::time::{Duration, Instant};

use cmkit_scratch::{ErasureRecord, JobEntry, JobState, Liveness, StateDir};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::tell::{self, failure};
use super::{recover, state};
use crate::args;
use crate::discreet::shown_job;
use crate::failure::{Failure, Result, say};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// For the system to take down a process that was killed: its memory may be large.
const DYING: Duration = Duration::from_secs(30);

/// `cmkit scratch end`
pub(crate) fn run(args: &args::ScratchEnd) -> Result {
    let dir = state::open(&args.state)?;
    let name = shown_job(&args.job);
    let Some(entry) = find(&dir, &args.job)? else {
        return Err(Failure::other(format!(
            "there is no job {name}; `cmkit scratch status` lists them"
        )));
    };
    let Liveness::Running { process } = entry.liveness else {
        return clean_up(&dir, args);
    };
    let state = entry.state.map_err(|e| failure(&e))?;
    let owner = Owner::find(&dir, &state, process)?;
    owner.send(Signal::TERM)?;
    if !is_gone_within(&dir, &state, args.grace)? {
        if !args.quiet {
            say(&format!(
                "the process of job {name} is killed: it hasn't ended in {} s",
                args.grace.as_secs()
            ));
        }
        owner.send(Signal::KILL)?;
        if !is_gone_within(&dir, &state, DYING)? {
            return Err(Failure::other(format!(
                "the process of job {name} was killed and isn't gone yet: something in the system hangs; its key goes with it"
            )));
        }
    }
    // It may have died, by the signal or without cleaning up.
    if find(&dir, &args.job)?.is_some_and(|job| job.liveness == Liveness::Dead) {
        return clean_up(&dir, args);
    }
    let record = dir.records().join(format!("{}.json", state.volume));
    match ErasureRecord::load(&record) {
        Ok(record) => tell::erased(&record, None, args.quiet),
        // A volume that stays has none.
        Err(_) if args.quiet => Ok(()),
        Err(_) => {
            say(&format!("ended: {name}"));
            Ok(())
        }
    }
}

fn find(dir: &StateDir, job: &str) -> Result<Option<JobEntry>> {
    let jobs = dir.jobs().map_err(|e| failure(&e))?;
    Ok(jobs.into_iter().find(|entry| entry.job == job))
}

/// Cleans up what a dead process left.
fn clean_up(dir: &StateDir, args: &args::ScratchEnd) -> Result {
    let mut recovered = cmkit_scratch::recover(dir).map_err(|e| failure(&e))?;
    recovered.retain(|one| one.job == args.job);
    recover::say_all(&recovered, args.quiet);
    match recovered
        .iter()
        .all(|one| recover::problems(one).is_empty())
    {
        true => Ok(()),
        false => Err(Failure::silent(1)),
    }
}

/// Whether that run of the job ends in time: another one of the same name is none of ours.
fn is_gone_within(dir: &StateDir, state: &JobState, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        let is_there = find(dir, &state.job)?.is_some_and(|entry| {
            let is_same = entry.state.is_ok_and(|now| now.owner == state.owner);
            is_same && entry.liveness != Liveness::Dead
        });
        if !is_there {
            return Ok(true);
        }
        if start.elapsed() >= limit {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The process that owns a job: that very one, whatever has its number later.
struct Owner {
    process: rustix::fd::OwnedFd,
    id: u32,
}

impl Owner {
    fn find(dir: &StateDir, state: &JobState, holder: Option<u32>) -> Result<Self> {
        let name = shown_job(&state.job);
        let unseen = || {
            Failure::other(format!(
                "the process of job {name} can't be seen from here: it is in another container; end it there"
            ))
        };
        let id = holder.ok_or_else(unseen)?;
        let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
        let process = pidfd_open(raw.ok_or_else(unseen)?, PidfdFlags::empty()).map_err(|e| {
            Failure::other(format!(
                "cannot reach process {id}, which holds job {name}: {e}"
            ))
        })?;
        // Who has the lock is who wrote the state, and was so after the number was taken hold of.
        if state.owner.process != id || !state.owner.is_alive() {
            return Err(unseen());
        }
        let others = dir.jobs().map_err(|e| failure(&e))?;
        let others = others.into_iter().filter(|other| {
            other.job != state.job && other.liveness == Liveness::Running { process: Some(id) }
        });
        match others.count() {
            0 => Ok(Self { process, id }),
            more => Err(Failure::other(format!(
                "process {id} holds job {name} and {more} more: ending it would end them all; have that process end the one job"
            ))),
        }
    }

    fn send(&self, signal: Signal) -> Result {
        match pidfd_send_signal(&self.process, signal) {
            // It has ended just now.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(Failure::other(format!(
                "cannot signal process {}: {e}",
                self.id
            ))),
        }
    }
}
