//! What the tests of several files need.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod disk;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether a program is there. Without one a test is skipped, saying so; in CI that is a failure.
pub(crate) fn need(program: &str) -> bool {
    let found = find(program).is_some();
    missing(
        found,
        &format!("the program {program} (`cargo xtask setup`)"),
    )
}

/// Whether this is root with devices for loops and FUSE.
pub(crate) fn need_root() -> bool {
    let permitted = cmkit_scratch::mount::check_permitted();
    missing(permitted.is_ok(), "root, /dev/fuse and loop devices")
}

fn missing(found: bool, what: &str) -> bool {
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this test needs {what}"
        );
        eprintln!("skipped: needs {what}");
    }
    found
}

/// Where a program is: in the directories of the system, or where `cargo xtask setup` puts tools.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/bin");
    let system = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut paths = system
        .into_iter()
        .chain([tools])
        .map(|dir| dir.join(program));
    paths.find(|path| path.is_file())
}

/// A command that must succeed.
pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(program: &str, args: &[A]) -> Output {
    let path = find(program).unwrap_or_else(|| panic!("{program} is not there"));
    let output = Command::new(path).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program} failed ({})\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
