//! `cmkit-fake-vault` tells where it is, and doesn't outlive its test.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use cmkit_testkit::Addresses;

fn start(args: &[&str]) -> (Child, Addresses) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cmkit-fake-vault"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[test]
fn it_ends_with_its_input_and_tidies_up() {
    let (mut child, addresses) = start(&[]);
    assert!(addresses.ca_file.exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!addresses.ca_file.exists());
}

#[test]
fn it_ends_when_told_and_tidies_up() {
    let (mut child, addresses) = start(&[]);
    let kill = Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    assert!(child.wait().unwrap().success());
    assert!(!addresses.ca_file.exists());
}

#[test]
fn files_can_have_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let arc = dir.path().join("arc");
    let place = dir.path().join("files");
    let args = [
        "--dir",
        place.to_str().unwrap(),
        "--arc-dir",
        arc.to_str().unwrap(),
    ];
    let (mut child, addresses) = start(&args);
    assert_eq!(addresses.ca_file, place.join("ca.pem"));
    assert_eq!(addresses.arc_dir, arc);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(addresses.ca_file.exists());
}

#[test]
fn wrong_arguments_are_refused() {
    for args in [&["--port", "1"][..], &["--dir"], &["x"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_cmkit-fake-vault"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: "));
    }
}
