//! `cmkit rewrap`: the same data keys under another key, file by file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use cmkit::{Inspection, KeyRef, Keyring};

use crate::args;
use crate::discreet::{is_discreet, shown};
use crate::failure::{Doing, Failure, Result};
use crate::keyrings::Keyrings;
use crate::keys::Home;
use crate::signals::Signals;
use crate::text::printable;

/// `cmkit rewrap`
pub(crate) fn run(args: args::Rewrap, home: Home, signals: &Signals) -> Result {
    let keys = Keyrings::new(home, args.vault, args.audit)?;
    let mut rewrap = cmkit::Rewrap::to(args.to.clone());
    if args.only {
        rewrap = rewrap.only();
    }
    if args.allow_other_vault {
        rewrap = rewrap.allow_other_vault();
    }
    let keyring = keys.opening(&args.key, Some(&args.to), None)?;
    let mut first_failure = None;
    let mut count = 0_u64;
    for path in &args.files {
        signals.check()?;
        // A rewrap survives being killed; one that may finish needs no completing later.
        let held = signals.hold();
        let done = rewrap_file(path, &keyring, &rewrap, &keys);
        drop(held);
        match done {
            Ok(()) if args.quiet || is_discreet() => count += 1,
            Ok(()) => report(path, &args.to)?,
            Err(failure) => {
                failure.say();
                first_failure.get_or_insert(failure.code());
            }
        }
    }
    if is_discreet() && !args.quiet {
        writeln!(io::stdout(), "{count} rewrapped").map_err(|e| Failure::print(&e))?;
    }
    match first_failure {
        None => Ok(()),
        Some(code) => Err(Failure::silent(code)),
    }
}

fn rewrap_file(path: &Path, keyring: &Keyring, rewrap: &cmkit::Rewrap, keys: &Keyrings) -> Result {
    if path.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a directory; name its files one by one",
            shown(path)
        )));
    }
    let done = keyring.rewrap_file(path, rewrap);
    done.map(drop).map_err(|e| keys.failure(&e, Doing::Rewrap))
}

fn report(path: &Path, to: &KeyRef) -> Result {
    let key = wrapped_by(path, to).unwrap_or_else(|| to.to_string());
    let line = printable(&format!("{}: rewrapped by {key}", path.display()));
    writeln!(io::stdout(), "{line}").map_err(|e| Failure::print(&e))
}

/// The version that wrapped it, as the new header says.
fn wrapped_by(path: &Path, to: &KeyRef) -> Option<String> {
    let recipients = header(path)?.recipients.into_iter();
    let ours = recipients.filter(|r| r.key_id.same_key(to));
    ours.max_by_key(|r| r.wrapped_at)
        .map(|r| r.key_id.to_string())
}

/// What a file's header says.
fn header(path: &Path) -> Option<Inspection> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(64 * 1024).read_to_end(&mut bytes).ok()?;
    cmkit::inspect(&bytes).ok()
}
