//! From options to what a disk is to be.

use std::path::{Path, PathBuf};

use cmkit::{BlockSize, Keyring, MaintenanceThread, SectorSize};
use cmkit_scratch::{JobSpec, Occupied, Place, VolumeMode, VolumeSpec};

use super::tell::failure;
use crate::args::{self, Mode};
use crate::discreet::shown;
use crate::failure::{Doing, Failure, Result, say};
use crate::keyrings::Keyrings;
use crate::keys::Home;

/// What a disk is to be, and what has to live as long as it does.
pub(super) struct Disk {
    pub(super) spec: JobSpec,
    pub(super) keys: Keys,
}

/// The keyring of a disk, and what keeps asking its keys.
pub(super) struct Keys {
    pub(super) keyrings: Keyrings,
    maintained: Option<MaintenanceThread>,
}

impl Keys {
    pub(super) fn new(keyrings: Keyrings) -> Self {
        Self {
            keyrings,
            maintained: None,
        }
    }

    /// Has a key that is taken away noticed while nobody reads or writes.
    pub(super) fn maintain(&mut self, keyring: &Keyring) -> Result {
        let thread = keyring.maintenance_thread();
        self.maintained = Some(thread.map_err(|e| Failure::of(&e, Doing::Else))?);
        Ok(())
    }
}

impl Disk {
    pub(super) fn new(args: args::Disk, home: Home, quiet: bool) -> Result<Self> {
        let mode = volume_mode(args.mode, args.block_size)?;
        if let Some(size) = args.size {
            check_whole(size, mode)?;
        }
        let mut volume = VolumeSpec::new(mode);
        let mut keys = Keys::new(Keyrings::new(home, args.vault, args.audit)?);
        if !args.key.is_empty() {
            let keyring = keys.keyrings.encrypting(&args.key, None)?;
            keys.maintain(&keyring)?;
            volume = volume.keyring(keyring);
        }
        let spec = match (args.device, args.size) {
            (Some(device), size) => {
                let occupied = if args.force {
                    Occupied::Overwrite
                } else {
                    Occupied::Refuse
                };
                match size {
                    None => JobSpec::on_device(device, occupied),
                    // That it has just this size is looked at.
                    Some(size) => JobSpec::new(size).at(Place::Device(device, occupied)),
                }
            }
            (None, Some(size)) => {
                let dir = args.dir.unwrap_or_else(temp_dir);
                if !quiet && is_in_memory(&dir) {
                    say(&format!(
                        "{} is in memory (tmpfs), and so will be what is written to the disk; name a directory of a real disk with `--dir`",
                        shown(&dir)
                    ));
                }
                JobSpec::new(size).in_dir(dir)
            }
            (None, None) => return Err(Failure::usage("give `--size`, or `--device`")),
        };
        Ok(Self {
            spec: spec.volume(volume),
            keys,
        })
    }
}

fn temp_dir() -> PathBuf {
    std::env::temp_dir()
}

pub(super) fn volume_mode(mode: Mode, block: u64) -> Result<VolumeMode> {
    // Larger than any that there is.
    let bytes = u32::try_from(block).unwrap_or(u32::MAX);
    match mode {
        Mode::Ephemeral => BlockSize::from_bytes(bytes).map(VolumeMode::Ephemeral),
        Mode::Xts => SectorSize::from_bytes(bytes).map(VolumeMode::Xts),
    }
    .map_err(|e| failure(&e))
}

/// Before anything is made.
pub(super) fn check_whole(size: u64, mode: VolumeMode) -> Result {
    let block = u64::from(mode.block_bytes());
    if size.is_multiple_of(block) {
        return Ok(());
    }
    let up = size.checked_next_multiple_of(block);
    let down = Some(size - size % block).filter(|down| *down > 0);
    let sizes: Vec<String> = [down, up].iter().flatten().map(u64::to_string).collect();
    Err(Failure::usage(format!(
        "{size} bytes aren't a whole number of blocks of {block}: use `--size {}`",
        sizes.join("` or `--size ")
    )))
}

/// Whether a directory's files are in memory.
pub(super) fn is_in_memory(dir: &Path) -> bool {
    // Those of tmpfs and ramfs (statfs(2)), in a type that differs between systems.
    rustix::fs::statfs(dir).is_ok_and(|found| matches!(found.f_type, 0x0102_1994 | 0x8584_58f6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_offered() {
        let mode = volume_mode(Mode::Ephemeral, 4096).unwrap();
        assert!(check_whole(8192, mode).is_ok());
        let failure = check_whole(5000, mode).unwrap_err();
        let message = failure.message().unwrap();
        assert!(
            message.ends_with("`--size 4096` or `--size 8192`"),
            "{message}"
        );
        let failure = check_whole(100, mode).unwrap_err();
        assert!(failure.message().unwrap().ends_with("use `--size 4096`"));
        assert!(volume_mode(Mode::Xts, 16384).is_err());
        assert!(volume_mode(Mode::Ephemeral, u64::MAX).is_err());
    }
}
