//! Standard input and output, named pipes, devices, and readers that go away.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Ended, Place, noise};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn all_ways_of_saying_pipe() {
    let place = Place::new();
    let plain = noise(300_000);
    place.write("a", &plain);
    for args in [
        &["encrypt"][..],
        &["encrypt", "-"],
        &["encrypt", "-o", "-"],
        &["encrypt", "-o", "-", "-"],
    ] {
        let sealed = place.pipe(args, &plain);
        assert_eq!(sealed.code, Some(0));
        let opened = place.pipe(&[&["decrypt"], &args[1..]].concat(), &sealed.stdout);
        assert_eq!(
            (opened.code, opened.stdout == plain),
            (Some(0), true),
            "{}",
            opened.stderr
        );
    }
    let sealed = place.run(&["encrypt", "-o", "-", "a"]).stdout;
    place.pipe(&["decrypt", "-o", "b"], &sealed);
    assert_eq!(place.read("b"), plain);
    place.pipe(&["encrypt", "-o", "b.cmk"], &plain);
    assert_eq!(place.run(&["decrypt", "-o", "-", "b.cmk"]).stdout, plain);
    // What came through a pipe has room for a rewrap too.
    assert_eq!(
        place
            .ok(&["inspect", "--json", "b.cmk"])
            .matches("\"header_length\": 4096")
            .count(),
        1
    );
    assert_eq!(place.names(), ["a", "b", "b.cmk"]);
    place
        .pipe(&["encrypt", "-o", "b.cmk"], &plain)
        .failed(1, &["b.cmk exists", "--force"]);
}

#[test]
fn nothing_is_something() {
    let place = Place::new();
    let sealed = place.pipe(&["encrypt"], b"");
    assert_eq!(sealed.stdout.len(), 4096 + 56 + 16);
    let opened = place.pipe(&["decrypt"], &sealed.stdout);
    assert_eq!((opened.code, opened.stdout.len()), (Some(0), 0));
    // Nothing at all is no envelope.
    assert_eq!(place.pipe(&["decrypt"], b"").code, Some(3));
}

#[test]
fn a_cut_pipe_says_not_to_use_what_came_before() {
    let place = Place::new();
    let plain = noise(1 << 20);
    let sealed = place.pipe(&["encrypt"], &plain).stdout;

    let cut = place.pipe(&["decrypt"], &sealed[..sealed.len() - 1]);
    assert_eq!(cut.code, Some(3));
    assert!(!cut.stdout.is_empty() && plain.starts_with(&cut.stdout));
    cut.said(&[
        "standard input",
        &format!("{} bytes", cut.stdout.len()),
        "don't use them",
    ]);
    assert!(
        !cut.stderr.contains("nothing was decrypted"),
        "{}",
        cut.stderr
    );

    let mut forged = sealed.clone();
    forged[sealed.len() - 20_000] ^= 1;
    let forged = place.pipe(&["decrypt"], &forged);
    assert_eq!(forged.code, Some(3));
    forged.said(&["standard input", "authentication failed", "don't use them"]);
    assert!(
        !forged.stderr.contains("nothing was decrypted"),
        "{}",
        forged.stderr
    );

    // More behind the end, and another envelope behind the end.
    for tail in [&b"x"[..], &sealed] {
        let longer = place.pipe(&["decrypt"], &[&sealed, tail].concat());
        assert_eq!(longer.code, Some(3));
        assert!(plain.starts_with(&longer.stdout));
    }

    // Into a file nothing comes at all; and of a file that is cut, not a byte.
    place
        .pipe(&["decrypt", "-o", "b"], &sealed[..sealed.len() - 1])
        .failed(3, &["standard input"]);
    place.write("cut.cmk", &sealed[..sealed.len() - 1]);
    place
        .run(&["decrypt", "-o", "-", "cut.cmk"])
        .failed(3, &["cut.cmk"]);
    assert_eq!(place.names(), ["cut.cmk"]);
}

#[test]
fn a_reader_that_goes_away_is_no_drama() {
    let place = Place::new();
    place.write("a", noise(8 << 20));
    place.ok(&["encrypt", "a"]);
    for args in [
        &["encrypt", "-o", "-", "a"][..],
        &["decrypt", "-o", "-", "a.cmk"],
        &["completions", "bash"],
        &["key", "list"],
        &["--help"],
    ] {
        let mut child = place.command(args).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut few = [0; 10];
        let _ = stdout.read(&mut few).unwrap();
        drop(stdout);
        let ended: Ended = child.wait_with_output().unwrap().into();
        assert_eq!(ended.stderr, "", "{args:?}");
        assert!(
            matches!(ended.code, Some(0 | 1)),
            "{args:?}: {:?}",
            ended.code
        );
    }
    // Nobody there from the start.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["decrypt", "-o", "-", "a.cmk"]);
    let ended: Ended = command.stdout(writer).output().unwrap().into();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}

#[test]
fn devices_are_written_to_and_not_replaced() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "a"]);
    place.ok(&["decrypt", "--force", "-o", "/dev/null", "a.cmk"]);
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    // A full device.
    place
        .run(&["decrypt", "-o", "/dev/full", "a.cmk"])
        .failed(1, &["/dev/full"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["encrypt", "-o", "-", "a"]);
    let ended: Ended = command.stdout(full).output().unwrap().into();
    ended.failed(1, &["standard output"]);
}

#[test]
fn named_pipes_are_streams() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = Place::new();
    for name in ["in", "out"] {
        mknodat(
            CWD,
            place.path(name),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
    }
    let plain = noise(1 << 20);
    let child = place
        .command(&["encrypt", "-o", "out", "in"])
        .spawn()
        .unwrap();
    let sealed = std::thread::scope(|scope| {
        scope.spawn(|| fs::write(place.path("in"), &plain).unwrap());
        fs::read(place.path("out")).unwrap()
    });
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    assert!(place.pipe(&["decrypt"], &sealed).stdout == plain);
}

#[test]
fn no_envelope_and_no_secret_key_on_a_terminal() {
    let place = Place::new();
    let id = place.create_key(&["default"]);
    place.write("a", "text");
    place.ok(&["encrypt", "a"]);

    let (_terminal, inside) = terminal();
    for (args, advice) in [
        (&["encrypt", "-o", "-", "a"][..], "`-o`"),
        (&["encrypt"], "`-o`"),
        (&["key", "export", &id], "`-o`"),
    ] {
        let mut command = place.command(args);
        let ended: Ended = command
            .stdout(inside.try_clone().unwrap())
            .output()
            .unwrap()
            .into();
        ended.failed(2, &["terminal", advice]);
    }
    // Plaintext may be read there.
    let mut command = place.command(&["decrypt", "-o", "-", "a.cmk"]);
    let ended: Ended = command.stdout(inside).output().unwrap().into();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn the_progress_bar_is_for_terminals_and_long_work() {
    let place = Place::new();
    place.create_key(&["default"]);
    let big = File::create(place.path("big")).unwrap();
    big.set_len(1 << 40).unwrap();
    // Should the interruption fail, the disk isn't to fill up: a file that grows beyond this ends its writer.
    let most = Rlimit {
        current: Some(8 << 30),
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, most).unwrap();

    let (terminal, inside) = terminal();
    rustix::io::ioctl_fionbio(&terminal, true).unwrap();
    let mut text = String::new();
    let ended = long_work(&place, inside.try_clone().unwrap().into(), || {
        text += &read_now(&terminal);
    });
    assert_eq!(ended.code, Some(130));
    assert!(
        text.contains("big [") && text.contains("/1.00 TiB"),
        "{text:?}"
    );
    assert!(text.contains("nothing was kept"), "{text:?}");

    let ended = long_work(&place, Stdio::piped(), || ());
    ended.failed(130, &[]);
    assert_eq!(ended.stderr, "cmkit: stopped; nothing was kept\n");
    assert_eq!(place.names(), ["big"]);

    // Short work shows nothing.
    place.write("a", "text");
    let mut command = place.command(&["encrypt", "a"]);
    assert!(
        command
            .stderr(inside.try_clone().unwrap())
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(read_now(&terminal), "");
}

/// What the terminal shows by now.
fn read_now(terminal: &OwnedFd) -> String {
    let mut buffer = vec![0; 1 << 16];
    let mut text = String::new();
    while let Ok(n) = rustix::io::read(terminal, &mut buffer) {
        text += &String::from_utf8_lossy(&buffer[..n]);
    }
    text
}

/// Work that takes long because it is stopped for a while, and is interrupted before it fills the disk. `look` is called all the time: nobody
/// can write to a terminal that is full.
fn long_work(place: &Place, stderr: Stdio, mut look: impl FnMut()) -> Ended {
    use rustix::process::{Pid, Signal, kill_process};
    let mut child = place
        .command(&["encrypt", "big"])
        .stderr(stderr)
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let mut pause = || {
        look();
        std::thread::sleep(Duration::from_millis(1));
    };
    while place.names().len() < 2 {
        pause();
    }
    for (signal, wait) in [(Signal::STOP, 600), (Signal::CONT, 150), (Signal::INT, 0)] {
        kill_process(pid, signal).unwrap();
        let until = Instant::now() + Duration::from_millis(wait);
        while Instant::now() < until {
            pause();
        }
    }
    while child.try_wait().unwrap().is_none() {
        pause();
    }
    pause();
    child.wait_with_output().unwrap().into()
}

/// A pseudo-terminal: our end, and the one for a command.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    (ours, theirs.into())
}
