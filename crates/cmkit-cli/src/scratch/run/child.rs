//! The command that is run, and the signals on their way to it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::failure::{Failure, Result};
use crate::signals::is_ignored;
use crate::text::printable;

/// Those that are passed on. SIGSTOP and its like stop both, or this process alone, and the kernel does it.
const PASSED_ON: [i32; 8] = [
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH,
];

/// What comes in, in order: signals for the command, and its end.
///
/// One thread both passes them on and waits for the end, so that none ever goes to a process that took the command's number later.
pub(super) struct Heard(SignalsInfo<WithOrigin>);

impl Heard {
    /// From now on they are kept. A signal that is ignored stays so, for the command too.
    pub(super) fn new() -> Result<Self> {
        let passed = PASSED_ON.into_iter().filter(|signal| !is_ignored(*signal));
        let heard = SignalsInfo::new(passed.chain([SIGCHLD]));
        heard
            .map(Self)
            .map_err(|e| Failure::other(format!("cannot handle signals: {e}")))
    }
}

pub(super) struct Child(process::Child);

impl Child {
    /// Starts it in `dir`. Its descriptors are those of this process that are meant for it: all others close themselves.
    pub(super) fn start(command: &[OsString], dir: &Path) -> Result<Self> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| Failure::usage("no command"))?;
        let mut starting = Command::new(from_here(program));
        starting
            .args(args)
            .current_dir(dir)
            .env("CMKIT_SCRATCH", dir);
        starting
            .spawn()
            .map(Self)
            .map_err(|error| cannot_start(program, &error))
    }

    /// Passes signals on until it ends; its exit code, as a shell has it.
    pub(super) fn wait(mut self, heard: &mut Heard) -> Result<u8> {
        let lost = |e: io::Error| Failure::other(format!("cannot wait for the command: {e}"));
        loop {
            if let Some(status) = self.0.try_wait().map_err(lost)? {
                return Ok(code(status));
            }
            // Its end is a signal too.
            for origin in heard.0.wait() {
                self.pass_on(&origin);
            }
        }
    }

    fn pass_on(&self, origin: &Origin) {
        // What a terminal sends, Ctrl-C, has gone to the command as well: to all of the process group.
        if origin.signal == SIGCHLD || matches!(origin.cause, Cause::Kernel) {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(origin.signal) {
            // It may have ended just now.
            let _ = kill_process(Pid::from_child(&self.0), signal);
        }
    }
}

/// A relative path is one from where cmkit was called: on the disk there is nothing yet.
fn from_here(program: &OsStr) -> PathBuf {
    let path = Path::new(program);
    if path.is_relative() && program.as_bytes().contains(&b'/') {
        return std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    }
    path.to_owned()
}

/// With the exit codes of env(1).
fn cannot_start(program: &OsStr, error: &io::Error) -> Failure {
    let (code, what) = match error.kind() {
        io::ErrorKind::NotFound => (127, "there is no such command".to_owned()),
        io::ErrorKind::PermissionDenied => {
            (126, "it can't be executed: permission denied".to_owned())
        }
        _ => (126, format!("it can't be executed: {error}")),
    };
    let program = if crate::discreet::is_discreet() {
        "the command".to_owned()
    } else {
        printable(&program.to_string_lossy())
    };
    Failure::other(format!("{program}: {what}")).with_code(code)
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
