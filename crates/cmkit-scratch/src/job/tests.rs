use std::time::Duration;

use super::{Expose, JobScratch, JobSpec, recover};
use crate::device::{BlockDevice as _, Durability};
use crate::file_system::FileSystem;
use crate::record::{Discard, ErasureRecord};
use crate::state::StateDir;

const A_WHILE: Duration = Duration::from_secs(10);

#[test]
fn a_job_that_ends_leaves_a_record_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let spec = JobSpec::new(8 << 20).in_dir(dir.path());
    let job = JobScratch::begin(&state, "one", &spec, &Expose::Nothing).unwrap();
    job.volume()
        .write_at(&[1; 5000], 0, Durability::Cached)
        .unwrap();
    assert!(JobScratch::begin(&state, "one", &spec, &Expose::Nothing).is_err());
    let volume = std::sync::Arc::clone(job.volume());
    let record = job.end(A_WHILE).unwrap();
    assert!(volume.is_destroyed());
    assert_eq!(record.left_behind, Vec::<String>::new());
    assert_eq!(record.discard, Discard::GivenBack);
    assert_eq!(record.bytes_written, 5000);
    assert!(state.jobs().unwrap().is_empty());
    let records = ErasureRecord::list(&state.path().join("records")).unwrap();
    assert_eq!(records.len(), 1);
    assert!(recover(&state).unwrap().is_empty());
}

#[test]
fn a_mounted_job() {
    if crate::mount::check_permitted().is_err() {
        assert!(std::env::var_os("CI").is_none());
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let spec = JobSpec::new(64 << 20).in_dir(dir.path());
    let expose = Expose::Mount {
        dir: None,
        file_system: FileSystem::Ext4,
        owner: None,
    };
    let job = JobScratch::begin(&state, "two", &spec, &expose).unwrap();
    let path = job.path().unwrap().to_owned();
    std::fs::write(path.join("file"), [7; 100_000]).unwrap();
    assert_eq!(std::fs::read(path.join("file")).unwrap(), [7; 100_000]);
    let record = job.end(A_WHILE).unwrap();
    assert_eq!(record.left_behind, Vec::<String>::new(), "{record:?}");
    assert!(!path.exists());
}

#[test]
fn a_record_that_cannot_be_written_is_written_by_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let records = state.path().join("records");
    std::fs::write(&records, "in the way").unwrap();
    let spec = JobSpec::new(8 << 20).in_dir(dir.path());
    let job = JobScratch::begin(&state, "one", &spec, &Expose::Nothing).unwrap();
    job.volume()
        .write_at(&[1; 5000], 0, Durability::Cached)
        .unwrap();
    let volume = std::sync::Arc::clone(job.volume());
    job.end_with(A_WHILE, "exit status 3").unwrap_err();
    assert!(volume.is_destroyed());
    std::fs::remove_file(&records).unwrap();
    let recovered = recover(&state).unwrap().remove(0).record.unwrap();
    assert_eq!(recovered.end, "exit status 3");
    assert_eq!(recovered.bytes_written, 5000);
    assert!(!recovered.recovered);
    let listed = ErasureRecord::list(&records).unwrap().remove(0).unwrap();
    assert_eq!(listed, recovered);
    assert!(state.jobs().unwrap().is_empty());
}

#[test]
fn what_is_left_behind_is_tried_again_and_the_record_stays_true() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let disk = dir.path().join("in/disk");
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let spec = JobSpec::new(8 << 20).at(super::Place::File(disk.clone()));
    let mut job = JobScratch::begin(&state, "one", &spec, &Expose::Nothing).unwrap();
    job.volume()
        .write_at(&[1; 5000], 0, Durability::Cached)
        .unwrap();
    // A directory that isn't empty.
    let full = dir.path().join("full");
    std::fs::create_dir_all(full.join("inner")).unwrap();
    job.state.created_dirs.push(full.clone());
    job.save().unwrap();
    let ended = job.end_with(A_WHILE, "exit status 3").unwrap();
    assert_eq!(ended.left_behind.len(), 1);
    assert_eq!(ended.discard, Discard::GivenBack);

    // Its name is not free as long as that is so, and nothing that has a name of its is touched.
    std::fs::write(&disk, "somebody's").unwrap();
    let refused = JobScratch::begin(&state, "one", &spec, &Expose::Nothing).unwrap_err();
    assert_eq!(refused.kind(), cmkit::ErrorKind::Busy);
    assert!(refused.to_string().contains("full"), "{refused}");
    std::fs::remove_dir(full.join("inner")).unwrap();
    let recovered = recover(&state).unwrap().remove(0).record.unwrap();
    assert!(!full.exists());
    assert_eq!(std::fs::read(&disk).unwrap(), b"somebody's");
    assert_eq!(
        ErasureRecord {
            left_behind: recovered.left_behind.clone(),
            ..ended
        },
        recovered
    );
    assert!(state.jobs().unwrap().is_empty());
}

#[test]
fn a_begin_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let disk = dir.path().join("disk");
    let spec = |len| JobSpec::new(len).at(super::Place::File(disk.clone()));
    // Not a whole number of blocks.
    JobScratch::begin(&state, "one", &spec(5000), &Expose::Nothing).unwrap_err();
    assert!(!disk.exists());
    std::fs::write(&disk, "somebody's").unwrap();
    JobScratch::begin(&state, "one", &spec(8192), &Expose::Nothing).unwrap_err();
    assert_eq!(std::fs::read(&disk).unwrap(), b"somebody's");
    let jobs = std::fs::read_dir(state.path().join("jobs")).unwrap();
    assert_eq!(jobs.count(), 0);
}

/// A job over a backing that fails on purpose.
fn faulty(dir: &StateDir, name: &str, expose: &Expose) -> (JobScratch, crate::Faults) {
    let (backing, faults) = crate::FaultyBacking::new(crate::MemoryBacking::new(64 << 20));
    let spec = JobSpec::new(64 << 20).at(super::Place::Memory);
    let mut job = JobScratch::begin(dir, name, &spec, &Expose::Nothing).unwrap();
    let volume = crate::Volume::create(Box::new(backing), &spec.volume).unwrap();
    job.state.volume = volume.id().to_owned();
    job.volume = std::sync::Arc::new(volume);
    job.expose(dir, expose).unwrap();
    (job, faults)
}

fn ends_though_everything_hangs(expose: &Expose, use_it: impl FnOnce(&std::path::Path)) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let (job, faults) = faulty(&state, "one", expose);
    for call in [
        crate::Call::Read,
        crate::Call::Write,
        crate::Call::Flush,
        crate::Call::Punch,
    ] {
        faults.plan_all(call, crate::Fault::Hung);
    }
    use_it(job.path().unwrap());
    let volume = std::sync::Arc::clone(job.volume());
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(job.end(Duration::from_secs(1)));
    });
    let ended = ended.recv_timeout(Duration::from_secs(90));
    let destroyed = volume.is_destroyed();
    // Also while it still hangs.
    let table = crate::mount::table::read().unwrap();
    let mounted = table.below(dir.path()).next().cloned();
    faults.clear();
    faults.release();
    let record = ended.expect("it ends").unwrap();
    thread.join().unwrap();
    assert!(destroyed);
    assert!(matches!(record.discard, Discard::Failed { .. }));
    assert_eq!(record.left_behind, Vec::<String>::new());
    assert_eq!(mounted, None);
    assert!(state.jobs().unwrap().is_empty());
}

#[test]
fn a_mounted_job_ends_though_its_disk_hangs() {
    if crate::mount::check_permitted().is_err() {
        return;
    }
    let expose = Expose::Mount {
        dir: None,
        file_system: FileSystem::Ext4,
        owner: None,
    };
    ends_though_everything_hangs(&expose, |dir| {
        let path = dir.join("file");
        // Waits in the kernel until the end.
        std::thread::spawn(move || std::fs::write(path, [7; 1 << 20]));
        std::thread::sleep(Duration::from_millis(200));
    });
}

#[test]
fn a_job_that_is_a_file_ends_though_its_disk_hangs() {
    if crate::mount::check_permitted().is_err() {
        return;
    }
    ends_though_everything_hangs(&Expose::File(None), |path| {
        let path = path.to_owned();
        std::thread::spawn(move || {
            let file = std::fs::OpenOptions::new().write(true).open(path);
            std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &[7; 4096], 0)
        });
        std::thread::sleep(Duration::from_millis(200));
    });
}

#[test]
fn without_a_deadline_users_are_waited_for() {
    if crate::mount::check_permitted().is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("run")).unwrap();
    let spec = JobSpec::new(64 << 20).in_dir(dir.path());
    let expose = Expose::Mount {
        dir: None,
        file_system: FileSystem::Ext4,
        owner: None,
    };
    let job = JobScratch::begin(&state, "one", &spec, &expose).unwrap();
    let file = std::fs::File::create(job.path().unwrap().join("file")).unwrap();
    let ending = std::thread::spawn(move || job.end(Duration::MAX));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!ending.is_finished());
    drop(file);
    let record = ending.join().unwrap().unwrap();
    assert_eq!(record.end, "ended");
}
