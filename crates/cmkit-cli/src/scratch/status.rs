//! `cmkit scratch status`: the jobs with a disk.

use std::io::{self, Write as _};

use cmkit_scratch::{BackingPlace, JobEntry, JobState, Liveness};
use serde_json::{Value, json};

use super::state;
use super::tell::{self, failure, size};
use crate::args;
use crate::discreet::is_discreet;
use crate::failure::{Failure, Result};
use crate::text::{printable, table};

/// `cmkit scratch status`
pub(crate) fn run(args: &args::ScratchStatus) -> Result {
    let state = state::open(&args.state)?;
    let jobs = state.jobs().map_err(|e| failure(&e))?;
    let text = if is_discreet() {
        let dead = jobs.iter().filter(|job| job.liveness == Liveness::Dead);
        format!("{} jobs, {} of them dead\n", jobs.len(), dead.count())
    } else if args.json {
        let jobs: Vec<Value> = jobs.iter().map(as_json).collect();
        tell::json(&json!({"state_dir": state.path(), "jobs": jobs}))?
    } else if jobs.is_empty() {
        "no jobs with a scratch disk\n".to_owned()
    } else {
        human(&jobs)
    };
    io::stdout()
        .write_all(printable(&text).as_bytes())
        .map_err(|e| Failure::print(&e))
}

fn human(jobs: &[JobEntry]) -> String {
    let heading = [
        "JOB",
        "STATE",
        "SINCE",
        "SIZE",
        "MODE",
        "AT",
        "CIPHERTEXT",
        "KEYS",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(jobs.iter().map(row));
    let mut text = table(&rows);
    if jobs.iter().any(|job| job.liveness == Liveness::Dead) {
        text.push_str("dead: the process ended without cleaning up, and its key with it; `cmkit scratch recover` takes away what it left\n");
    }
    text
}

fn row(entry: &JobEntry) -> Vec<String> {
    let living = match entry.liveness {
        Liveness::Running { process: Some(id) } => format!("process {id}"),
        Liveness::Running { process: None } => "running".to_owned(),
        Liveness::Dead => "dead".to_owned(),
    };
    let mut row = vec![entry.job.clone(), living];
    match &entry.state {
        Err(error) => row.push(error.to_string()),
        Ok(state) => row.extend([
            state.created.to_string(),
            size(state.size),
            state.mode.clone(),
            place(state),
            ciphertext(&state.backing),
            if state.keys.is_empty() {
                "in memory only".to_owned()
            } else {
                state.keys.join(" ")
            },
        ]),
    }
    row
}

/// Where its users find it.
fn place(state: &JobState) -> String {
    let at = state.mount_dir.as_ref().or(state.socket.as_ref());
    let at = at.or(state.fuse_dir.as_ref());
    at.map_or("-".to_owned(), |path| path.display().to_string())
}

fn ciphertext(place: &BackingPlace) -> String {
    match place {
        BackingPlace::File { path }
        | BackingPlace::Device { path, .. }
        | BackingPlace::Kept { path } => path.display().to_string(),
        BackingPlace::Anonymous { dir } => format!("a nameless file in {}", dir.display()),
        BackingPlace::Memory => "memory".to_owned(),
        _ => "-".to_owned(),
    }
}

fn as_json(entry: &JobEntry) -> Value {
    let (liveness, process) = match entry.liveness {
        Liveness::Running { process } => ("running", process),
        Liveness::Dead => ("dead", None),
    };
    let (state, error) = match &entry.state {
        Ok(state) => (Some(state), None),
        Err(error) => (None, Some(error.to_string())),
    };
    json!({"job": entry.job, "liveness": liveness, "process": process, "state": state, "error": error})
}
