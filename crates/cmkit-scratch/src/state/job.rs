//! What a job holds.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::ErasureRecord;
use crate::time::UtcTime;

/// What a job holds or is about to take. No secret is in it. Fields that a later version adds are ignored by this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JobState {
    /// The job's name.
    pub job: String,
    /// The process that owns it.
    pub owner: Owner,
    /// When it began.
    pub created: UtcTime,
    /// The volume's id.
    pub volume: String,
    /// How it is encrypted: `ephemeral` or `xts`.
    pub mode: String,
    /// Bytes that the disk has.
    pub size: u64,
    /// The ids of the keys that wrap its data key. None: it is in the owner's memory only.
    pub keys: Vec<String>,
    /// Where the ciphertext is.
    pub backing: BackingPlace,
    /// The NBD server's socket.
    pub socket: Option<PathBuf>,
    /// Where the FUSE file system is mounted.
    pub fuse_dir: Option<PathBuf>,
    /// The loop device.
    pub loop_device: Option<LoopState>,
    /// Where the disk's file system is mounted.
    pub mount_dir: Option<PathBuf>,
    /// Files that the job made or is about to make, for it to remove.
    pub created_files: Vec<CreatedFile>,
    /// Directories that the job made, the outer ones first, for it to remove.
    pub created_dirs: Vec<PathBuf>,
    /// The record of its end, where that couldn't be written or something was left behind.
    pub erased: Option<ErasureRecord>,
}

/// A file that a job made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CreatedFile {
    /// Its name.
    pub path: PathBuf,
    /// Which file of that name; `None` before it is made.
    #[serde(default)]
    pub identity: Option<FileIdentity>,
}

/// A file, told apart from later ones with the same name, or the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileIdentity {
    /// Its number in its file system.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; 0 where the file system doesn't say.
    pub born: u64,
}

impl CreatedFile {
    pub(crate) fn planned(path: PathBuf) -> Self {
        Self {
            path,
            identity: None,
        }
    }
}

impl FileIdentity {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        let born = metadata.created().ok();
        let born = born.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Self {
            inode: metadata.ino(),
            // Until the year 2554.
            born: born.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0)),
        }
    }
}

/// Where a disk's ciphertext is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackingPlace {
    /// In a file.
    File {
        /// Which.
        path: PathBuf,
    },
    /// On a block device.
    Device {
        /// Which.
        path: PathBuf,
        /// The system's number for the disk that has this name (`diskseq`), which no other disk gets until the next start; `None` before it is opened, or where
        /// the system has none.
        #[serde(default)]
        sequence: Option<u64>,
    },
    /// In a file without a name: it is gone with its owner.
    Anonymous {
        /// A directory of its file system.
        dir: PathBuf,
    },
    /// In the owner's memory: it is gone with its owner.
    Memory,
    /// In a volume that stays, whatever becomes of the job: nothing of it is ever given back.
    Kept {
        /// Which file or device.
        path: PathBuf,
    },
    /// Not decided yet, or written by a later version that has others.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A loop device of a job's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopState {
    /// `/dev/loopN`; `None` before the system has said which.
    pub path: Option<PathBuf>,
    /// The file that it makes a disk of. A device that has another one is somebody else's by now.
    pub backing_file: PathBuf,
}

/// A process, told apart from later ones with the same number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Owner {
    /// Its id, in its own PID namespace.
    pub process: u32,
    /// When it started: the system's clock ticks since it booted.
    pub started: u64,
    /// Which run of the system that is: its boot id.
    pub boot: String,
}

impl JobState {
    /// The state of a job that begins now, in this process, and holds nothing yet.
    #[must_use]
    pub fn new(job: impl Into<String>) -> Self {
        Self {
            job: job.into(),
            owner: Owner::this_process(),
            created: UtcTime::now(),
            ..Self::default()
        }
    }
}

impl JobState {
    /// Whether its volume stays when it ends, so that its end is no erasure.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.backing, BackingPlace::Kept { .. })
    }
}

impl Owner {
    /// This process. What can't be read from `/proc` is 0 or empty.
    #[must_use]
    pub fn this_process() -> Self {
        let process = std::process::id();
        Self {
            process,
            started: started(process).unwrap_or(0),
            boot: boot_id(),
        }
    }

    /// Whether the system is the one of then: mounts and loop devices of an earlier boot are gone.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        !self.boot.is_empty() && self.boot == boot_id()
    }

    /// Whether this very process lives, as far as can be seen from here: one in another PID namespace can't. What decides whether a job runs is
    /// [`Liveness`](super::Liveness).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_of_this_boot() && started(self.process) == Some(self.started)
    }
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// When a process started, unless it has ended: proc_pid_stat(5), field 22.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in brackets, which may have anything in it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    // One that ended, and that nobody has asked about yet, is still there.
    let has_ended = matches!(fields.next()?, "Z" | "X");
    (!has_ended).then(|| fields.nth(18)?.parse().ok()).flatten()
}
