//! Cleaning up after owners that died.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cmkit::{Error, Result};

use super::end::{RECORDS, record_of, remove_created};
use crate::backing::{Access, Backing as _, DeviceBacking, Punched};
use crate::fuse::SOURCE;
use crate::loop_device;
use crate::mount;
use crate::record::{Discard, ErasureRecord};
use crate::state::{BackingPlace, JobState, Liveness, StateDir};
use crate::time::UtcTime;

/// For a loop device to go, once its file's server is dead.
const MOMENT: Duration = Duration::from_secs(5);

/// A job whose owner died, and what became of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The job's name.
    pub job: String,
    /// What was cleaned up; or why it couldn't be looked at. What couldn't be taken away is in its `left_behind`, and is tried again next time.
    pub record: Result<ErasureRecord>,
}

/// Cleans up after every job whose owner died: mounts, loop devices, sockets, files; and writes an [`ErasureRecord`] for each. Jobs that run are left alone.
///
/// The keys died with their owners: what is left is what they encrypted.
///
/// # Errors
/// * [`Error::Io`]: the state directory can't be listed.
pub fn recover(state: &StateDir) -> Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for entry in state.jobs()? {
        if entry.liveness != Liveness::Dead {
            continue;
        }
        let claim = match state.claim(&entry.job) {
            Ok(claim) => claim,
            // Somebody else was faster.
            Err(Error::Busy { .. }) => continue,
            Err(error) => {
                recovered.push(Recovered {
                    job: entry.job,
                    record: Err(error),
                });
                continue;
            }
        };
        // As it is now, not as it was before the claim.
        let Some(left_behind) = claim.left_behind() else {
            continue;
        };
        let record = clean_up(left_behind);
        // What stays wasn't erased.
        let saved = if left_behind.is_kept() {
            Ok(())
        } else {
            record.save(&state.path().join(RECORDS)).map(drop)
        };
        let is_done = record.left_behind.is_empty();
        let result = saved.map(|()| record).and_then(|record| {
            if is_done {
                claim.release()?;
            }
            Ok(record)
        });
        recovered.push(Recovered {
            job: entry.job,
            record: result,
        });
    }
    Ok(recovered)
}

/// Takes away everything that a dead owner's state names, from the inside to the outside. Does no harm where it is gone.
pub(super) fn clean_up(state: &JobState) -> ErasureRecord {
    let mut record = record_of(state);
    record.recovered = true;
    record.end = "its process died".into();
    if !state.is_kept() {
        record.key_destroyed = Some(UtcTime::now());
    }
    let mut left = Vec::new();
    // Mounts and loop devices of before a restart are gone, and what has their names now is somebody else's.
    if state.owner.is_of_this_boot() {
        take_down(state, &mut left);
        record.discard = discard(&state.backing);
    }
    left.extend(remove_created(state));
    record.left_behind = left;
    record.ended = Some(UtcTime::now());
    record
}

fn take_down(state: &JobState, left: &mut Vec<String>) {
    let mut note = |result: Result<()>| left.extend(result.err().map(|e| e.to_string()));
    if let Some(state) = &state.loop_device {
        // Also those that were attached before the system's answer was written down.
        for device in loop_device::find(&state.backing_file) {
            match mount::dirs_of(&device) {
                Ok(dirs) => {
                    for dir in dirs {
                        note(mount::unmount_path_lazily(&dir, &device));
                    }
                }
                Err(error) => note(Err(error)),
            }
            let deadline = Instant::now() + MOMENT;
            note(loop_device::detach_path(
                &device,
                &state.backing_file,
                deadline,
            ));
        }
    }
    if let Some(dir) = &state.fuse_dir {
        note(mount::unmount_path_lazily(dir, Path::new(SOURCE)));
    }
    if let Some(socket) = &state.socket {
        note(remove_socket(socket));
    }
}

/// A socket that nobody answers at.
fn remove_socket(path: &Path) -> Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if !is_socket || UnixStream::connect(path).is_ok() {
        return Ok(());
    }
    fs::remove_file(path).map_err(|e| crate::failure::io_at("remove", path, e))
}

fn discard(place: &BackingPlace) -> Discard {
    let path = match place {
        BackingPlace::Device { path } => path,
        // Gone with the process, or removed with the files that the job made.
        BackingPlace::Anonymous { .. } | BackingPlace::Memory | BackingPlace::File { .. } => {
            return Discard::GivenBack;
        }
        BackingPlace::Kept { .. } | BackingPlace::Unknown => return Discard::NotTried,
    };
    // Fails for a device that somebody else has by now.
    let punched = DeviceBacking::open(path, Access::ReadWrite).and_then(|device| {
        let punched = device.punch(0, device.len());
        punched.map_err(|e| crate::failure::io_at("discard", path, e))
    });
    match punched {
        Ok(Punched::Yes) => Discard::GivenBack,
        Ok(Punched::Unsupported) => Discard::Unsupported,
        Err(error) => Discard::Failed {
            why: error.to_string(),
        },
    }
}
