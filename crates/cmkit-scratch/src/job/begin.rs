//! Making a job's disk, each thing written down before it is taken.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cmkit::{Error, Result};

use super::JobScratch;
use super::files::{self, Left, remove_created};
use super::front::Front;
use super::recover::cleaned;
use super::spec::{Expose, JobSpec, Occupied, Place};
use super::steps::step;
use crate::backing::{Access, Backing, DeviceBacking, FileBacking, MemoryBacking};
use crate::device::BlockDevice;
use crate::failure::{invalid, io_at};
use crate::file_system::{Content, FileSystem};
use crate::fuse::{self, FuseMount};
use crate::loop_device::LoopDevice;
use crate::mount::{self, Mount};
use crate::nbd::NbdServer;
use crate::origin::Origin;
use crate::probe;
use crate::state::{BackingPlace, Claim, CreatedFile, JobState, LoopState, StateDir};
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
    let place = absolute(&spec.place)?;
    let records = dir.records();
    let claim = claim(dir, job, &records)?;
    match make(&claim, job, spec, &place) {
        Ok((state, volume)) => exposed(dir, claim, state, volume, records, expose),
        Err(error) => {
            claim.release()?;
            Err(error)
        }
    }
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
    let records = dir.records();
    let path = std::path::absolute(path).map_err(|e| io_at("find", path, e))?;
    let claim = claim(dir, job, &records)?;
    let mut state = JobState::new(job);
    state.mode = volume.mode().name().to_owned();
    state.backing = BackingPlace::Kept { path };
    describe(&volume, &mut state);
    exposed(dir, claim, state, volume, records, expose)
}

/// The job, once it is exposed. If that fails everything is undone.
fn exposed(
    dir: &StateDir,
    claim: Claim,
    state: JobState,
    volume: Volume,
    records: PathBuf,
    expose: &Expose,
) -> Result<JobScratch> {
    let mut job = JobScratch {
        volume: Arc::new(volume),
        front: Front::Nothing,
        claim: Some(claim),
        state,
        records,
        origin: Origin::here(),
    };
    step();
    let begun = job.save().and_then(|()| {
        step();
        job.expose(dir, expose)
    });
    match begun {
        Ok(()) => Ok(job),
        Err(error) => {
            let _ = job.finish(Duration::ZERO, "its disk couldn't be exposed");
            Err(error)
        }
    }
}

fn describe(volume: &Volume, state: &mut JobState) {
    state.volume = volume.id().to_owned();
    state.size = volume.len();
    state.keys = volume.key_ids().iter().map(ToString::to_string).collect();
}

/// The job's name, and what somebody left who had it taken away.
fn claim(dir: &StateDir, job: &str, records: &Path) -> Result<Claim> {
    let claim = dir.claim(job)?;
    let Some(left_behind) = claim.left_behind() else {
        return Ok(claim);
    };
    let (record, again) = cleaned(left_behind, records)?;
    if again {
        return Err(Error::Busy {
            problem: format!(
                "an earlier job {job} has left something: {}; end that, or use another name",
                record.left_behind.join("; ")
            ),
        });
    }
    // Cleaned up once: whatever has those names from now on is somebody's.
    claim.release()?;
    dir.claim(job)
}

/// Names that are of use wherever one is.
fn absolute(place: &Place) -> Result<Place> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|e| io_at("find", path, e));
    Ok(match place {
        Place::Dir(dir) => Place::Dir(absolute(dir)?),
        Place::File(path) => Place::File(absolute(path)?),
        Place::Device(path, occupied) => Place::Device(absolute(path)?, *occupied),
        Place::Memory => Place::Memory,
    })
}

/// Makes the volume. If that fails nothing is left.
fn make(claim: &Claim, job: &str, spec: &JobSpec, place: &Place) -> Result<(JobState, Volume)> {
    let mut state = JobState::new(job);
    state.mode = spec.volume.mode().name().to_owned();
    state.backing = backing_place(place);
    state.size = spec.size.unwrap_or(0);
    if let Place::File(path) = place {
        refuse_existing(path)?;
        state.created_files.push(CreatedFile::planned(path.clone()));
    }
    step();
    claim.save(&state)?;
    step();
    let backing = make_backing(spec, place, &mut state)?;
    step();
    let made = Volume::create(backing, &spec.volume);
    let volume = made.inspect_err(|_| remove_created(&state, &mut Left::default()))?;
    describe(&volume, &mut state);
    Ok((state, volume))
}

fn backing_place(place: &Place) -> BackingPlace {
    match place {
        Place::Dir(dir) => BackingPlace::Anonymous { dir: dir.clone() },
        Place::File(path) => BackingPlace::File { path: path.clone() },
        Place::Device(path, _) => BackingPlace::Device {
            path: path.clone(),
            sequence: None,
        },
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

fn make_backing(spec: &JobSpec, place: &Place, state: &mut JobState) -> Result<Box<dyn Backing>> {
    let size = || {
        spec.size
            .ok_or_else(|| invalid("a scratch disk that isn't a whole device needs a size"))
    };
    Ok(match place {
        Place::Dir(dir) => Box::new(FileBacking::anonymous(dir, size()?)?),
        Place::File(path) => {
            let backing = FileBacking::create(path, size()?)?;
            for file in &mut state.created_files {
                file.identity = files::identity(&file.path);
            }
            Box::new(backing)
        }
        Place::Memory => Box::new(MemoryBacking::try_new(size()?)?),
        Place::Device(path, occupied) => {
            if *occupied == Occupied::Refuse {
                probe::check(path)?;
            }
            let device = DeviceBacking::open(path, Access::ReadWrite)?;
            check_device_size(path, device.len(), spec.size)?;
            state.backing = BackingPlace::Device {
                path: path.clone(),
                sequence: device.sequence(),
            };
            Box::new(device)
        }
    })
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

impl JobScratch {
    pub(super) fn save(&self) -> Result<()> {
        self.claim
            .as_ref()
            .map_or(Ok(()), |claim| claim.save(&self.state))
    }

    pub(super) fn expose(&mut self, dir: &StateDir, expose: &Expose) -> Result<()> {
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
        step();
        let server = NbdServer::builder(self.device())
            .description(description)
            .start(&socket)?;
        step();
        self.front = Front::Nbd(server);
        Ok(())
    }

    fn show_file(&mut self, dir: &StateDir, at: Option<&Path>) -> Result<()> {
        let at = self.directory(dir, "fuse", at)?;
        self.state.fuse_dir = Some(at.clone());
        self.save()?;
        step();
        let source = fuse::source_of(&self.state.volume);
        let file = FuseMount::start_as(self.device(), &at, source)?;
        step();
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
        step();
        let device = LoopDevice::attach(&file)?;
        step();
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
        step();
        if !self.state.is_kept() {
            file_system.make(&loop_path, content)?;
        }
        step();
        let mount = Mount::new(&loop_path, &at, file_system)?;
        step();
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
        step();
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
