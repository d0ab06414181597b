//! `cmkit scratch serve`, `create` and `open`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
#[path = "common/scratch.rs"]
mod disks;

use std::fs;
use std::process::Command;

use cmkit::{SectorSize, XtsKey};
use common::{Place, noise};
use disks::{Running, ended, left, need, need_root};
use rustix::process::Signal;

fn copy(from: &str, to: &str) -> bool {
    Command::new("nbdcopy")
        .args([from, to])
        .status()
        .unwrap()
        .success()
}

fn path(place: &Place, name: &str) -> String {
    place.path(name).to_str().unwrap().to_owned()
}

#[test]
fn a_disk_for_nbd_clients() {
    if !need("nbdcopy") || !need("nbdinfo") {
        return;
    }
    let place = Place::new();
    let data = noise(8 << 20);
    place.write("in", &data);
    for mode in ["ephemeral", "xts"] {
        let serving = Running::start(
            &place,
            &[
                "serve", "--socket", "s", "--size", "8M", "--mode", mode, "--job", "n",
            ],
        );
        let size = Command::new("nbdinfo")
            .args(["--size", &serving.line])
            .output()
            .unwrap();
        assert_eq!(size.stdout, b"8388608\n");
        assert!(copy(&path(&place, "in"), &serving.line));
        assert!(copy(&serving.line, &path(&place, "out")));
        assert!(place.read("out") == data);
        let stopped = serving.stop(Signal::TERM);
        assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
        stopped.said(&["erased: n, 8 MiB, 8 MiB written"]);
        assert!(!place.path("s").exists());
    }
    // Its room is in memory there, and a client that is there when it dies.
    let serving = Running::start(
        &place,
        &["serve", "--socket", "s", "--size", "8M", "--job", "n"],
    );
    let load = std::thread::spawn({
        let (from, to) = (path(&place, "in"), serving.line.clone());
        move || while copy(&from, &to) {}
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    serving.stop(Signal::KILL);
    load.join().unwrap();
    assert!(place.path("s").exists());
    // Whoever comes next cleans up.
    let next = Running::start(
        &place,
        &["serve", "--socket", "s", "--size", "8M", "--job", "next"],
    );
    let end = ended(&place, &["end", "next"]);
    assert_eq!(
        (end.code, next.wait().code),
        (Some(0), Some(0)),
        "{}",
        end.stderr
    );
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn a_volume_is_opened_again_also_under_another_key() {
    if !need("nbdcopy") {
        return;
    }
    let place = Place::new();
    place.create_key(&["team"]);
    place.create_key(&["other"]);
    let made = ended(
        &place,
        &["create", "v", "--size", "8M", "--key", "local:team"],
    );
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    made.said(&["v.cmkvol", "back up"]);
    assert_eq!(place.names(), ["v", "v.cmkvol"]);
    let again = ended(
        &place,
        &["create", "v", "--size", "8M", "--key", "local:team"],
    );
    again.failed(1, &["exists already"]);
    fs::rename(place.path("v"), place.path("w")).unwrap();
    ended(
        &place,
        &["create", "v", "--size", "8M", "--key", "local:team"],
    )
    .failed(1, &["cmkvol"]);
    fs::rename(place.path("w"), place.path("v")).unwrap();
    ended(
        &place,
        &[
            "create",
            "x",
            "--size",
            "8M",
            "--mode",
            "ephemeral",
            "--key",
            "local:team",
        ],
    )
    .failed(2, &["--mode xts"]);

    let data = noise(8 << 20);
    place.write("in", &data);
    let open = |key: &str| Running::start(&place, &["open", "v", "--key", key, "--socket", "s"]);
    let serving = open("local:team");
    assert!(copy(&path(&place, "in"), &serving.line));
    ended(
        &place,
        &["open", "v", "--key", "local:team", "--socket", "t"],
    )
    .failed(1, &["v"]);
    let stopped = serving.stop(Signal::INT);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    stopped.said(&["closed", "stays"]);

    place.ok(&[
        "rewrap",
        "--key",
        "local:team",
        "--to",
        "local:other",
        "v.cmkvol",
    ]);
    let refused = ended(
        &place,
        &["open", "v", "--key", "local:team", "--socket", "s"],
    );
    refused.failed(4, &["local:other"]);
    // Killed, it stays just as well: recovery gives nothing of it back.
    open("local:other").stop(Signal::KILL);
    assert_eq!(ended(&place, &["recover"]).code, Some(0));
    let serving = open("local:other");
    assert!(copy(&serving.line, &path(&place, "out")));
    assert!(place.read("out") == data);
    serving.stop(Signal::TERM);
    assert_eq!(disks::records(&place).len(), 0, "nothing was erased");

    let told = ended(
        &place,
        &["open", "v", "--key", "local:other", "--kernel-key", "k"],
    );
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("cryptsetup open --type plain") && told.contains("crypt aes-xts-plain64"),
        "{told}"
    );
    let key = XtsKey::from_bytes(&place.read("k"), SectorSize::B4096, 0).unwrap();
    let mut volume = place.read("v");
    key.decrypt_sectors(0, &mut volume).unwrap();
    assert!(volume == data);
}

#[test]
fn a_volume_with_a_file_system_is_mounted_again() {
    if !need_root() {
        return;
    }
    let place = Place::new();
    place.create_key(&["team"]);
    let made = ended(
        &place,
        &[
            "create",
            "v",
            "--size",
            "48M",
            "--key",
            "local:team",
            "--fs",
            "ext4",
        ],
    );
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    fs::create_dir(place.path("m")).unwrap();
    for round in 0..2 {
        let mounted = Running::start(
            &place,
            &[
                "open",
                "v",
                "--key",
                "local:team",
                "--mount",
                "m",
                "--job",
                "j",
            ],
        );
        if round == 1 {
            assert_eq!(fs::read(place.path("m/file")).unwrap(), b"kept");
        }
        fs::write(place.path("m/file"), "kept").unwrap();
        let end = ended(&place, &["end", "j"]);
        assert_eq!(
            (end.code, mounted.wait().code),
            (Some(0), Some(0)),
            "{}",
            end.stderr
        );
    }
    assert_eq!(left(&place), [""; 0]);
    let volume = place.read("v");
    assert!(!volume.windows(4).any(|w| w == b"kept" && volume.len() < 5));
    assert_ne!(volume[1080..1082], [0x53, 0xEF]);
}

#[test]
fn names_are_withheld_when_they_are_to_be() {
    if !need("nbdcopy") {
        return;
    }
    let place = Place::new();
    let refused: common::Ended = disks::scratch(
        &place,
        &[
            "serve",
            "--socket",
            "secret-s",
            "--size",
            "8M",
            "--job",
            "secret-j",
            "--dir",
            "/secret-d",
        ],
    )
    .env("CMKIT_HIGH_BUSINESS_IMPACT", "1")
    .output()
    .unwrap()
    .into();
    assert!(
        refused.code != Some(0) && !refused.stderr.contains("secret"),
        "{}",
        refused.stderr
    );
    let running = Running::start(
        &place,
        &[
            "serve", "--socket", "secret-s", "--size", "8M", "--job", "secret-j",
        ],
    );
    let status = disks::scratch(&place, &["status"])
        .env("CMKIT_HIGH_BUSINESS_IMPACT", "1")
        .output()
        .unwrap();
    assert_eq!(status.stdout, b"1 jobs, 0 of them dead\n");
    running.stop(Signal::TERM);
}
