//! Owners, and those who clean up after them, killed wherever that can be told apart.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{Expose, JobScratch, JobSpec, Occupied, Place, recover};
use crate::device::{BlockDevice as _, Durability};
use crate::file_system::FileSystem;
use crate::loop_device::{self, LoopDevice};
use crate::mount;
use crate::record::Discard;
use crate::state::StateDir;

const A_WHILE: Duration = Duration::from_secs(10);

fn may_mount() -> bool {
    let may = mount::check_permitted().is_ok();
    assert!(may || std::env::var_os("CI").is_none());
    may
}

/// A job's room: `run` for the state, `disk` for its file or device, `dir` for where it is seen.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        fs::create_dir(room.at("dir")).unwrap();
        room
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn state(&self) -> StateDir {
        StateDir::open(&self.at("run")).unwrap()
    }

    /// Has another process do something with the job `victim`, which dies at a step if that is given.
    fn victim(&self, does: &str, kind: &str, step: Option<u32>) -> ExitStatus {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "job::crash_tests::victim"]);
        command.env("CMKIT_TEST_ROOM", self.0.path());
        command.env("CMKIT_TEST_DOES", does);
        command.env("CMKIT_TEST_KIND", kind);
        if let Some(step) = step {
            command.env("CMKIT_TEST_DIE_AT_STEP", step.to_string());
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap()
    }

    /// That nothing of the victim is left, but its records.
    fn assert_clean(&self, what: &str) {
        let table = mount::table::read().unwrap();
        let mounted: Vec<_> = table.below(self.0.path()).collect();
        assert!(mounted.is_empty(), "{what}: {mounted:?}");
        let loops = loop_device::all();
        let mut loops = loops.iter().filter(|(_, f)| f.starts_with(self.0.path()));
        assert_eq!(loops.next(), None, "{what}");
        for name in ["disk", "socket"] {
            assert!(!self.at(name).exists(), "{what}: {name}");
        }
        for name in ["dir", "run/fuse", "run/mnt", "run/jobs"] {
            let entries = fs::read_dir(self.at(name)).into_iter().flatten();
            let mut names = entries.map(|entry| entry.unwrap().file_name());
            // The empty lock file of one that was killed before it had a state: the next job of that name takes it.
            let left = names.find(|file| file != "victim.lock");
            assert_eq!(left, None, "{what}: {name}");
        }
    }
}

fn spec_and_expose(room: &Path, kind: &str) -> (JobSpec, Expose) {
    let on_file = JobSpec::new(64 << 20).at(Place::File(room.join("disk")));
    let on_device = |path| JobSpec::on_device(path, Occupied::Refuse);
    let mounted = Expose::Mount {
        dir: None,
        file_system: FileSystem::Ext4,
        owner: None,
    };
    match kind {
        "nbd" => (on_file, Expose::Nbd(room.join("socket"))),
        "file" => (on_file, Expose::File(None)),
        "file-here" => (on_file, Expose::File(Some(room.join("dir")))),
        "mount" => (on_file, mounted),
        "nothing" => (on_file, Expose::Nothing),
        device => (on_device(device), Expose::Nothing),
    }
}

/// Not a test by itself: what the other process does.
#[test]
fn victim() {
    let Some(room) = std::env::var_os("CMKIT_TEST_ROOM") else {
        return;
    };
    let room = PathBuf::from(room);
    let state = StateDir::open(&room.join("run")).unwrap();
    let kind = std::env::var("CMKIT_TEST_KIND").unwrap();
    let (spec, expose) = spec_and_expose(&room, &kind);
    let begin = || JobScratch::begin(&state, "victim", &spec, &expose).unwrap();
    match std::env::var("CMKIT_TEST_DOES").unwrap().as_str() {
        "begin and end" => {
            let job = begin();
            let data = [7; 5000];
            job.volume().write_at(&data, 0, Durability::Cached).unwrap();
            job.end(A_WHILE).unwrap();
        }
        "die" => {
            let job = begin();
            let data = [7; 5000];
            let at = 32 << 20;
            job.volume()
                .write_at(&data, at, Durability::Durable)
                .unwrap();
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
        }
        "count" => {
            begin().end(A_WHILE).unwrap();
            let before = counts();
            for _ in 0..3 {
                let job = begin();
                // Somebody has the file open until after the end.
                let path = job.path().map(Path::to_owned);
                let open = path.filter(|p| p.is_file()).map(fs::File::open);
                job.end(A_WHILE).unwrap();
                drop(open);
            }
            // Threads take a moment to go.
            for _ in 0..600 {
                if counts() == before {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            panic!("{:?} became {:?}", before, counts());
        }
        _ => {
            recover(&state).unwrap();
        }
    }
}

/// Open files and threads.
fn counts() -> (usize, usize) {
    let count = |dir| fs::read_dir(dir).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

fn is_killed(status: ExitStatus) -> bool {
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

fn recover_all(room: &Room, what: &str) {
    // Several at once.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for recovered in recover(&room.state()).unwrap() {
                    let record = recovered.record.unwrap();
                    assert_eq!(record.left_behind, Vec::<String>::new(), "{what}");
                    assert!(record.key_destroyed.is_some());
                }
            });
        }
    });
    room.assert_clean(what);
}

fn killed_at_every_step(kind: &str) {
    let room = Room::new();
    let others = Room::new();
    let (spec, expose) = spec_and_expose(others.0.path(), kind);
    let other = JobScratch::begin(&others.state(), "other", &spec, &expose).unwrap();
    other
        .volume()
        .write_at(&[9; 100], 40 << 20, Durability::Cached)
        .unwrap();

    let mut steps = 0;
    while is_killed(room.victim("begin and end", kind, Some(steps))) {
        recover_all(&room, &format!("{kind}, step {steps}"));
        steps += 1;
    }
    assert!(steps > 8, "{steps}");
    room.assert_clean(kind);

    // Those who clean up are killed as well.
    let mut steps = 0;
    loop {
        is_killed(room.victim("die", kind, None));
        if !is_killed(room.victim("recover", kind, Some(steps))) {
            break;
        }
        recover_all(&room, &format!("{kind}, step {steps} of recovery"));
        steps += 1;
    }
    assert!(steps > 2, "{steps}");
    room.assert_clean(kind);

    let mut data = [0; 100];
    other.volume().read_at(&mut data, 40 << 20).unwrap();
    assert_eq!(data, [9; 100]);
    assert!(other.path().is_none_or(Path::exists));
    let record = other.end(A_WHILE).unwrap();
    assert_eq!(record.left_behind, Vec::<String>::new());
    others.assert_clean(kind);
}

#[test]
fn killed_at_every_step_with_a_file() {
    killed_at_every_step("nothing");
}

#[test]
fn killed_at_every_step_while_serving() {
    killed_at_every_step("nbd");
}

#[test]
fn killed_at_every_step_with_a_file_over_fuse() {
    if may_mount() {
        killed_at_every_step("file");
    }
}

#[test]
fn killed_at_every_step_while_mounted() {
    if may_mount() {
        killed_at_every_step("mount");
    }
}

#[test]
fn ends_leave_no_thread_and_no_open_file() {
    for kind in ["nothing", "nbd", "file", "mount"] {
        if !["file", "mount"].contains(&kind) || may_mount() {
            let room = Room::new();
            assert!(room.victim("count", kind, None).success(), "{kind}");
            room.assert_clean(kind);
        }
    }
}

#[test]
fn a_file_that_somebody_else_made_meanwhile_stays() {
    let room = Room::new();
    assert!(is_killed(room.victim("die", "nothing", None)));
    fs::rename(room.at("disk"), room.at("moved")).unwrap();
    fs::write(room.at("disk"), "somebody's").unwrap();
    let record = recover(&room.state()).unwrap().remove(0).record.unwrap();
    assert_eq!(fs::read(room.at("disk")).unwrap(), b"somebody's");
    assert!(matches!(record.discard, Discard::Failed { .. }));
    assert_eq!(record.left_behind.len(), 1, "{record:?}");
    // Nothing more can be done about it.
    assert!(recover(&room.state()).unwrap().is_empty());

    // The same while the job runs.
    let (spec, expose) = spec_and_expose(&room.at("dir"), "nothing");
    let job = JobScratch::begin(&room.state(), "victim", &spec, &expose).unwrap();
    let disk = room.at("dir/disk");
    fs::remove_file(&disk).unwrap();
    fs::write(&disk, "somebody's").unwrap();
    let record = job.end(A_WHILE).unwrap();
    assert_eq!(record.left_behind.len(), 1, "{record:?}");
    assert_eq!(fs::read(&disk).unwrap(), b"somebody's");
}

#[test]
fn a_file_of_two_names_is_emptied_by_recovery() {
    use std::os::unix::fs::MetadataExt as _;
    let room = Room::new();
    assert!(is_killed(room.victim("die", "nothing", None)));
    fs::hard_link(room.at("disk"), room.at("second")).unwrap();
    assert!(fs::metadata(room.at("second")).unwrap().blocks() > 0);
    let record = recover(&room.state()).unwrap().remove(0).record.unwrap();
    assert_eq!(record.discard, Discard::GivenBack);
    assert_eq!(fs::metadata(room.at("second")).unwrap().blocks(), 0);
}

#[test]
fn a_job_that_has_the_place_of_a_dead_one_is_left_alone() {
    if !may_mount() {
        return;
    }
    let room = Room::new();
    assert!(is_killed(room.victim("die", "file-here", None)));
    // By hand.
    let dir = room.at("dir").canonicalize().unwrap();
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH).unwrap();
    fs::remove_file(room.at("disk")).unwrap();

    let (spec, expose) = spec_and_expose(room.0.path(), "file-here");
    let next = JobScratch::begin(&room.state(), "next", &spec, &expose).unwrap();
    let file = dir.join("disk");
    let mut device = LoopDevice::attach(&file).unwrap();
    let recovered = recover(&room.state()).unwrap();
    assert_eq!(recovered.len(), 1);
    assert!(file.exists() && room.at("disk").exists());
    assert_eq!(loop_device::find(&file), [device.path()]);
    device.detach(std::time::Instant::now() + A_WHILE).unwrap();
    let record = next.end(A_WHILE).unwrap();
    assert_eq!(record.left_behind, Vec::<String>::new(), "{record:?}");
    room.assert_clean("the next job");
}

/// A device over a file of 64 MiB in a room.
fn device(room: &Room, name: &str) -> LoopDevice {
    let file = fs::File::create(room.at(name)).unwrap();
    file.set_len(64 << 20).unwrap();
    LoopDevice::attach(&room.at(name)).unwrap()
}

#[test]
fn a_dead_jobs_device_is_given_back_and_no_other() {
    use std::os::unix::fs::MetadataExt as _;
    if !may_mount() {
        return;
    }
    let room = Room::new();
    let recovered = || recover(&room.state()).unwrap().remove(0).record.unwrap();
    let blocks = |name| fs::metadata(room.at(name)).unwrap().blocks();
    let mut first = device(&room, "first");
    let path = first.path().to_str().unwrap().to_owned();
    assert!(is_killed(room.victim("die", &path, None)));
    assert!(blocks("first") > 0);
    assert_eq!(recovered().discard, Discard::GivenBack);
    assert_eq!(blocks("first"), 0);

    // Somebody has put something on it since.
    assert!(is_killed(room.victim("die", &path, None)));
    let content = crate::file_system::Content::Unknown;
    FileSystem::Ext4.make(first.path(), content).unwrap();
    let failed = recovered().discard;
    let said = format!("{failed:?}");
    assert!(said.contains("an ext4 file system on it"), "{said}");
    assert_eq!(mount_and_list(&room, first.path()), ["lost+found"]);

    // Another disk has its name.
    let zeros = vec![0; 2 << 20];
    fs::write(first.path(), &zeros).unwrap();
    let last = fs::OpenOptions::new()
        .write(true)
        .open(first.path())
        .unwrap();
    last.write_all_at(&zeros, 62 << 20).unwrap();
    drop(last);
    assert!(is_killed(room.victim("die", &path, None)));
    first.detach(std::time::Instant::now() + A_WHILE).unwrap();
    let second = device(&room, "second");
    if second.path() == Path::new(&path) {
        fs::write(second.path(), [5; 4096]).unwrap();
        let said = format!("{:?}", recovered().discard);
        assert!(said.contains("another device"), "{said}");
        let mut data = [0; 4096];
        let file = fs::File::open(second.path()).unwrap();
        file.read_exact_at(&mut data, 0).unwrap();
        assert_eq!(data, [5; 4096]);
    }
}

fn mount_and_list(room: &Room, device: &Path) -> Vec<String> {
    let mounted = mount::Mount::new(device, &room.at("dir"), FileSystem::Ext4).unwrap();
    let names = fs::read_dir(mounted.dir()).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
