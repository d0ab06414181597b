//! `cmkit rewrap`: the same data keys under another key, file by file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use cmkit::KeyRef;

use crate::args;
use crate::failure::{Doing, Failure, Result};
use crate::keys::Home;
use crate::signals::Signals;
use crate::text::printable;

/// `cmkit rewrap`
pub(crate) fn run(args: &args::Rewrap, home: &Home, signals: &Signals) -> Result {
    let mut allowed = args.key.clone();
    allowed.push(args.to.clone());
    let keyring = home.opening(&allowed, None)?;
    let mut rewrap = cmkit::Rewrap::to(args.to.clone());
    if args.only {
        rewrap = rewrap.only();
    }
    let mut first_failure = None;
    for path in &args.files {
        // A rewrap survives being killed; being let finish it needs no completing later.
        let held = signals.hold();
        signals.check()?;
        let result = keyring.rewrap_file(path, &rewrap);
        drop(held);
        match result {
            Ok(_) if args.quiet => {}
            Ok(_) => report(path, &args.to)?,
            Err(e) => {
                let failure = Failure::of(&e, Doing::Rewrap);
                failure.say();
                first_failure.get_or_insert(failure.code());
            }
        }
    }
    signals.check()?;
    match first_failure {
        None => Ok(()),
        Some(code) => Err(Failure::silent(code)),
    }
}

fn report(path: &Path, to: &KeyRef) -> Result {
    let key = wrapped_by(path, to).unwrap_or_else(|| to.to_string());
    let line = printable(&format!("{}: rewrapped by {key}", path.display()));
    writeln!(io::stdout(), "{line}").map_err(|e| Failure::print(&e))
}

/// The version that wrapped it, as the new header says.
fn wrapped_by(path: &Path, to: &KeyRef) -> Option<String> {
    let mut header = Vec::new();
    File::open(path)
        .ok()?
        .take(64 * 1024)
        .read_to_end(&mut header)
        .ok()?;
    let recipients = cmkit::inspect(&header).ok()?.recipients;
    let ours = recipients.into_iter().filter(|r| r.key_id.same_key(to));
    ours.max_by_key(|r| r.wrapped_at)
        .map(|r| r.key_id.to_string())
}
