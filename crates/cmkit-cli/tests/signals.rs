//! Ctrl-C and its like, sudden death, full disks, and memory.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{CMKIT, Ended, Place, noise};
use rustix::process::{Pid, Signal, kill_process};

const STOPPING: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn ended(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

/// Waits until a file has begun to grow under a temporary name.
fn wait_for_temporary(place: &Place) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !place.names().iter().any(|name| name.ends_with(".cmk-tmp")) {
        assert!(Instant::now() < patience, "no temporary file appears");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file that takes long and no room: a hole of 1 TiB.
fn hole(place: &Place, name: &str) {
    File::create(place.path(name))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
}

#[test]
fn a_signal_leaves_no_temporary_file() {
    let place = Place::new();
    place.create_key(&["default"]);
    hole(&place, "big");
    place.write("there", "precious");
    for (signal, code) in STOPPING {
        for args in [
            &["encrypt", "big"][..],
            &["encrypt", "--force", "-o", "there", "big"],
        ] {
            let child = place.command(args).spawn().unwrap();
            wait_for_temporary(&place);
            send(&child, signal);
            let ended = ended(child);
            ended.failed(code, &["nothing was kept"]);
            assert_eq!(place.names(), ["big", "there"]);
            assert_eq!(place.read("there"), b"precious");
        }
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_pipe() {
    let place = Place::new();
    place.create_key(&["default"]);
    let sealed = place.pipe(&["encrypt"], &noise(1 << 20)).stdout;
    for (signal, code) in STOPPING {
        for (args, input) in [
            (&["encrypt", "-o", "b"][..], &[0; 100_000][..]),
            (&["decrypt", "-o", "b"], &sealed[..500_000]),
        ] {
            let mut child = place.command(args).stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(input).unwrap();
            wait_for_temporary(&place);
            let start = Instant::now();
            send(&child, signal);
            let ended = ended(child);
            // Without the signal it would wait for the pipe's end for ever.
            assert!(start.elapsed() < Duration::from_secs(20));
            ended.failed(code, &["nothing was kept"]);
            drop(stdin);
            assert_eq!(place.names(), [""; 0]);
        }
        // From pipe to pipe there is nothing to remove and nothing to say.
        let mut child = place
            .command(&["encrypt"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut header = [0; 4096];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut header)
            .unwrap();
        let stdin = child.stdin.take();
        send(&child, signal);
        let ended = ended(child);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""));
        drop(stdin);
    }
}

#[test]
fn a_pipe_that_nobody_empties_can_be_interrupted() {
    let place = Place::new();
    place.create_key(&["default"]);
    hole(&place, "big");
    let child = place
        .command(&["encrypt", "-o", "-", "big"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    send(&child, Signal::INT);
    assert_eq!(ended(child).code, Some(130));
}

#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let place = Place::new();
    place.create_key(&["default"]);
    // A shell that ignores a signal hands that on.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$0\" encrypt"])
        .arg(CMKIT);
    command
        .env("CMKIT_HOME", place.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut header = [0; 4096];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut header)
        .unwrap();
    send(&child, Signal::HUP);
    std::thread::sleep(Duration::from_millis(100));
    drop(child.stdin.take());
    assert_eq!(ended(child).code, Some(0));
}

#[test]
fn killed_at_any_moment_the_destination_is_old_or_new() {
    let place = Place::new();
    place.create_key(&["default"]);
    let plain = noise(24 << 20);
    place.write("a", &plain);
    let start = Instant::now();
    place.ok(&["encrypt", "a"]);
    let whole = start.elapsed();
    let mut finished = 0;
    for round in 0..30_u32 {
        let old = format!("old {round}");
        place.write("there", &old);
        let _ = fs::remove_file(place.path("new"));
        for (args, name) in [
            (&["encrypt", "-o", "new", "a"][..], "new"),
            (&["encrypt", "--force", "-o", "there", "a"], "there"),
        ] {
            let child = place.command(args).spawn().unwrap();
            std::thread::sleep(whole * (round * 37 % 30) / 25);
            send(&child, Signal::KILL);
            let _ = ended(child);
            let there = fs::read(place.path(name)).ok();
            match there {
                None => assert_eq!(name, "new"),
                Some(bytes) if bytes == old.as_bytes() => assert_eq!(name, "there"),
                Some(_) => {
                    finished += 1;
                    assert!(place.run(&["decrypt", "-o", "-", name]).stdout == plain);
                }
            }
        }
    }
    println!("{finished} of 60 had finished");
    // What a killed process leaves is hidden, private and recognisable.
    for name in place.names() {
        assert!(
            ["a", "a.cmk", "new", "there"].contains(&&*name) || name.ends_with(".cmk-tmp"),
            "{name}"
        );
    }
}

#[test]
fn the_key_directory_survives_being_killed() {
    let place = Place::new();
    place.write("a", "text");
    for round in 0..20_u32 {
        let child = place.command(&["encrypt", "--force", "a"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(500) * round);
        send(&child, Signal::KILL);
        let _ = ended(child);
    }
    place.ok(&["encrypt", "--force", "a"]);
    assert_eq!(place.ok(&["decrypt", "-o", "-", "a.cmk"]), "text");
    assert_eq!(place.ok(&["key", "list"]).lines().count(), 2);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(parent.path(), "6m") else {
        println!("SKIPPED: mounting a small tmpfs takes root");
        eprintln!("SKIPPED: mounting a small tmpfs takes root");
        return;
    };
    let place = Place::within(parent.path());
    let key = place.run(&["key", "create", "default"]);
    assert_eq!(key.code, Some(0), "{}", key.stderr);
    place.write("a", noise(4 << 20));
    place.write("small", "text");
    place
        .run(&["encrypt", "a"])
        .failed(1, &["a.cmk", "No space left"]);
    assert_eq!(place.names(), ["a", "small"]);
    place.write("there", "precious");
    place
        .run(&["encrypt", "--force", "-o", "there", "a"])
        .failed(1, &["there", "No space left"]);
    assert_eq!(place.read("there"), b"precious");
    let piped = place.pipe(&["encrypt", "-o", "b"], &noise(4 << 20));
    piped.failed(1, &["b", "No space left"]);
    // Decrypting, and making a key.
    let sealed = place.run(&["encrypt", "-o", "-", "a"]).stdout;
    fs::remove_file(place.path("a")).unwrap();
    place.write("s.cmk", sealed);
    place
        .run(&["decrypt", "-o", "a", "s.cmk"])
        .failed(1, &["a", "No space left"]);
    let rest = File::create(place.path("rest")).unwrap();
    while (&rest).write_all(&[1; 4096]).is_ok() {}
    place
        .run(&["key", "create", "more"])
        .failed(1, &["No space left"]);
    place
        .run(&["key", "rotate", "default"])
        .failed(1, &["No space left"]);
    assert_eq!(place.names(), ["rest", "s.cmk", "small", "there"]);
    fs::remove_file(place.path("rest")).unwrap();
    // No key was lost.
    assert_eq!(
        place.run(&["decrypt", "-o", "-", "s.cmk"]).stdout,
        noise(4 << 20)
    );
}

/// A file system of its own, taken away afterwards.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=700"),
                "tmpfs",
            ])
            .arg(at);
        let done = mount
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        done.then_some(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn memory_stays_below_64_mib() {
    let place = Place::new();
    place.create_key(&["default"]);
    let big = File::create(place.path("big")).unwrap();
    big.set_len(512 << 20).unwrap();
    let mut figures = Vec::new();
    for args in [
        &["encrypt", "big"][..],
        &["decrypt", "-o", "back", "big.cmk"],
        &["encrypt", "-o", "-", "big"],
        &["decrypt", "-o", "-", "big.cmk"],
        &["rewrap", "--to", "local:default", "big.cmk"],
    ] {
        let peak = peak_kib(place.command(args));
        assert!(peak > 0 && peak < 64 << 10, "{args:?} took {peak} KiB");
        figures.push(peak);
    }
    println!("peaks in KiB: {figures:?}");
    assert_eq!(fs::metadata(place.path("back")).unwrap().len(), 512 << 20);
}

/// The most memory that a command held, in KiB, looked at until it ends.
fn peak_kib(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = kib.unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(child.wait().unwrap().success());
    peak
}
