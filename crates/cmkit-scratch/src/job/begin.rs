//! Making a job's disk, each thing written down before it is taken.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmkit::{Error, Result};

use super::JobScratch;
use super::end::RECORDS;
use super::front::Front;
use super::recover::clean_up;
use super::spec::{Expose, JobSpec, Occupied, Place};
use crate::backing::{Access, Backing, DeviceBacking, FileBacking, MemoryBacking};
use crate::device::BlockDevice;
use crate::failure::{invalid, io_at};
use crate::file_system::{Content, FileSystem};
use crate::fuse::FuseMount;
use crate::loop_device::LoopDevice;
use crate::mount::{self, Mount};
use crate::nbd::NbdServer;
use crate::origin::Origin;
use crate::probe;
use crate::state::{BackingPlace, Claim, JobState, LoopState, StateDir};
use crate::volume::{Volume, VolumeMode};

pub(super) fn begin(
    dir: &StateDir,
    job: &str,
    spec: &JobSpec,
    expose: &Expose,
) -> Result<JobScratch> {
    if matches!(expose, Expose::Mount { .. }) {
        mount::check_permitted()?;
    }
    let (claim, records) = claim_clean(dir, job)?;
    let mut state = JobState::new(job);
    state.mode = spec.volume.mode().name().to_owned();
    state.backing = backing_place(&spec.place);
    if let Place::File(path) = &spec.place {
        refuse_existing(path)?;
        state.created_files.push(path.clone());
    }
    claim.save(&state)?;
    let made = make_volume(spec, &mut state);
    let volume = match made {
        Ok(volume) => Arc::new(volume),
        Err(error) => {
            // Nothing but perhaps a file of this name was made.
            remove_files(&state.created_files);
            claim.release()?;
            return Err(error);
        }
    };
    claim.save(&state)?;
    // From here on dropping it undoes everything.
    let mut job = JobScratch {
        volume,
        front: Front::Nothing,
        claim: Some(claim),
        state,
        records,
        origin: Origin::here(),
    };
    job.expose(dir, expose)?;
    Ok(job)
}

pub(super) fn begin_kept(
    dir: &StateDir,
    job: &str,
    volume: Volume,
    path: &Path,
    expose: &Expose,
) -> Result<JobScratch> {
    if matches!(expose, Expose::Mount { .. }) {
        mount::check_permitted()?;
    }
    let (claim, records) = claim_clean(dir, job)?;
    let mut state = JobState::new(job);
    state.mode = volume.mode().name().to_owned();
    state.backing = BackingPlace::Kept {
        path: std::path::absolute(path).map_err(|e| io_at("find", path, e))?,
    };
    describe(&volume, &mut state);
    claim.save(&state)?;
    let mut job = JobScratch {
        volume: Arc::new(volume),
        front: Front::Nothing,
        claim: Some(claim),
        state,
        records,
        origin: Origin::here(),
    };
    job.expose(dir, expose)?;
    Ok(job)
}

/// The job's claim, once what a dead owner of it left is cleaned up; and where records go.
fn claim_clean(dir: &StateDir, job: &str) -> Result<(Claim, PathBuf)> {
    let claim = dir.claim(job)?;
    let records = dir.path().join(RECORDS);
    if let Some(left_behind) = claim.left_behind() {
        let record = clean_up(left_behind);
        if !left_behind.is_kept() {
            record.save(&records)?;
        }
    }
    Ok((claim, records))
}

fn describe(volume: &Volume, state: &mut JobState) {
    state.volume = volume.id().to_owned();
    state.size = volume.len();
    state.keys = volume.key_ids().iter().map(ToString::to_string).collect();
}

fn backing_place(place: &Place) -> BackingPlace {
    match place {
        Place::Dir(dir) => BackingPlace::Anonymous { dir: dir.clone() },
        Place::File(path) => BackingPlace::File { path: path.clone() },
        Place::Device(path, _) => BackingPlace::Device { path: path.clone() },
        Place::Memory => BackingPlace::Memory,
    }
}

/// A file that is there already must not be taken for one that the job made.
fn refuse_existing(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_at("look at", path, error)),
        Ok(_) => Err(Error::AlreadyExists {
            what: path.display().to_string(),
        }),
    }
}

fn make_volume(spec: &JobSpec, state: &mut JobState) -> Result<Volume> {
    let size = || {
        spec.size
            .ok_or_else(|| invalid("a scratch disk that isn't a whole device needs a size"))
    };
    let backing: Box<dyn Backing> = match &spec.place {
        Place::Dir(dir) => Box::new(FileBacking::anonymous(dir, size()?)?),
        Place::File(path) => Box::new(FileBacking::create(path, size()?)?),
        Place::Memory => {
            let size = usize::try_from(size()?)
                .map_err(|_| invalid("a disk in memory is larger than that can be"))?;
            Box::new(MemoryBacking::new(size))
        }
        Place::Device(path, occupied) => {
            if *occupied == Occupied::Refuse {
                probe::check(path)?;
            }
            let device = DeviceBacking::open(path, Access::ReadWrite)?;
            check_device_size(path, device.len(), spec.size)?;
            Box::new(device)
        }
    };
    let volume = Volume::create(backing, &spec.volume)?;
    describe(&volume, state);
    Ok(volume)
}

/// A disk on a device has all of it.
fn check_device_size(path: &Path, len: u64, size: Option<u64>) -> Result<()> {
    match size {
        Some(size) if size != len => Err(invalid(format!(
            "{}: the device has {len} bytes and the disk was to have {size}; a disk takes a whole device, so give no size",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn remove_files(files: &[PathBuf]) {
    for file in files {
        let _ = fs::remove_file(file);
    }
}

impl JobScratch {
    fn save(&self) -> Result<()> {
        self.claim
            .as_ref()
            .map_or(Ok(()), |claim| claim.save(&self.state))
    }

    fn expose(&mut self, dir: &StateDir, expose: &Expose) -> Result<()> {
        match expose {
            Expose::Nothing => Ok(()),
            Expose::Nbd(socket) => self.serve(socket),
            Expose::File(at) => self.show_file(dir, at.as_deref()),
            Expose::Mount {
                dir: at,
                file_system,
                owner,
            } => {
                self.show_file(dir, None)?;
                self.mount(dir, at.as_deref(), *file_system, *owner)
            }
        }
    }

    fn device(&self) -> Arc<dyn BlockDevice> {
        Arc::clone(&self.volume) as _
    }

    fn serve(&mut self, socket: &Path) -> Result<()> {
        let socket = std::path::absolute(socket).map_err(|e| io_at("find", socket, e))?;
        self.state.socket = Some(socket.clone());
        self.save()?;
        let description = format!("cmkit scratch disk of job {}", self.state.job);
        let server = NbdServer::builder(self.device())
            .description(description)
            .start(&socket)?;
        self.front = Front::Nbd(server);
        Ok(())
    }

    fn show_file(&mut self, dir: &StateDir, at: Option<&Path>) -> Result<()> {
        let at = self.directory(dir, "fuse", at)?;
        self.state.fuse_dir = Some(at.clone());
        self.save()?;
        let file = FuseMount::start(self.device(), &at)?;
        let path = file.file();
        self.front = Front::File { file, path };
        Ok(())
    }

    fn mount(
        &mut self,
        dir: &StateDir,
        at: Option<&Path>,
        file_system: FileSystem,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        let Front::File { path: file, .. } = &self.front else {
            return Err(Error::Internal {
                problem: "a disk is mounted from its file",
            });
        };
        let file = file.clone();
        let at = self.directory(dir, "mnt", at)?;
        let intent = LoopState {
            path: None,
            backing_file: file.clone(),
        };
        self.state.loop_device = Some(intent);
        self.save()?;
        let device = LoopDevice::attach(&file)?;
        self.state.loop_device = Some(LoopState {
            path: Some(device.path().to_owned()),
            backing_file: file,
        });
        let loop_path = device.path().to_owned();
        self.front.add_loop(device);
        self.state.mount_dir = Some(at.clone());
        self.save()?;
        let content = match self.volume.mode() {
            VolumeMode::Ephemeral(_) => Content::Zeros,
            VolumeMode::Xts(_) => Content::Unknown,
        };
        if !self.state.is_kept() {
            file_system.make(&loop_path, content)?;
        }
        let mount = Mount::new(&loop_path, &at, file_system)?;
        let root = mount.dir().to_owned();
        self.front.add_mount(mount);
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&root, Some(user), Some(group))
                .map_err(|e| io_at("change the owner of", &root, e))?;
        }
        Ok(())
    }

    /// The directory that the caller gave, or one of the job's own in the state directory.
    fn directory(&mut self, dir: &StateDir, kind: &str, at: Option<&Path>) -> Result<PathBuf> {
        if let Some(at) = at {
            return at.canonicalize().map_err(|e| io_at("open", at, e));
        }
        let parent = dir.path().join(kind);
        let own = parent.join(&self.state.job);
        self.state.created_dirs.push(own.clone());
        self.save()?;
        for dir in [&parent, &own] {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(io_at("create", dir, e));
                }
                _ => {}
            }
        }
        own.canonicalize().map_err(|e| io_at("open", &own, e))
    }
}
