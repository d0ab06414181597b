//! `cmkit scratch recover`: what dead jobs left.

use std::io::{self, Write as _};

use cmkit_scratch::{Recovered, StateDir};
use serde_json::json;

use super::state;
use super::tell::{self, failure};
use crate::args;
use crate::discreet::{is_discreet, shown_job};
use crate::failure::{Failure, Result, say};

/// `cmkit scratch recover`
pub(crate) fn run(args: &args::ScratchRecover) -> Result {
    let state = state::open(&args.state)?;
    let recovered = cmkit_scratch::recover(&state).map_err(|e| failure(&e))?;
    let problems: Vec<String> = recovered.iter().flat_map(problems).collect();
    if is_discreet() {
        print(&format!("{} recovered\n", recovered.len()))?;
    } else if args.json {
        print(&tell::json(&as_json(&recovered))?)?;
    } else {
        for record in recovered.iter().filter_map(|one| one.record.as_ref().ok()) {
            print(&format!("{}\n", tell::summary(record)))?;
        }
    }
    tell::warn(&problems);
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::silent(1)),
    }
}

/// Before a job begins: only what couldn't be done is told.
pub(super) fn quietly(state: &StateDir, quiet: bool) {
    match cmkit_scratch::recover(state) {
        Ok(recovered) if !quiet => {
            let problems: Vec<String> = recovered.iter().flat_map(problems).collect();
            tell::warn(&problems);
        }
        Ok(_) => {}
        // The job that is to begin will meet it again.
        Err(error) => failure(&error).say(),
    }
}

/// What is left of a dead job, in sentences.
pub(super) fn problems(one: &Recovered) -> Vec<String> {
    let of_job = |text: &str| format!("job {}, whose process died: {text}", shown_job(&one.job));
    match &one.record {
        Ok(record) => tell::problems(record).iter().map(|p| of_job(p)).collect(),
        Err(error) => vec![of_job(&error.to_string())],
    }
}

fn as_json(recovered: &[Recovered]) -> serde_json::Value {
    let jobs = recovered.iter().map(|one| match &one.record {
        Ok(record) => json!({"job": one.job, "record": record}),
        Err(error) => json!({"job": one.job, "error": error.to_string()}),
    });
    json!({"recovered": jobs.collect::<Vec<_>>()})
}

fn print(text: &str) -> Result {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::print(&e))
}

/// The same for `end`, which has cleaned up by itself.
pub(super) fn say_all(recovered: &[Recovered], quiet: bool) {
    for record in recovered.iter().filter_map(|one| one.record.as_ref().ok()) {
        if !quiet {
            say(&tell::summary(record));
        }
    }
    let problems: Vec<String> = recovered.iter().flat_map(problems).collect();
    tell::warn(&problems);
}
