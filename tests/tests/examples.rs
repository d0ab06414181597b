//! The examples run, as their readers would run them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Cargo builds the examples of a package with its tests, beside them.
fn built(name: &str) -> PathBuf {
    let exe = env::current_exe().unwrap();
    let profile = exe.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(name)
}

#[test]
fn every_example_runs() {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/rust");
    let mut ran = 0;
    for entry in fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // It is the README's, and its test is the command's.
        if name == "quickstart" {
            continue;
        }
        let place = tempfile::tempdir().unwrap();
        let output = Command::new(built(&name))
            .current_dir(place.path())
            .env("CMKIT_HOME", place.path().join("home"))
            .output()
            .unwrap_or_else(|e| panic!("{name}, which Cargo.toml has to list: {e}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 4);
}
