//! `cmkit scratch serve`: a disk for NBD clients, or as a file.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cmkit_scratch::{Expose, JobScratch};

use super::disk::Disk;
use super::notify;
use super::setup::{Setup, stopped_early};
use super::stop::Stop;
use crate::args;
use crate::failure::{Failure, Result};
use crate::keys::Home;
use crate::signals::Signals;

/// `cmkit scratch serve`
pub(crate) fn run(args: args::ScratchServe, home: Home, signals: &Signals) -> Result {
    let setup = Setup::new(args.job, "serve")?;
    let disk = Disk::new(args.disk, home, setup.quiet)?;
    let expose = expose(args.socket, args.file)?;
    until_stopped(&setup, signals, || setup.begin(&disk, &expose))
}

/// One of the two that need no root.
pub(super) fn expose(socket: Option<PathBuf>, file: Option<PathBuf>) -> Result<Expose> {
    match (socket, file) {
        (Some(socket), _) => Ok(Expose::Nbd(socket)),
        (None, Some(dir)) => Ok(Expose::File(Some(dir))),
        (None, None) => Err(Failure::usage("give `--socket` or `--file`")),
    }
}

/// Begins a job, says where its disk is, and ends it when somebody asks for that.
pub(super) fn until_stopped(
    setup: &Setup,
    signals: &Signals,
    begin: impl FnOnce() -> Result<JobScratch>,
) -> Result {
    // From here on a signal is noted, so that what was made is taken away again.
    let _held = signals.hold();
    let stop = Stop::new(signals)?;
    let job = begin()?;
    if let Some(signal) = signals.received() {
        setup.end(job, "stopped before its disk was ready")?;
        return Err(stopped_early(signal));
    }
    if let Err(failure) = say_ready(&job) {
        setup.end(job, "nobody could be told that its disk was ready")?;
        return Err(failure);
    }
    let signal = stop.wait();
    notify::stopping();
    setup.end(job, &format!("ended by signal {signal}"))
}

/// A line on standard output, at once: what programs wait for.
fn say_ready(job: &JobScratch) -> Result {
    let path = job.path().unwrap_or(Path::new(""));
    let line = match &job.state().socket {
        Some(_) => uri(path),
        None => path.display().to_string(),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| Failure::print(&e))?;
    notify::ready();
    Ok(())
}

/// What NBD clients take, with what isn't a letter, a digit or one of `/._-~` escaped (RFC 3986).
fn uri(socket: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "nbd+unix:///?socket=".to_owned();
    for byte in socket.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'~' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        let uri = uri(Path::new("/run/a b/é&.sock"));
        assert_eq!(uri, "nbd+unix:///?socket=/run/a%20b/%C3%A9%26.sock");
    }
}
