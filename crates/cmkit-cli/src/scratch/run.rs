//! `cmkit scratch run`: a command with a disk of its own.

mod child;

use std::path::Path;

use cmkit_scratch::{Expose, JobScratch};

use self::child::Child;
use super::disk::Disk;
use super::setup::{Setup, stopped_early};
use crate::args;
use crate::failure::{Failure, Result};
use crate::keys::Home;
use crate::signals::Signals;

/// What is cmkit's own failure, so that it isn't taken for the command's.
const OURS: u8 = 125;

/// `cmkit scratch run`
pub(crate) fn run(args: args::ScratchRun, home: Home, signals: &Signals) -> Result {
    let ended = with_disk(args, home, signals).map_err(|failure| failure.with_code(OURS))?;
    match ended {
        Ended::With(0) => Ok(()),
        Ended::With(code) => Err(Failure::silent(code)),
        Ended::NeverBegan(failure) => Err(failure),
    }
}

/// How the command ended, and its disk with it.
enum Ended {
    With(u8),
    /// 126, 127, or a signal before it began.
    NeverBegan(Failure),
}

fn with_disk(args: args::ScratchRun, home: Home, signals: &Signals) -> Result<Ended> {
    // First of all: nothing is made for somebody who can't mount.
    super::mount::check_permitted()?;
    let setup = Setup::new(args.job, "run")?;
    let disk = Disk::new(args.disk, home, setup.quiet)?;
    let expose = Expose::Mount {
        dir: args.mount,
        file_system: args.fs,
        owner: args.owner,
    };
    // From here on a signal is noted, and passed on once there is somebody to pass it to.
    let held = signals.hold();
    let mut heard = child::Heard::new()?;
    let job = setup.begin(&disk, &expose)?;
    let ended = match signals.received() {
        Some(signal) => Ended::NeverBegan(stopped_early(signal)),
        None => command(&args.command, &job, &mut heard)?,
    };
    let how = match &ended {
        Ended::With(code) => format!("its command ended with exit code {code}"),
        Ended::NeverBegan(_) => "its command was never begun".to_owned(),
    };
    let erased = setup.end(job, &how);
    drop(held);
    drop(disk);
    match (erased, ended) {
        (Ok(()), ended) => Ok(ended),
        (Err(failure), Ended::With(code)) => Err(failure.and(&format!(
            "that was after the command had ended with exit code {code}"
        ))),
        (Err(failure), Ended::NeverBegan(before)) => {
            before.say();
            Err(failure)
        }
    }
}

fn command(
    command: &[std::ffi::OsString],
    job: &JobScratch,
    heard: &mut child::Heard,
) -> Result<Ended> {
    let dir = job.path().unwrap_or(Path::new("/"));
    match Child::start(command, dir) {
        Ok(child) => child.wait(heard).map(Ended::With),
        Err(failure) => Ok(Ended::NeverBegan(failure)),
    }
}
