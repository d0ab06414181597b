//! The grammar of `cmkit scratch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum, ValueHint};
use cmkit::KeyRef;
use cmkit_scratch::FileSystem;

use super::{Audit, Vault, parse_key};

#[derive(Subcommand)]
pub(crate) enum Scratch {
    /// Run a command with an encrypted disk mounted, and erase the disk when it ends
    ///
    /// COMMAND gets the disk as its working directory and in $CMKIT_SCRATCH. Signals are passed on to it, and its exit code is this one's. Needs root, for the mount.
    #[command(after_help = "\
Examples:
  cmkit scratch run --size 100G -- ./train.sh
  cmkit scratch run --size 20G --dir /mnt/nvme --owner 1000:1000 -- setpriv --reuid 1000 --clear-groups ./job
  cmkit scratch run --device /dev/nvme1n1 --key https://contoso.vault.azure.net/keys/jobs -- ./job

Exit codes: COMMAND's own, 128+n when signal n ended it; 125 cmkit failed, or something of the disk couldn't be taken away (the sentences say what); \
126 COMMAND can't be executed; 127 there is none.")]
    Run(ScratchRun),
    /// Serve an encrypted disk over NBD, or as a file, until SIGTERM or Ctrl-C; then erase it
    ///
    /// Prints the URI or the file once it can be used. Without root.
    #[command(after_help = "\
Examples:
  cmkit scratch serve --size 100G --socket /run/user/1000/scratch.sock
  nbdcopy image.raw 'nbd+unix:///?socket=/run/user/1000/scratch.sock'
  cmkit scratch serve --size 100G --file ./disk        # ./disk/disk is the disk")]
    Serve(ScratchServe),
    /// Mount an encrypted disk until SIGTERM, Ctrl-C or `cmkit scratch end JOB`; then erase it
    ///
    /// Stays in the foreground and prints the directory once it can be used. Needs root.
    #[command(after_help = "\
Examples:
  cmkit scratch mount /scratch --size 100G --job job-17 &
  cmkit scratch end job-17")]
    Mount(ScratchMount),
    /// Make a volume that can be opened again: AES-XTS, its data key wrapped in a volume file beside it
    ///
    /// The volume file is on the disk before anything else is. Without it, or without the key, the volume is lost; destroying every copy of it, or the key, erases the volume.
    #[command(after_help = "\
Examples:
  cmkit scratch create data.vol --size 100G --key local:team --fs ext4     # and data.vol.cmkvol
  cmkit scratch create /dev/nvme1n1 --volume-file nvme1.cmkvol --key https://contoso.vault.azure.net/keys/disks
  cmkit rewrap --to local:other --key local:team data.vol.cmkvol           # the same volume under another key")]
    Create(ScratchCreate),
    /// Open a volume of `create` until SIGTERM, Ctrl-C or `cmkit scratch end JOB`; what is in it stays
    #[command(after_help = "\
Examples:
  cmkit scratch open data.vol --key local:team --mount /data
  cmkit scratch open data.vol --key local:team --socket /run/user/1000/data.sock
  cmkit scratch open data.vol --key local:team --kernel-key /run/data.key  # for cryptsetup or dmsetup")]
    Open(ScratchOpen),
    /// List the jobs with a disk, and whether their processes live
    #[command(after_help = "Example:\n  cmkit scratch status --json")]
    Status(ScratchStatus),
    /// End a job of another process: its disk is erased
    ///
    /// Its process gets SIGTERM, and SIGKILL when the time is up: the key dies with it, and what it left is cleaned up. What a dead process left is cleaned up at once.
    #[command(after_help = "Example:\n  cmkit scratch end job-17 --grace 30")]
    End(ScratchEnd),
    /// Clean up after jobs whose processes died: mounts, loop devices, sockets, files
    ///
    /// Every other command that begins a job does it first; at a boot it does no harm. The exit code is 1 if something couldn't be taken away.
    #[command(after_help = "Example:\n  cmkit scratch recover --json")]
    Recover(ScratchRecover),
    /// Measure what encryption costs on this disk
    ///
    /// Takes a few seconds and 256 MiB in DIR, which are given back.
    #[command(after_help = "Example:\n  cmkit scratch bench /mnt/nvme")]
    Bench(ScratchBench),
}

/// What a disk is to be.
#[derive(Args)]
pub(crate) struct Disk {
    /// Bytes: 10G, 512M, 1T (also KiB, MiB, GiB, TiB; all of them powers of 1024), or a number; with --device the whole device
    #[arg(long, value_name = "SIZE", value_parser = parse_size, required_unless_present = "device")]
    pub(crate) size: Option<u64>,
    /// Directory for the ciphertext, in a file without a name [default: $TMPDIR, else /tmp]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "device")]
    pub(crate) dir: Option<PathBuf>,
    /// Block device for the ciphertext; what is on it is lost
    #[arg(long, value_name = "DEV", value_hint = ValueHint::FilePath)]
    pub(crate) device: Option<PathBuf>,
    /// Take a device with something on it
    #[arg(long, requires = "device")]
    pub(crate) force: bool,
    /// How to encrypt: authenticated, or like dm-crypt without integrity and without tables in memory
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub(crate) mode: Mode,
    /// Bytes in a block: 4K, 16K or 64K, in XTS mode 512 or 4K; larger ones take less memory and make small writes slower
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = parse_size)]
    pub(crate) block_size: u64,
    /// Key that wraps the disk's data key, so that its owner can stop the disk, local:NAME or https://VAULT.vault.azure.net/keys/NAME; several: all are needed [default: a key in memory only]
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) key: Vec<KeyRef>,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
}

/// What every job has.
#[derive(Args)]
pub(crate) struct Job {
    /// Name of the job: 1 to 64 of 0-9 A-Z a-z . _ - [default: made of the time and the process id]
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
    #[command(flatten)]
    pub(crate) state: State,
    /// How long, at the end, to wait for those who still use the mount; then the key is destroyed all the same
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) grace: Duration,
    /// Write the erasure record here as well, as JSON; a file of that name is replaced
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
    /// Whether this process's memory has to be locked, so that keys never get into the swap space
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    pub(crate) lock_memory: LockMemory,
    /// No line about what was erased, and no warnings
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
pub(crate) struct State {
    /// Directory that knows the jobs [default: /run/cmkit for root, else cmkit in $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ScratchRun {
    #[command(flatten)]
    pub(crate) disk: Disk,
    #[command(flatten)]
    pub(crate) job: Job,
    /// Kind of file system: ext4 or xfs
    #[arg(long, value_name = "FS", default_value = "ext4")]
    pub(crate) fs: FileSystem,
    /// Empty directory to mount the disk on [default: one in the state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) mount: Option<PathBuf>,
    /// User and group ids that the disk's root directory belongs to
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    pub(crate) owner: Option<(u32, u32)>,
    /// The command and its arguments; a relative path is one from here, not from the disk
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Args)]
#[command(group = ArgGroup::new("front").required(true).args(["socket", "file"]))]
pub(crate) struct ScratchServe {
    /// Unix socket to make for NBD clients, mode 0600
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    /// Empty directory to show the disk in, as the file `disk` (FUSE)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) disk: Disk,
    #[command(flatten)]
    pub(crate) job: Job,
}

#[derive(Args)]
pub(crate) struct ScratchMount {
    /// Empty directory to mount the disk on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) at: PathBuf,
    #[command(flatten)]
    pub(crate) disk: Disk,
    #[command(flatten)]
    pub(crate) job: Job,
    /// Kind of file system: ext4 or xfs
    #[arg(long, value_name = "FS", default_value = "ext4")]
    pub(crate) fs: FileSystem,
    /// User and group ids that the disk's root directory belongs to
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    pub(crate) owner: Option<(u32, u32)>,
}

#[derive(Args)]
pub(crate) struct ScratchCreate {
    /// The volume: a file to make, or a block device
    #[arg(value_name = "VOLUME", value_hint = ValueHint::FilePath)]
    pub(crate) volume: PathBuf,
    /// Bytes of a file: 10G, 512M, 1T, or a number; a device is taken whole
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) size: Option<u64>,
    /// Where to write the volume file [default: VOLUME.cmkvol; a device needs one that is named]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) volume_file: Option<PathBuf>,
    /// How to encrypt: only XTS can be opened again
    #[arg(long, value_enum, default_value_t = Mode::Xts, value_name = "MODE")]
    pub(crate) mode: Mode,
    /// Bytes in a sector: 512 or 4K
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = parse_size)]
    pub(crate) sector_size: u64,
    /// Key that wraps the data key, local:NAME or https://VAULT.vault.azure.net/keys/NAME; several: each opens the volume
    #[arg(long, value_name = "ID", value_parser = parse_key, required = true)]
    pub(crate) key: Vec<KeyRef>,
    /// Make a file system in it: ext4 or xfs (takes FUSE)
    #[arg(long, value_name = "FS")]
    pub(crate) fs: Option<FileSystem>,
    /// Take a device with something on it
    #[arg(long)]
    pub(crate) force: bool,
    /// No line about what was made
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) state: State,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
}

#[derive(Args)]
#[command(group = ArgGroup::new("front").required(true).args(["socket", "file", "mount", "kernel_key"]))]
pub(crate) struct ScratchOpen {
    /// The volume: a file or a block device
    #[arg(value_name = "VOLUME", value_hint = ValueHint::FilePath)]
    pub(crate) volume: PathBuf,
    /// Its volume file [default: VOLUME.cmkvol]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) volume_file: Option<PathBuf>,
    /// Also allow this key, local:NAME or https://VAULT.vault.azure.net/keys/NAME, in any version (repeatable); local:default is allowed anyway
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) key: Vec<KeyRef>,
    /// Unix socket to make for NBD clients, mode 0600
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    /// Empty directory to show the volume in, as the file `disk` (FUSE)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) file: Option<PathBuf>,
    /// Empty directory to mount its ext4 or xfs on; needs root
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) mount: Option<PathBuf>,
    /// Write its 64-byte key here for the kernel, **in the clear**, and the commands that take it to standard output; then end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kernel_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) job: Job,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
}

#[derive(Args)]
pub(crate) struct ScratchStatus {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Args)]
pub(crate) struct ScratchEnd {
    /// Name of the job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// How long to wait for its process before it is killed
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub(crate) grace: Duration,
    /// No line about what was erased
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Args)]
pub(crate) struct ScratchRecover {
    /// Print the erasure records as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Args)]
pub(crate) struct ScratchBench {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Directory on the disk to measure
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// How a disk is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// AES-256-GCM: what was changed is noticed; gone with the process
    #[default]
    Ephemeral,
    /// AES-256-XTS, as dm-crypt does: no integrity
    Xts,
}

/// Whether memory is locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LockMemory {
    /// Without it nothing starts
    Required,
    /// Tried; a warning where it fails
    #[default]
    BestEffort,
    /// Not tried
    Off,
}

/// `10G`, `512M`, `1T`, `64KiB`, or bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let problem = || "write it as 10G, 512M, 1T, 64K, or in bytes".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "kb" | "mb" | "gb" | "tb" => {
            return Err(
                "is that 1000 or 1024? Write 10G or 10GiB for powers of 1024, or the bytes"
                    .to_owned(),
            );
        }
        _ => return Err(problem()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(problem());
    }
    let number: u64 = digits.parse().map_err(|_| problem())?;
    let bytes = number.checked_mul(1 << shift);
    match bytes {
        Some(0) => Err("nothing fits into 0 bytes".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("no disk is that large".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds <= 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err("write it in whole seconds, a day at most".to_owned()),
    }
}

fn parse_owner(text: &str) -> Result<(u32, u32), String> {
    let ids = text.split_once(':');
    let ids = ids.and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    ids.ok_or_else(|| "write it as two numbers, UID:GID; `id -u` and `id -g` tell them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("512", 512),
            ("4K", 4096),
            ("64KiB", 65_536),
            ("512M", 512 << 20),
            ("10g", 10 << 30),
            ("1T", 1 << 40),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "G",
            "0",
            "0G",
            "1.5G",
            "-1",
            "+1",
            "1 G",
            "1X",
            "10GB",
            "99999999T",
            "é",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("10GB").unwrap_err().contains("1024"));
    }

    #[test]
    fn owners_and_seconds() {
        assert_eq!(parse_owner("1000:100").unwrap(), (1000, 100));
        assert!(parse_owner("root").is_err() && parse_owner("1:").is_err());
        assert_eq!(parse_seconds("0").unwrap(), Duration::ZERO);
        assert!(parse_seconds("-1").is_err() && parse_seconds("99999999").is_err());
    }
}
