//! What messages may name: with `--high-business-impact` no files and no workspaces.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// For the whole process: there is one command line.
static DISCREET: AtomicBool = AtomicBool::new(false);

/// From now on, no names.
pub(crate) fn be_discreet() {
    DISCREET.store(true, Ordering::Relaxed);
}

pub(crate) fn is_discreet() -> bool {
    DISCREET.load(Ordering::Relaxed)
}

/// What messages call a file.
pub(crate) fn shown(path: &Path) -> String {
    if is_discreet() {
        "(a file whose name is withheld)".to_owned()
    } else {
        path.display().to_string()
    }
}

/// What messages call a job.
#[cfg(target_os = "linux")]
pub(crate) fn shown_job(job: &str) -> String {
    if is_discreet() {
        "(a job whose name is withheld)".to_owned()
    } else {
        job.to_owned()
    }
}
