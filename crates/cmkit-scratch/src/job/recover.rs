//! Cleaning up after owners that died.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cmkit::{Error, Result};

use super::end::{discarded, record_of, within};
use super::files::{self, Left, remove_created};
use super::steps::step;
use crate::backing::{Access, Backing as _, DeviceBacking};
use crate::record::{Discard, ErasureRecord};
use crate::state::{BackingPlace, JobState, Liveness, StateDir};
use crate::time::UtcTime;
use crate::{fuse, loop_device, mount, nbd, probe};

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
            // Somebody else has cleaned up; it leaves no lock file either.
            let _ = claim.release();
            continue;
        };
        let records = state.records();
        let result = cleaned(left_behind, &records).and_then(|(record, again)| {
            if !again {
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

/// Cleans up, and writes it down. What stays wasn't erased, and has no record. Whether something is to be tried again.
pub(super) fn cleaned(state: &JobState, records: &Path) -> Result<(ErasureRecord, bool)> {
    let (record, again) = clean_up(state, records);
    if !state.is_kept() {
        record.save(records)?;
    }
    Ok((record, again))
}

/// Takes away everything that a dead owner's state names, from the inside to the outside. Does no harm where it is gone. Whether something is to be tried again.
fn clean_up(state: &JobState, records: &Path) -> (ErasureRecord, bool) {
    let mut record = begun(state, records);
    let mut left = Left::default();
    // Mounts and loop devices of before a restart are gone, and what has their names now is somebody else's.
    if state.owner.is_of_this_boot() {
        take_down(state, &mut left);
        step();
    }
    // One that lives has a hung request, and with it the room.
    if record.discard != Discard::GivenBack && !state.owner.is_alive() {
        let state = state.clone();
        record.discard = within(move || discard(&state));
    }
    step();
    remove_created(state, &mut left);
    record.left_behind = left.sentences;
    record.ended.get_or_insert_with(UtcTime::now);
    (record, left.again)
}

/// The record that an end, or an earlier recovery, has made; or a new one.
fn begun(state: &JobState, records: &Path) -> ErasureRecord {
    let fresh = record_of(state);
    let path = records.join(format!("{}.json", fresh.volume));
    let earlier = ErasureRecord::load(&path).ok().or(state.erased.clone());
    if let Some(earlier) = earlier
        && earlier.volume == fresh.volume
        && earlier.job == fresh.job
        && earlier.created == fresh.created
    {
        return earlier;
    }
    ErasureRecord {
        recovered: true,
        end: "its process died".into(),
        key_destroyed: (!state.is_kept()).then(UtcTime::now),
        ..fresh
    }
}

fn take_down(state: &JobState, left: &mut Left) {
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            left.add(error.to_string());
        }
    };
    if let Some(dir) = &state.fuse_dir {
        let source = PathBuf::from(fuse::source_of(&state.volume));
        match mount::is_mounted(dir, &source) {
            Ok(true) => {
                // Its server is dead, but a child that was forked from it may keep the connection open, and requests would wait for an answer.
                mount::abort(dir);
                if let Some(device) = &state.loop_device {
                    detach(&device.backing_file, &mut note);
                }
                step();
                note(mount::unmount_path_lazily(dir, &source));
            }
            // What has its place, with its loop devices, is somebody else's.
            Ok(false) => {}
            Err(error) => note(Err(error)),
        }
    }
    step();
    if let Some(socket) = &state.socket {
        note(nbd::remove_stale(socket));
    }
}

/// Takes away the loop devices of a file, also one that was attached before the system's answer was written down, and what is mounted from them.
fn detach(file: &Path, note: &mut impl FnMut(Result<()>)) {
    for device in loop_device::find(file) {
        match mount::dirs_of(&device) {
            Ok(dirs) => {
                for dir in dirs {
                    note(mount::unmount_path_lazily(&dir, &device));
                }
            }
            Err(error) => note(Err(error)),
        }
        step();
        let deadline = Instant::now() + MOMENT;
        note(loop_device::detach_path(&device, file, deadline));
    }
}

fn discard(state: &JobState) -> Discard {
    match &state.backing {
        BackingPlace::Device { path, sequence } => discard_device(path, *sequence, state),
        BackingPlace::File { path } => files::discard(path, state),
        // Gone with the process.
        BackingPlace::Anonymous { .. } | BackingPlace::Memory => Discard::GivenBack,
        BackingPlace::Kept { .. } | BackingPlace::Unknown => Discard::NotTried,
    }
}

/// Of a device only if it is certain that it is the one, and that nobody has put anything on it since.
fn discard_device(path: &Path, sequence: Option<u64>, state: &JobState) -> Discard {
    if sequence.is_none() && state.volume.is_empty() {
        // It wasn't opened yet.
        return Discard::NotTried;
    }
    let punched = DeviceBacking::open(path, Access::ReadWrite).and_then(|device| {
        let is_it = state.owner.is_of_this_boot()
            && sequence.is_some()
            && device.sequence() == sequence
            && device.len() == state.size;
        let not_it = |why: &str| Error::InvalidArgument {
            problem: format!("{}: {why}; it was left as it is", path.display()),
        };
        if !is_it {
            return Err(not_it("it may be another device by now"));
        }
        if let Some(what) = probe::signature(path)? {
            return Err(not_it(&format!("there is {what} on it")));
        }
        let punched = device.punch(0, device.len());
        punched.map_err(|e| crate::failure::io_at("discard", path, e))
    });
    discarded(punched)
}
