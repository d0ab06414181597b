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
