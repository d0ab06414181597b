//! Where the key directory is when nobody says.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// The directory for keys when the caller names none: `CMKIT_HOME`, else `cmkit` in `XDG_DATA_HOME`, else
/// `~/.local/share/cmkit`.
///
/// Empty variables count as unset, and so does a relative `XDG_DATA_HOME`, as the XDG Base Directory
/// Specification asks. Nothing is created or looked at on disk.
///
/// This is the only function of the crate that reads the environment.
///
/// # Errors
/// * [`Error::InvalidArgument`]: none of the variables is set and the user has no home directory.
pub fn default_dir() -> Result<PathBuf> {
    choose(|name| std::env::var_os(name), std::env::home_dir)
}

pub(super) fn choose(
    variable: impl Fn(&str) -> Option<OsString>,
    home: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf> {
    if let Some(dir) = variable("CMKIT_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    if let Some(data) = variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
    {
        return Ok(data.join("cmkit"));
    }
    match home().filter(|home| home.is_absolute()) {
        Some(home) => Ok(home.join(".local/share/cmkit")),
        None => Err(Error::invalid(
            "there is no home directory to keep keys in; set CMKIT_HOME to a directory for them",
        )),
    }
}
