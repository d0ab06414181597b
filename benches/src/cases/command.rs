//! Whole commands, file to file: `cmkit encrypt` against `cp` and `age`; and what memory they take.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Row, Target};
use crate::measure::side_by_side;

const SIZE: usize = 1 << 30;

/// Rows for one directory (tmpfs or disk). `cmkit` is the path of the command.
///
/// # Panics
/// When a command fails.
#[must_use]
pub fn rows(dir: &Path, on_disk: bool, cmkit: &Path) -> Vec<Row> {
    let home = dir.join("home");
    let plain = dir.join("plain");
    write_noise(&plain);
    let path = |name: &str| dir.join(name).display().to_string();
    let plain_arg = plain.display().to_string();
    let cmkit_arg = cmkit.display().to_string();
    let home_arg = home.display().to_string();
    let encrypt = [
        &cmkit_arg,
        "--home",
        &home_arg,
        "encrypt",
        "--force",
        "-o",
        &path("plain.cmk"),
        &plain_arg,
    ]
    .map(String::from);
    let decrypt = [
        &cmkit_arg,
        "--home",
        &home_arg,
        "decrypt",
        "--force",
        "-o",
        &path("again"),
        &path("plain.cmk"),
    ]
    .map(String::from);
    // cmkit syncs what it wrote before it appears; `cp` is given the same work.
    let copy = if on_disk {
        format!("cp '{plain_arg}' '{0}' && sync '{0}'", path("copy"))
    } else {
        format!("cp '{plain_arg}' '{}'", path("copy"))
    };
    let copy = ["sh".to_owned(), "-c".to_owned(), copy];
    let place = if on_disk { "on disk" } else { "on tmpfs" };
    let peer_name = if on_disk { "cp + sync" } else { "cp" };

    let fresh = |names: &[&str]| {
        names
            .iter()
            .for_each(|n| drop(fs::remove_file(dir.join(n))))
    };
    let [encrypt_time, decrypt_time, copy_time] = side_by_side([
        &mut || {
            fresh(&["plain.cmk"]);
            run(&encrypt);
        },
        &mut || {
            fresh(&["again"]);
            run(&decrypt);
        },
        &mut || {
            fresh(&["copy"]);
            run(&copy);
        },
    ]);
    assert!(
        same(&plain, &dir.join("again")),
        "what was decrypted is what was encrypted"
    );

    let seconds = |s: f64| format!("{s:.2} s");
    let row = |verb: &str, ours: f64, peer_name: &str, peer: f64, target: f64| Row {
        what: format!("1 GiB file to file, cmkit {verb} / {peer_name}, {place}"),
        ours: seconds(ours),
        peer: seconds(peer),
        figure: ours / peer,
        target: Target::AtMost(target),
    };
    let mut rows = vec![
        row("encrypt", encrypt_time, peer_name, copy_time, 1.3),
        row("decrypt", decrypt_time, peer_name, copy_time, 1.3),
    ];
    if !on_disk {
        if let Some(age) = age_command(dir, &plain_arg) {
            let [ours, age_time] = side_by_side([
                &mut || {
                    fresh(&["plain.cmk"]);
                    run(&encrypt);
                },
                &mut || {
                    fresh(&["plain.age"]);
                    run(&age);
                },
            ]);
            rows.push(row("encrypt", ours, "age", age_time, 0.34));
        } else {
            eprintln!("age is not installed: its row is missing (apt-get install age)");
        }
        for (verb, command) in [("encrypt", &encrypt), ("decrypt", &decrypt)] {
            fresh(&[if verb == "encrypt" {
                "plain.cmk"
            } else {
                "again"
            }]);
            let mib = peak_memory(command);
            rows.push(Row {
                what: format!("memory of cmkit {verb}, 1 GiB"),
                ours: format!("{mib:.1} MiB"),
                peer: String::new(),
                figure: mib,
                target: Target::AtMost(64.0),
            });
        }
    }
    fresh(&["plain", "plain.cmk", "plain.age", "again", "copy"]);
    rows
}

fn run(command: &[String]) {
    let status = Command::new(&command[0])
        .args(&command[1..])
        .stderr(Stdio::null())
        .status()
        .expect("started");
    assert!(status.success(), "{command:?}");
}

fn age_command(dir: &Path, plain: &str) -> Option<Vec<String>> {
    let out = Command::new("age-keygen").output().ok()?;
    let text =
        String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    let recipient = text
        .split_whitespace()
        .find(|w| w.starts_with("age1"))?
        .to_owned();
    let out = dir.join("plain.age").display().to_string();
    Some(
        ["age", "-r", &recipient, "-o", &out, plain]
            .map(String::from)
            .to_vec(),
    )
}

/// The most memory that the process had resident, in MiB, looked up every few milliseconds (VmHWM only grows).
fn peak_memory(command: &[String]) -> f64 {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0.0f64;
    while child.try_wait().expect("a child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// A file that doesn't compress and isn't sparse.
fn write_noise(path: &Path) {
    let mut block = vec![0; 1 << 20];
    aws_lc_rs::rand::fill(&mut block).expect("randomness");
    let mut file = File::create(path).expect("a file");
    for i in 0..SIZE / block.len() {
        block[0] = u8::try_from(i % 256).unwrap_or_default();
        file.write_all(&block).expect("written");
    }
}

fn same(a: &Path, b: &Path) -> bool {
    Command::new("cmp")
        .args(["-s"])
        .args([a, b])
        .status()
        .is_ok_and(|s| s.success())
}
