//! Policies that change the whole process, so each of these runs in a process of its own: this test program again, with a task.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use cmkit_scratch::{MemoryPolicy, protect_process};

const TASK: &str = "CMKIT_TEST_PROTECT";

/// Not a test by itself: the process that the others start.
#[test]
fn task() {
    use MemoryPolicy::{BestEffort, Off, Required};
    let Some(task) = std::env::var_os(TASK) else {
        return;
    };
    let policy = match task.to_str().unwrap() {
        "required" => Required,
        "best effort" => BestEffort,
        _ => Off,
    };
    match protect_process(policy, policy) {
        Ok(done) => println!("{done:?}"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
    // Memory that comes later is covered too.
    let later = vec![1_u8; 8 << 20];
    assert!(later.iter().all(|b| *b == 1));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for line in status
        .lines()
        .filter(|l| l.starts_with("VmLck") || l.starts_with("VmRSS"))
    {
        println!("{line}");
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    println!(
        "{}",
        limits.lines().find(|l| l.starts_with("Max core")).unwrap()
    );
    println!(
        "dumpable {:?}",
        rustix::process::dumpable_behavior().unwrap()
    );
}

/// Its output; with `limited`, without the right to lock memory and with room for 64 KiB. `None`: that can't be had here.
fn run(task: &str, limited: bool) -> Option<String> {
    let me = std::env::current_exe().expect("a test program has a path");
    let mut command = if limited {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
        command.args(["prlimit", "--memlock=65536:65536"]).arg(me);
        command
    } else {
        Command::new(me)
    };
    let output = command
        .args(["--exact", "task", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).expect("it writes text"))
        }
        other => {
            assert!(limited, "{other:?}");
            assert!(std::env::var_os("CI").is_none(), "{other:?}");
            eprintln!("skipped, this process can't be limited: {other:?}");
            None
        }
    }
}

#[test]
fn off_changes_nothing() {
    let text = run("off", false).unwrap();
    assert!(
        text.contains("memory_locked: false, core_dumps_off: false, warnings: []"),
        "{text}"
    );
    assert!(text.contains("dumpable Dumpable"), "{text}");
    assert!(text.contains("VmLck:\t       0 kB"), "{text}");
}

#[test]
fn core_dumps_are_off_and_a_job_may_have_its_own() {
    let text = run("best effort", false).unwrap();
    assert!(text.contains("core_dumps_off: true"), "{text}");
    assert!(text.contains("dumpable NotDumpable"), "{text}");
    let limit = text
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(limit.split_whitespace().nth(4), Some("0"), "{limit}");
}

#[test]
fn memory_is_locked_where_it_may_be() {
    let text = run("best effort", false).unwrap();
    let locked = text.contains("memory_locked: true");
    let line = text.lines().find(|l| l.starts_with("VmLck")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    if rustix::process::geteuid().is_root() && !locked {
        eprintln!("root may not lock memory here: {text}");
    }
    assert_eq!(kib > 8 << 10, locked, "{text}");
    assert_eq!(text.contains("warnings: []"), locked, "{text}");
}

#[test]
fn a_limit_is_explained() {
    let Some(text) = run("required", true) else {
        return;
    };
    assert!(
        text.contains("AccessDenied: the memory of this process can't be locked"),
        "{text}"
    );
    assert!(text.contains("RLIMIT_MEMLOCK is 65536 bytes"), "{text}");
    assert!(text.contains("LimitMEMLOCK=infinity"), "{text}");
    let text = run("best effort", true).unwrap();
    assert!(
        text.contains("memory_locked: false, core_dumps_off: true"),
        "{text}"
    );
    assert!(text.contains("RLIMIT_MEMLOCK is 65536 bytes"), "{text}");
}
