//! What the tests of several files need.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod disk;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether a program is there. Without one a test is skipped, saying so; in CI that is a failure.
pub(crate) fn need(program: &str) -> bool {
    let found = find(program).is_some();
    skip_unless(
        found,
        &format!("needs the program {program} (`cargo xtask setup`)"),
    )
}

/// Whether this is root with devices for loops and FUSE.
pub(crate) fn need_root() -> bool {
    let permitted = cmkit_scratch::mount::check_permitted();
    skip_unless(permitted.is_ok(), "needs root, /dev/fuse and loop devices")
}

/// Whether a test may run. In CI a reason against it is a failure.
pub(crate) fn skip_unless(possible: bool, reason: &str) -> bool {
    assert!(possible || std::env::var_os("CI").is_none(), "{reason}");
    if !possible {
        eprintln!("skipped: {reason}");
    }
    possible
}

/// Where a program is: in the directories of the system, or where `cargo xtask setup` puts tools.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/bin");
    let system = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut paths = system
        .into_iter()
        .chain([tools])
        .map(|dir| dir.join(program));
    paths.find(|path| path.is_file())
}

/// A program that must succeed, wherever it is.
pub(crate) fn run_program<A: AsRef<std::ffi::OsStr>>(program: &str, args: &[A]) -> Output {
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

/// Runs a program, which has to succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    out
}

/// Runs a program, which has to fail, and returns all that it printed.
pub(crate) fn run_failing(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success(), "{command:?} succeeded\n{out}");
    out + &err
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that look random and are the same in each run.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Waits for what has to come true soon.
pub(crate) fn wait_until(mut what: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if what() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it didn't come true in a minute");
}
