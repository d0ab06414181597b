//! `cmkit rotate`: files and key stores to the newest versions of their keys.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use cmkit::{Error, RewrapOutcome, RotateOutcome, RotatedFile};
use serde_json::{Value, json};

use crate::args;
use crate::discreet::is_discreet;
use crate::failure::{Doing, Failure, Result};
use crate::keyrings::Keyrings;
use crate::keys::Home;
use crate::progress::Count;
use crate::signals::Signals;
use crate::text::{printable, time};

/// `cmkit rotate`
pub(crate) fn run(args: args::Rotate, home: Home, signals: &Signals) -> Result {
    let keys = Keyrings::new(home, args.vault, args.audit)?;
    let keyring = keys.following(&args.key)?;
    let mut options = cmkit::Rotate::default().keep_old(args.keep_old);
    if args.dry_run {
        options = options.dry_run();
    }
    let rotation = keyring
        .rotation(&options)
        .map_err(|e| keys.failure(&e, Doing::Rewrap))?;
    let mut teller = Teller {
        keys: &keys,
        dry_run: args.dry_run,
        quiet: args.quiet,
        json: args.json,
        tally: Tally::default(),
        count: Count::new(args.quiet),
    };
    let mut broken = None;
    // What is killed is whole all the same, but one that may finish needs no completing later.
    let held = signals.hold();
    let walked = rotation.rotate_paths(&args.paths, |path, result| {
        if let Err(failure) = teller.tell(path, result) {
            broken = Some(failure);
            return ControlFlow::Break(());
        }
        if signals.stop_asked() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    drop(held);
    if let Some(failure) = broken {
        return Err(failure);
    }
    teller.sum_up(rotation.newest().iter().map(|newest| newest.key.as_str()))?;
    if walked.is_err() {
        return signals.check().map_err(|failure| {
            failure.saying("stopped; what was done stays: run it again for the rest")
        });
    }
    match teller.tally.worst {
        None => Ok(()),
        Some(code) => Err(Failure::silent(code)),
    }
}

/// Says what became of each file, and counts.
struct Teller<'a> {
    keys: &'a Keyrings,
    dry_run: bool,
    quiet: bool,
    json: bool,
    tally: Tally,
    count: Count,
}

#[derive(Default)]
struct Tally {
    added: u64,
    replaced: u64,
    finished: u64,
    waiting: u64,
    up_to_date: u64,
    other_keys: u64,
    failed: u64,
    /// The last time until which an old wrap is kept.
    kept_until: Option<u64>,
    worst: Option<u8>,
}

impl Tally {
    fn add(&mut self, done: &RotatedFile) {
        *match done.outcome {
            RotateOutcome::Added => &mut self.added,
            RotateOutcome::Replaced => &mut self.replaced,
            RotateOutcome::Finished => &mut self.finished,
            RotateOutcome::Waiting => &mut self.waiting,
            RotateOutcome::UpToDate => &mut self.up_to_date,
            _ => &mut self.other_keys,
        } += 1;
        self.kept_until = self.kept_until.max(done.old_kept_until);
    }

    fn fail(&mut self, code: u8) {
        self.failed += 1;
        if self
            .worst
            .is_none_or(|worst| badness(code) > badness(worst))
        {
            self.worst = Some(code);
        }
    }

    fn all(&self) -> u64 {
        let changed = self.added + self.replaced + self.finished;
        changed + self.waiting + self.up_to_date + self.other_keys + self.failed
    }

    /// Every count that isn't zero, in words.
    fn words(&self) -> String {
        let counts = [
            (self.added, "wrapped by the newest version too"),
            (self.replaced, "moved to the newest version"),
            (self.finished, "without an old wrap now"),
            (self.waiting, "with an old wrap that is still kept"),
            (self.up_to_date, "up to date"),
            (self.other_keys, "under other keys"),
            (self.failed, "failed"),
        ];
        let counts = counts.into_iter().filter(|(n, _)| *n > 0);
        let parts: Vec<_> = counts.map(|(n, what)| format!("{n} {what}")).collect();
        parts.join(", ")
    }
}

/// Damage is worst; what another run may mend is least.
fn badness(code: u8) -> u8 {
    match code {
        3 => 5,
        4 => 4,
        1 => 3,
        2 => 2,
        _ => 1,
    }
}

impl Teller<'_> {
    fn tell(&mut self, path: &Path, result: cmkit::Result<RotatedFile>) -> Result {
        let told = match result {
            Ok(done) => {
                self.tally.add(&done);
                self.done(path, &done)
            }
            Err(e) => self.failed(path, &e),
        };
        self.count.tick(self.tally.all());
        told
    }

    fn done(&self, path: &Path, done: &RotatedFile) -> Result {
        if is_discreet() {
            return Ok(());
        }
        if self.json {
            return match name_of(done.outcome) {
                "up_to_date" | "not_ours" => Ok(()),
                name => self.print(&json!({
                    "file": path.to_string_lossy(),
                    "outcome": name,
                    "old_kept_until": done.old_kept_until.map(time),
                    "copied": done.written.map(|how| how == RewrapOutcome::Copied),
                })),
            };
        }
        let Some(words) = self.words(done).filter(|_| !self.quiet) else {
            return Ok(());
        };
        let line = printable(&format!("{}: {words}", path.display()));
        self.count
            .aside(|| writeln!(io::stdout(), "{line}"))
            .map_err(|e| Failure::print(&e))
    }

    /// What is done, or would be; `None`: nothing.
    fn words(&self, done: &RotatedFile) -> Option<String> {
        let would = if self.dry_run { "would be " } else { "" };
        Some(match done.outcome {
            RotateOutcome::Added => {
                let until = done.old_kept_until.map(time);
                let until = until.map_or_else(String::new, |until| format!(" until {until}"));
                format!("{would}wrapped by the newest version too, the old wrap kept{until}")
            }
            RotateOutcome::Replaced => format!("{would}moved to the newest version"),
            RotateOutcome::Finished if self.dry_run => {
                "would be left without its old wrap".to_owned()
            }
            RotateOutcome::Finished => "without its old wrap now".to_owned(),
            _ => return None,
        })
    }

    fn failed(&mut self, path: &Path, error: &Error) -> Result {
        let failure = self.keys.failure(error, Doing::Rewrap);
        self.tally.fail(failure.code());
        self.count.aside(|| failure.say());
        if !self.json || is_discreet() {
            return Ok(());
        }
        self.print(&json!({
            "file": path.to_string_lossy(),
            "outcome": "failed",
            "error": failure.message(),
            "exit_code": failure.code(),
        }))
    }

    fn print(&self, line: &Value) -> Result {
        self.count
            .aside(|| writeln!(io::stdout(), "{line}"))
            .map_err(|e| Failure::print(&e))
    }

    fn sum_up<'a>(&self, newest: impl Iterator<Item = &'a str>) -> Result {
        let tally = &self.tally;
        if self.json {
            return self.print(&json!({"summary": {
                "newest": newest.collect::<Vec<_>>(),
                "dry_run": self.dry_run,
                "envelopes": tally.all(),
                "added": tally.added,
                "replaced": tally.replaced,
                "finished": tally.finished,
                "waiting": tally.waiting,
                "up_to_date": tally.up_to_date,
                "not_ours": tally.other_keys,
                "failed": tally.failed,
                "old_kept_until": tally.kept_until.map(time),
            }}));
        }
        if self.quiet {
            return Ok(());
        }
        let mut text = match tally.all() {
            0 => "no envelopes".to_owned(),
            1 => format!("1 envelope: {}", tally.words()),
            n => format!("{n} envelopes: {}", tally.words()),
        };
        if self.dry_run && tally.all() > 0 {
            text.push_str("; this was a dry run, nothing was changed");
        } else if let Some(until) = tally.kept_until {
            text.push_str(&format!("; run it again after {}", time(until)));
        }
        if tally.other_keys > 0 && tally.other_keys == tally.all() {
            text.push_str("; name those with `--key` to follow them");
        }
        self.count
            .aside(|| writeln!(io::stdout(), "{text}"))
            .map_err(|e| Failure::print(&e))
    }
}

fn name_of(outcome: RotateOutcome) -> &'static str {
    match outcome {
        RotateOutcome::Added => "added",
        RotateOutcome::Replaced => "replaced",
        RotateOutcome::Finished => "finished",
        RotateOutcome::Waiting => "waiting",
        RotateOutcome::UpToDate => "up_to_date",
        _ => "not_ours",
    }
}
