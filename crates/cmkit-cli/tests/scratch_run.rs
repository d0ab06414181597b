//! `cmkit scratch run`: a command with a disk.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
#[path = "common/scratch.rs"]
mod disks;

use std::fs;
use std::os::unix::process::CommandExt as _;

use common::Place;
use disks::{Device, Running, ended, left, need, need_root, records, until};
use rustix::process::Signal;

const MARKER: &[u8] = b"a marker that is nowhere else on any disk of this machine";

fn run(place: &Place, script: &str) -> common::Ended {
    ended(place, &["run", "--size", "48M", "--", "sh", "-c", script])
}

#[test]
fn the_command_works_on_the_disk() {
    if !need_root() {
        return;
    }
    let place = Place::new();
    let ran = run(
        &place,
        "test \"$(pwd)\" = \"$CMKIT_SCRATCH\" && pwd && echo hello > file && cat file",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let said = String::from_utf8(ran.stdout.clone()).unwrap();
    assert!(
        said.ends_with("\nhello\n") && said.contains("/mnt/run-"),
        "{said}"
    );
    ran.said(&["erased: run-", "key destroyed", "given back"]);
    assert_eq!(left(&place), [""; 0]);
    let records = records(&place);
    assert_eq!(records.len(), 1);
    assert!(records[0]["end"].as_str().unwrap().contains("exit code 0"));
    assert!(records[0]["bytes_written"].as_u64().unwrap() > 0);

    place.write("here.sh", "#!/bin/sh\nls -A\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.path("here.sh"), mode).unwrap();
    fs::create_dir(place.path("m")).unwrap();
    let ran = ended(
        &place,
        &[
            "run",
            "-q",
            "--size",
            "48M",
            "--mount",
            "m",
            "--owner",
            "65534:65534",
            "--record",
            "r.json",
            "--",
            "./here.sh",
        ],
    );
    assert_eq!(
        (ran.code, ran.stdout.as_slice(), ran.stderr.as_str()),
        (Some(0), &b"lost+found\n"[..], "")
    );
    assert!(
        String::from_utf8(place.read("r.json"))
            .unwrap()
            .contains("key_destroyed")
    );
}

#[test]
fn exit_codes_are_the_commands_or_envs() {
    if !need_root() {
        return;
    }
    let place = Place::new();
    for (script, code) in [
        ("exit 3", 3),
        ("exit 125", 125),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        assert_eq!(run(&place, script).code, Some(code), "{script}");
    }
    for (args, code, said) in [
        (
            &["--size", "48M", "--", "no-such-command"][..],
            127,
            "no such command",
        ),
        (
            &["--size", "48M", "--", "./no/such"],
            127,
            "no such command",
        ),
        (&["--size", "48M", "--", "/etc/passwd"], 126, "executed"),
        (&["--size", "5000", "--", "true"], 125, "--size 8192"),
        (&["--size", "10GB", "--", "true"], 125, "1024"),
        (&["--size", "48M"], 125, "COMMAND"),
        (
            &["--size", "48M", "--device", "/dev/null", "--", "true"],
            125,
            "neither a block device",
        ),
        (
            &["--size", "48M", "--dir", "/no/such", "--", "true"],
            125,
            "/no/such",
        ),
        (
            &[
                "--size",
                "48M",
                "--mode",
                "xts",
                "--block-size",
                "64K",
                "--",
                "true",
            ],
            125,
            "512 or 4096",
        ),
        (
            &["--size", "48M", "--job", "../x", "--", "true"],
            125,
            "../x",
        ),
        (
            &["--size", "48M", "--key", "local:none", "--", "true"],
            125,
            "none",
        ),
        (
            &["--size", "48M", "--fs", "xfs", "--", "true"],
            125,
            "too small for XFS",
        ),
    ] {
        let ran = ended(&place, &[&["run"], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn signals_reach_the_command_once() {
    if !need_root() {
        return;
    }
    let place = Place::new();
    let script = "n=0; trap 'n=$((n+1))' USR1; trap 'echo $n; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let args = ["run", "--size", "48M", "--", "sh", "-c", script];
    let mut command = disks::scratch(&place, &args);
    // A group of its own, so that the test's isn't met.
    command.process_group(0);
    let mut child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    rustix::process::kill_process(pid, Signal::USR1).unwrap();
    // Each in its turn: the shell acts on one between two sleeps.
    std::thread::sleep(std::time::Duration::from_secs(1));
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "1\n");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn who_still_uses_the_disk_loses_it() {
    if !need_root() {
        return;
    }
    let place = Place::new();
    // It outlives the command, with the disk as its working directory.
    let script = "sleep 300 >/dev/null 2>&1 & echo $!";
    let ran = ended(
        &place,
        &[
            "run", "--size", "48M", "--grace", "0", "--", "sh", "-c", script,
        ],
    );
    let sleeper: i32 = String::from_utf8(ran.stdout.clone())
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    ran.said(&["in use by sleep"]);
    let records = records(&place);
    assert!(records[0]["key_destroyed"].is_string());
    assert!(
        records[0]["end"]
            .as_str()
            .unwrap()
            .contains("in use by sleep"),
        "{records:?}"
    );
    // Whether the loop device could go is the kernel's affair; if not, that is our failure and not the command's.
    let is_left = !records[0]["left_behind"].as_array().unwrap().is_empty();
    assert_eq!(
        ran.code,
        Some(if is_left { 125 } else { 0 }),
        "{}",
        ran.stderr
    );
    let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
    rustix::process::kill_process(sleeper, Signal::KILL).unwrap();
    until("everything can be taken away now", || {
        ended(&place, &["recover"]).code == Some(0)
    });
    until("nothing is left", || left(&place).is_empty());
}

#[test]
fn nothing_in_the_clear_on_the_device_and_none_with_data_is_taken() {
    if !need_root() || !need("losetup") {
        return;
    }
    let place = Place::new();
    let device = Device::new(&place, "backing", 64 << 20);
    let marker = std::str::from_utf8(MARKER).unwrap();
    for mode in ["ephemeral", "xts"] {
        let script = format!(
            "for i in $(seq 2000); do echo '{marker}'; done > file; sync -f file; wc -l < file"
        );
        let ran = ended(
            &place,
            &[
                "run",
                "--device",
                &device.path,
                "--mode",
                mode,
                "--",
                "sh",
                "-c",
                &script,
            ],
        );
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(String::from_utf8(ran.stdout).unwrap().ends_with("2000\n"));
        assert!(!device.contains(MARKER));
        let records = records(&place);
        assert!(records.iter().any(|r| r["mode"] == mode), "{records:?}");
    }
    assert!(device.is_all_zeros(), "its room is given back");

    let made = std::process::Command::new("mkfs.ext4")
        .args(["-q", "-F", "-L", "precious", &device.path])
        .status();
    assert!(made.unwrap().success());
    let args = ["run", "--device", &device.path, "--", "true"];
    let refused = ended(&place, &args);
    refused.failed(125, &["ext4", "precious", &device.path, "--force"]);
    let ran = ended(&place, &[&["run", "--force"], &args[1..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(left(&place).len(), 1, "the test's own loop device");
}

#[test]
fn without_root_it_says_what_else_there_is() {
    if !need_root() || !need("setpriv") {
        return;
    }
    let place = Place::new();
    let mut command = std::process::Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--clear-groups",
        common::CMKIT,
        "scratch",
        "run",
        "--size",
        "48M",
        "--",
        "true",
    ]);
    let refused: common::Ended = command
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap()
        .into();
    refused.failed(125, &["root", "cmkit scratch serve --socket"]);
    let mut command = std::process::Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--clear-groups",
        common::CMKIT,
        "scratch",
        "status",
    ]);
    let refused: common::Ended = command
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap()
        .into();
    refused.failed(2, &["XDG_RUNTIME_DIR", "--state-dir"]);
    drop(place);
}

#[test]
fn a_killed_agent_leaves_what_recovery_takes_away() {
    if !need_root() {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.path("m")).unwrap();
    fs::create_dir_all(place.path("other")).unwrap();
    let other = Running::start(
        &place,
        &["mount", "other", "--size", "48M", "--job", "other"],
    );
    let mounted = Running::start(&place, &["mount", "m", "--size", "48M", "--job", "a"]);
    ended(&place, &["mount", "m", "--size", "48M", "--job", "a"])
        .failed(1, &["a runs already", &mounted.id().to_string()]);
    fs::write(place.path("other/file"), "unharmed").unwrap();
    // Under load: somebody writes all the time.
    let writer = std::thread::spawn({
        let file = place.path("m/file");
        move || while fs::write(&file, vec![1; 1 << 20]).is_ok() {}
    });
    mounted.stop(Signal::KILL);
    writer.join().unwrap();
    let status = ended(&place, &["status"]);
    assert!(String::from_utf8(status.stdout).unwrap().contains("dead"));
    until("it is taken away", || {
        ended(&place, &["recover"]).code == Some(0)
    });
    assert!(
        left(&place).iter().all(|line| line.contains("other")),
        "{:?}",
        left(&place)
    );
    assert_eq!(fs::read(place.path("other/file")).unwrap(), b"unharmed");
    let records = records(&place);
    assert!(
        records
            .iter()
            .any(|r| r["job"] == "a" && r["recovered"] == true)
    );

    // And by its name, from another process.
    let other_id = other.id().to_string();
    let status = ended(&place, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["jobs"][0]["process"].to_string(), other_id);
    let end = ended(&place, &["end", "other"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    end.said(&["erased: other"]);
    assert_eq!(other.wait().code, Some(0));
    assert_eq!(left(&place), [""; 0]);
    ended(&place, &["end", "other"]).failed(1, &["no job other"]);
}
