//! Jobs with scratch disks, and whether anything of them is left.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{CMKIT, Ended, Place};

/// Far more than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this is root with devices for loops and FUSE.
pub(crate) fn need_root() -> bool {
    let permitted = cmkit_scratch::mount::check_permitted();
    missing(permitted.is_ok(), "root, /dev/fuse and loop devices")
}

/// Whether a program is there.
pub(crate) fn need(program: &str) -> bool {
    let dirs = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs
        .iter()
        .any(|dir| Path::new(dir).join(program).is_file());
    missing(found, &format!("the program {program}"))
}

fn missing(found: bool, what: &str) -> bool {
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this test needs {what}"
        );
        eprintln!("skipped: needs {what}");
    }
    found
}

/// `cmkit scratch` with a state directory in the place.
pub(crate) fn scratch(place: &Place, args: &[&str]) -> Command {
    let mut all = vec!["scratch"];
    all.extend(args);
    let mut command = place.command(&all);
    // Before the `--` of `run`, and not after it.
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut with_state = Command::new(CMKIT);
    with_state
        .args(&args[..2])
        .arg("--state-dir")
        .arg(place.path("../state"))
        .args(&args[2..]);
    with_state
        .current_dir(place.path(""))
        .env("CMKIT_HOME", place.home());
    with_state
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command = with_state;
    command
}

pub(crate) fn ended(place: &Place, args: &[&str]) -> Ended {
    scratch(place, args).output().unwrap().into()
}

/// A job in the background that has said that it is ready. Killed when a test fails.
pub(crate) struct Running {
    child: Option<Child>,
    /// What it printed first.
    pub(crate) line: String,
}

impl Running {
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        let mut child = scratch(place, args).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let running = Self {
            child: Some(child),
            line: line.trim_end().to_owned(),
        };
        if running.line.is_empty() {
            let ended = running.wait();
            panic!("{args:?} didn't get ready: {}", ended.stderr);
        }
        running
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> Ended {
        self.child
            .take()
            .unwrap()
            .wait_with_output()
            .unwrap()
            .into()
    }

    pub(crate) fn stop(self, signal: Signal) -> Ended {
        self.send(signal);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Mounts and loop devices that have to do with a place.
pub(crate) fn left(place: &Place) -> Vec<String> {
    let dir = fs::canonicalize(place.path("..")).unwrap();
    let dir = dir.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut left: Vec<String> = mounts
        .lines()
        .filter(|l| l.contains(dir))
        .map(str::to_owned)
        .collect();
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        left.extend(backing.ok().filter(|file| file.contains(dir)));
    }
    let jobs = fs::read_dir(place.path("../state/jobs")).unwrap().flatten();
    left.extend(jobs.map(|job| job.path().display().to_string()));
    left
}

/// The erasure records, as they are.
pub(crate) fn records(place: &Place) -> Vec<serde_json::Value> {
    let dir = fs::read_dir(place.path("../state/records"));
    let files = dir.into_iter().flatten().flatten();
    files
        .map(|file| serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap())
        .collect()
}

/// Waits for something.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A loop device over a file, which is what can be searched for plaintext.
pub(crate) struct Device {
    pub(crate) path: String,
    file: PathBuf,
}

impl Device {
    pub(crate) fn new(place: &Place, name: &str, len: u64) -> Self {
        let file = place.path(name);
        fs::File::create(&file).unwrap().set_len(len).unwrap();
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success());
        let path = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Self { path, file }
    }

    pub(crate) fn contains(&self, marker: &[u8]) -> bool {
        Command::new("sync")
            .arg("-f")
            .arg(&self.file)
            .status()
            .unwrap();
        let data = fs::read(&self.file).unwrap();
        data.windows(marker.len()).any(|window| window == marker)
    }

    pub(crate) fn is_all_zeros(&self) -> bool {
        fs::read(&self.file).unwrap().iter().all(|byte| *byte == 0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
    }
}
