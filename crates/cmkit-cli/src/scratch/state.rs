//! The directory that knows the jobs.

use std::path::PathBuf;

use cmkit_scratch::StateDir;

use super::tell::failure;
use crate::args;
use crate::failure::{Failure, Result};
use crate::vault;

/// The one of `--state-dir`, else the user's; it is made if there is none.
pub(super) fn open(args: &args::State) -> Result<StateDir> {
    let path = match &args.state_dir {
        Some(dir) if dir.as_os_str().is_empty() => {
            return Err(Failure::usage("`--state-dir` names no directory"));
        }
        Some(dir) => dir.clone(),
        None => default()?,
    };
    let path = std::path::absolute(&path)
        .map_err(|e| Failure::other(format!("cannot find the state directory: {e}")))?;
    StateDir::open(&path).map_err(|e| failure(&e))
}

fn default() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/run/cmkit".into());
    }
    let runtime = vault::path("XDG_RUNTIME_DIR").filter(|dir| dir.is_absolute());
    runtime.map(|dir| dir.join("cmkit")).ok_or_else(|| {
        Failure::usage(
            "there is no directory for the state of jobs: set XDG_RUNTIME_DIR (`/run/user/$(id -u)`, say), or name one of \
             yours with `--state-dir`",
        )
    })
}
