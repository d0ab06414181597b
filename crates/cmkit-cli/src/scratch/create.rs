//! `cmkit scratch create`: a volume that can be opened again.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use cmkit::{AtomicFile, Error, Overwrite, VolumeLayout, XtsKey};
use cmkit_scratch::{
    Access, Backing, BlockDevice as _, Content, DeviceBacking, Expose, FileBacking, FileSystem,
    JobScratch, Volume, VolumeMode, probe,
};

use super::disk::{Keys, check_whole, volume_mode};
use super::tell::{failure, size};
use super::{state, volume_file};
use crate::args::{self, Mode};
use crate::discreet::shown;
use crate::failure::{Doing, Failure, Result, say};
use crate::keyrings::Keyrings;
use crate::keys::Home;
use crate::signals::Signals;

/// `cmkit scratch create`
pub(crate) fn run(args: args::ScratchCreate, home: Home, signals: &Signals) -> Result {
    if args.mode != Mode::Xts {
        return Err(Failure::usage(
            "an ephemeral volume can't be opened again, its tags are in memory only: use `--mode xts`, or `cmkit scratch serve`",
        ));
    }
    let mode = volume_mode(Mode::Xts, args.sector_size)?;
    let VolumeMode::Xts(sector_size) = mode else {
        return Err(Failure::usage("use `--mode xts`"));
    };
    let file = volume_file::path_of(&args.volume, args.volume_file)?;
    let keys = Keys::new(Keyrings::new(home, args.vault, args.audit)?);
    // A signal finds everything there, or nothing.
    let _held = signals.hold();
    let new = New::look(&args.volume, args.size, args.force, mode)?;
    let keyring = keys.keyrings.encrypting(&args.key, None)?;
    let layout = VolumeLayout {
        sector_size,
        iv_offset: 0,
        len: new.len(),
    };
    let (key, wrapped) = keyring
        .create_xts_volume(&layout)
        .map_err(|e| keys.keyrings.failure(&e, Doing::Encrypt))?;
    // First this: without it what is written to the volume couldn't be read again.
    save(&file, &wrapped)?;
    let made = new.make(key).and_then(|volume| match args.fs {
        None => Ok(volume.len()),
        Some(fs) => make_file_system(volume, &args.volume, fs, &args.state),
    });
    let len = match made {
        Ok(len) => len,
        Err(failure) => {
            // Nothing was written under it that anybody has seen.
            new.undo();
            let _ = fs::remove_file(&file);
            return Err(failure);
        }
    };
    if !args.quiet {
        say(&format!(
            "made {}, {}; back up {} and the key: without both the volume is lost",
            shown(&args.volume),
            size(len),
            shown(&file)
        ));
    }
    signals
        .check()
        .map_err(|failure| failure.saying("a signal came too late: the volume is made, and stays"))
}

/// Where a volume is to be.
enum New<'a> {
    File(&'a Path, u64),
    Device(&'a Path, u64),
}

impl<'a> New<'a> {
    /// That nothing is lost by it.
    fn look(path: &'a Path, len: Option<u64>, force: bool, mode: VolumeMode) -> Result<Self> {
        let is_there = fs::symlink_metadata(path).is_ok();
        if let Some(len) = len {
            check_whole(len, mode)?;
            if is_there && !is_device(path) {
                return Err(failure(&Error::AlreadyExists {
                    what: path.display().to_string(),
                }));
            }
            if !is_there {
                return Ok(Self::File(path, len));
            }
        }
        if !is_there {
            return Err(Failure::usage(format!(
                "{} isn't there: give `--size` to make a file",
                shown(path)
            )));
        }
        if !force {
            probe::check(path).map_err(|e| match e.root() {
                Error::AlreadyExists { .. } => failure(&e).and("if it may be lost, add `--force`"),
                _ => failure(&e),
            })?;
        }
        let device = DeviceBacking::open(path, Access::ReadWrite).map_err(|e| failure(&e))?;
        if let Some(len) = len.filter(|len| *len != device.len()) {
            return Err(Failure::usage(format!(
                "{} has {} bytes and the volume was to have {len}: a device is taken whole, so leave out `--size`",
                shown(path),
                device.len()
            )));
        }
        let sector = u64::from(mode.block_bytes());
        // What is left over at the end isn't used.
        let len = device.len() - device.len() % sector;
        Ok(Self::Device(path, len))
    }

    fn len(&self) -> u64 {
        match self {
            Self::File(_, len) | Self::Device(_, len) => *len,
        }
    }

    fn make(&self, key: XtsKey) -> Result<Volume> {
        let len = self.len();
        let backing: cmkit::Result<Box<dyn Backing>> = match self {
            Self::File(path, len) => {
                FileBacking::create(path, *len).map(|file| Box::new(file) as _)
            }
            Self::Device(path, ..) => cmkit_scratch::open_path(path, Access::ReadWrite),
        };
        let volume = backing.and_then(|backing| Volume::open_with(backing, key, len));
        volume.map_err(|e| failure(&e))
    }

    fn undo(&self) {
        if let Self::File(path, _) = self {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device())
}

/// Never over another volume's.
fn save(path: &Path, bytes: &[u8]) -> Result {
    let mut file = AtomicFile::create(path, Overwrite::Refuse).map_err(|e| failure(&e))?;
    file.write_all(bytes)
        .map_err(|e| crate::place::cannot("write", path, &e))?;
    file.commit(None).map_err(|e| failure(&e))
}

/// On the volume as a file, which needs no loop device. How many bytes it has.
fn make_file_system(
    volume: Volume,
    path: &Path,
    fs: FileSystem,
    state: &args::State,
) -> Result<u64> {
    let dir = state::open(state)?;
    let name = format!("create-{}", std::process::id());
    let len = volume.len();
    let job = JobScratch::begin_kept(&dir, &name, volume, path, &Expose::File(None))
        .map_err(|e| failure(&e).and("leave out `--fs` to make the volume alone"))?;
    let made = job
        .path()
        .map_or(Ok(()), |disk| fs.make(disk, Content::Unknown));
    let closed = job.end(std::time::Duration::from_secs(10));
    made.and(closed).map_err(|e| failure(&e))?;
    Ok(len)
}
