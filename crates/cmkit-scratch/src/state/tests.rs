//! Jobs that run, end and die.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::time::UtcTime;
use cmkit::{Error, ErrorKind};

fn state_dir() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run/cmkit")).unwrap();
    (dir, state)
}

fn full(job: &str) -> JobState {
    JobState {
        volume: "v-1".into(),
        mode: "xts".into(),
        size: 1 << 40,
        keys: vec!["local:team/1".into()],
        backing: BackingPlace::File {
            path: "/scratch/disk".into(),
        },
        socket: Some("/run/cmkit/a.sock".into()),
        fuse_dir: Some("/run/cmkit/fuse".into()),
        loop_device: Some(LoopState {
            path: Some("/dev/loop7".into()),
            backing_file: "/run/cmkit/fuse/disk".into(),
        }),
        mount_dir: Some("/mnt/job".into()),
        created_files: vec![CreatedFile::planned("/scratch/disk".into())],
        created_dirs: vec!["/mnt/job".into()],
        ..JobState::new(job)
    }
}

fn only(state: &StateDir) -> JobEntry {
    let mut jobs = state.jobs().unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

#[test]
fn a_job_runs_and_is_released() {
    let (_dir, state) = state_dir();
    assert!(state.jobs().unwrap().is_empty());
    let claim = state.claim("a").unwrap();
    assert!(claim.left_behind().is_none());
    // Nothing is held yet.
    assert!(state.jobs().unwrap().is_empty());
    let saved = full("a");
    claim.save(&JobState::new("a")).unwrap();
    claim.save(&saved).unwrap();
    // Twice: looking must not let the lock go.
    for _ in 0..2 {
        let entry = only(&state);
        let process = Some(std::process::id());
        assert_eq!(entry.liveness, Liveness::Running { process });
        assert_eq!(entry.state.unwrap(), saved);
    }
    let file = fs::metadata(state.path().join("jobs/a.json")).unwrap();
    assert_eq!(file.mode() & 0o777, 0o600);
    claim.release().unwrap();
    assert!(state.jobs().unwrap().is_empty());
    assert!(
        fs::read_dir(state.path().join("jobs"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn a_job_begins_once() {
    let (_dir, state) = state_dir();
    let first = state.claim("a").unwrap();
    let again = state.claim("a").unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Busy);
    let expected = format!("job a runs already, in process {}", std::process::id());
    assert!(again.to_string().starts_with(&expected), "{again}");
    // Also through another handle of the same directory.
    let link = state.path().parent().unwrap().join("link");
    symlink(state.path(), &link).unwrap();
    assert_eq!(
        StateDir::open(&link).unwrap_err().kind(),
        ErrorKind::AccessDenied
    );
    let other = StateDir::open(&state.path().join("../cmkit")).unwrap();
    assert_eq!(other.claim("a").unwrap_err().kind(), ErrorKind::Busy);
    other.claim("b").unwrap();
    drop(first);
    other.claim("a").unwrap();
}

#[test]
fn of_many_threads_one_has_it() {
    let (_dir, state) = state_dir();
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if let Ok(claim) = state.claim("a") {
                        claim
                            .save(&JobState::new("a"))
                            .unwrap_or_else(|e| panic!("{e}"));
                        use std::sync::atomic::Ordering::SeqCst;
                        assert_eq!(inside.fetch_add(1, SeqCst), 0);
                        state.jobs().unwrap();
                        inside.fetch_sub(1, SeqCst);
                        claim.release().unwrap();
                    }
                }
            });
        }
    });
    assert!(state.jobs().unwrap().is_empty());
}

#[test]
fn names_and_states_that_do_not_fit() {
    let (_dir, state) = state_dir();
    for name in ["", "..", "a/b", ".a", &"x".repeat(65)] {
        let refused = state.claim(name).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
    let claim = state.claim("a").unwrap();
    let other = claim.save(&JobState::new("b")).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_state_that_cannot_be_read_is_named() {
    let (_dir, state) = state_dir();
    let path = state.path().join("jobs/a.json");
    fs::write(&path, "{").unwrap();
    assert!(state.claim("a").unwrap_err().to_string().contains("a.json"));
    assert!(only(&state).state.is_err());
    // Of a later version.
    let text = r#"{"job":"a","colour":1,"backing":{"kind":"moon","phase":{}},"owner":{"tribe":1}}"#;
    fs::write(&path, text).unwrap();
    let read = only(&state).state.unwrap();
    assert_eq!(
        (read.job.as_str(), read.backing),
        ("a", BackingPlace::Unknown)
    );
    assert!(!read.owner.is_alive() && !read.owner.is_of_this_boot());
    assert_eq!(read.created, UtcTime::from_unix(0));
}

#[test]
fn temporary_files_go_with_the_next_claim_and_no_others() {
    let (_dir, state) = state_dir();
    let jobs = state.path().join("jobs");
    let stale = jobs.join(".a.json.0123456789abcdef.cmk-tmp");
    let other = jobs.join(".a.json.json.0123456789abcdef.cmk-tmp");
    fs::write(&stale, "{").unwrap();
    fs::write(&other, "{").unwrap();
    assert!(state.jobs().unwrap().is_empty());
    state.claim("a").unwrap();
    assert!(!stale.exists() && other.exists());
}

#[test]
fn a_process_is_told_from_the_next_with_its_number() {
    let me = Owner::this_process();
    assert!(me.is_alive() && me.started > 0);
    let earlier = Owner {
        started: me.started - 1,
        ..me.clone()
    };
    assert!(!earlier.is_alive() && earlier.is_of_this_boot());
    let before = Owner {
        boot: "another".into(),
        ..me
    };
    assert!(!before.is_alive() && !before.is_of_this_boot());
}

/// Not a test by itself: a process that owns a job, has a child that shares its open lock file as a forked one does, and waits to be killed.
#[test]
fn owner_that_waits() {
    let Some(dir) = std::env::var_os("CMKIT_TEST_STATE") else {
        return;
    };
    let state = StateDir::open(Path::new(&dir)).unwrap();
    let claim = state.claim("a").unwrap();
    claim.save(&full("a")).unwrap();
    let mut child = Command::new("sleep");
    child
        .arg("600")
        .stdin(claim.lock_file().try_clone().unwrap());
    child.stdout(Stdio::null()).stderr(Stdio::null());
    let mut spawned = child.spawn().unwrap();
    println!("\nchild {}", spawned.id());
    let _ = spawned.wait();
    // Not earlier: closing its descriptor lets the lock go.
    drop(child);
}

/// The owner and the child that shares its lock file; ended on drop.
struct Family {
    owner: Child,
    child: String,
}

impl Family {
    fn start(state: &StateDir) -> Self {
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::tests::owner_that_waits", "--nocapture"])
            .env("CMKIT_TEST_STATE", state.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
        let child = lines.map_while(std::io::Result::ok).find_map(|line| {
            let number = line.strip_prefix("child ");
            number.map(str::to_owned)
        });
        let child = child.expect("the owner says who its child is");
        Self { owner, child }
    }

    fn kill_owner(&mut self) {
        self.owner.kill().unwrap();
        self.owner.wait().unwrap();
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let _ = self.owner.kill();
        let _ = self.owner.wait();
        let _ = Command::new("kill").arg(&self.child).status();
    }
}

#[test]
fn a_killed_owner_is_dead_though_its_child_lives() {
    let (_dir, state) = state_dir();
    let mut family = Family::start(&state);
    let process = family.owner.id();
    let entry = only(&state);
    assert_eq!(
        entry.liveness,
        Liveness::Running {
            process: Some(process)
        }
    );
    assert!(entry.state.unwrap().owner.is_alive());
    match state.claim("a").unwrap_err() {
        Error::Busy { problem } => {
            assert!(problem.contains(&format!("process {process}")), "{problem}");
        }
        other => panic!("{other}"),
    }
    family.kill_owner();
    assert!(Path::new(&format!("/proc/{}", family.child)).exists());
    let entry = only(&state);
    assert_eq!(entry.liveness, Liveness::Dead);
    let left = entry.state.unwrap();
    assert!(!left.owner.is_alive() && left.owner.is_of_this_boot());
    let claim = state.claim("a").unwrap();
    assert_eq!(claim.left_behind(), Some(&left));
    assert_eq!(left.loop_device, full("a").loop_device);
    claim.release().unwrap();
    assert!(state.jobs().unwrap().is_empty());
}

/// Not a test by itself: a process that takes a job and lets it go again, many times.
#[test]
fn contender() {
    let Some(dir) = std::env::var_os("CMKIT_TEST_CONTENDED") else {
        return;
    };
    let state = StateDir::open(Path::new(&dir)).unwrap();
    let inside = state.path().join("inside");
    let mut times = 0;
    while times < 1000 {
        match state.claim("a") {
            Ok(claim) => {
                fs::File::create_new(&inside).expect("nobody else is inside");
                fs::remove_file(&inside).unwrap();
                claim.release().unwrap();
                times += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
        }
    }
}

#[test]
fn of_many_processes_one_has_it() {
    let (_dir, state) = state_dir();
    let contenders = [(); 3].map(|()| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::tests::contender"])
            .env("CMKIT_TEST_CONTENDED", state.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    });
    let ended = contenders.map(|mut contender| contender.wait().unwrap());
    assert!(ended.iter().all(|status| status.success()), "{ended:?}");
}
