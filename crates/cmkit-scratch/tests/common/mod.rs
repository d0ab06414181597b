//! What the tests share.
#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

/// Whether a program is there. In CI it has to be; elsewhere a test without it is skipped, and says so.
pub(crate) fn need(program: &str) -> bool {
    let found = if program.contains('/') {
        Path::new(program).exists()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    skip_unless(found, &format!("{program} isn't installed"))
}

/// Whether this process is root, as in CI.
pub(crate) fn need_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ids = status.lines().find(|line| line.starts_with("Uid:"));
    let is_root = ids.unwrap().split_whitespace().nth(2) == Some("0");
    skip_unless(is_root, "this needs root")
}

/// Whether a test may run. In CI a reason against it is a failure.
pub(crate) fn skip_unless(possible: bool, reason: &str) -> bool {
    assert!(possible || std::env::var_os("CI").is_none(), "{reason}");
    if !possible {
        println!("skipped: {reason}");
    }
    possible
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
