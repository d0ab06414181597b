//! What is on a device or file, before it becomes a scratch disk and all of that is lost.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cmkit::{Error, Result};
use rustix::fs::OFlags;

use crate::backing::open_exclusive;
use crate::failure::io_at;
use crate::mount::table;
use crate::{loop_device, program, usage};

/// Looked at at both ends: where partition tables, RAID and file systems that libblkid doesn't know have something.
const EDGE: usize = 1 << 20;

/// Fails unless a block device or file is free: not in use, and without anything on it that anybody could miss. A file that doesn't exist is free.
///
/// Known signatures are found by libblkid (file systems, partition tables, LUKS, LVM, RAID, swap); beyond that the first and the last MiB must be zeros.
///
/// # Errors
/// * [`Error::Busy`]: mounted, swapped to, or otherwise in use; by whom.
/// * [`Error::AlreadyExists`]: something is on it; what.
/// * [`Error::InvalidArgument`]: neither a device nor a file.
/// * [`Error::NotPermitted`]: it may not be opened; or `blkid` isn't there (Debian's package `util-linux`).
/// * [`Error::Io`]: it can't be read.
pub fn check(path: &Path) -> Result<()> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("open", path, error)),
    };
    let kind = metadata.file_type();
    if kind.is_block_device() {
        let number = (
            rustix::fs::major(metadata.rdev()),
            rustix::fs::minor(metadata.rdev()),
        );
        check_device_unused(path, number)?;
    } else if kind.is_file() {
        check_file_unused(path)?;
    } else {
        return Err(Error::InvalidArgument {
            problem: format!("{}: neither a block device nor a file", path.display()),
        });
    }
    if let Some(what) = signature(path)? {
        return Err(Error::AlreadyExists {
            what: format!("{what} on {}", path.display()),
        });
    }
    check_edges(path)
}

/// Bytes on a device or in a file.
pub(crate) fn len_of_device(path: &Path) -> Result<u64> {
    let mut file = File::open(path).map_err(|e| cannot("open", path, e))?;
    let len = io::Seek::seek(&mut file, io::SeekFrom::End(0));
    len.map_err(|e| cannot("read", path, e))
}

fn check_device_unused(path: &Path, number: (u32, u32)) -> Result<()> {
    let table = table::read()?;
    for (number, name) in with_partitions(path, number) {
        if let Some(mounted) = table.of_device(number).next() {
            let dir = mounted.dir.display();
            return Err(in_use(
                path,
                &format!("{} is mounted at {dir}", name.display()),
            ));
        }
        if usage::swaps()
            .iter()
            .any(|swap| number_of(swap) == Some(number))
        {
            return Err(in_use(path, &format!("{} is swapped to", name.display())));
        }
        let holders = usage::sys_dir(number).join("holders");
        let mut holders = std::fs::read_dir(holders).into_iter().flatten().flatten();
        if let Some(holder) = holders.next() {
            let holder = holder.file_name();
            return Err(in_use(
                path,
                &format!("{} is part of {}", name.display(), holder.display()),
            ));
        }
    }
    // The kernel knows of more users than can be looked up: those that have it exclusively.
    let exclusive = i32::try_from((OFlags::EXCL | OFlags::CLOEXEC).bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(exclusive);
    match open_exclusive(&options, path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let users = usage::of_device(number, &table);
            Err(in_use(
                path,
                &format!("it is in use by {}", usage::list(&users)),
            ))
        }
        Err(error) => Err(cannot("open", path, error)),
    }
}

fn check_file_unused(path: &Path) -> Result<()> {
    let path = path.canonicalize().map_err(|e| cannot("open", path, e))?;
    if let Some(device) = loop_device::find(&path).first() {
        return Err(in_use(
            &path,
            &format!("it is the loop device {}", device.display()),
        ));
    }
    if usage::swaps().contains(&path) {
        return Err(in_use(&path, "it is swapped to"));
    }
    Ok(())
}

/// A device and its partitions: what is on those is on it as well.
fn with_partitions(path: &Path, number: (u32, u32)) -> Vec<((u32, u32), PathBuf)> {
    let mut all = vec![(number, path.to_owned())];
    let entries = std::fs::read_dir(usage::sys_dir(number))
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries.filter(|entry| entry.path().join("partition").exists()) {
        let device = Path::new("/dev").join(entry.file_name());
        let text = std::fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
        let parsed = text.trim().split_once(':');
        let parsed = parsed.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        all.extend(parsed.map(|number| (number, device)));
    }
    all
}

fn number_of(path: &Path) -> Option<(u32, u32)> {
    let metadata = std::fs::metadata(path).ok()?;
    let rdev = metadata.rdev();
    metadata
        .file_type()
        .is_block_device()
        .then(|| (rustix::fs::major(rdev), rustix::fs::minor(rdev)))
}

/// What libblkid knows of it: "an ext4 file system labelled \"x\"".
pub(crate) fn signature(path: &Path) -> Result<Option<String>> {
    let args = ["--probe", "--output", "export"].map(Path::new);
    let output = program::output("blkid", &[&args[..], &[path]].concat())?;
    match output.status.code() {
        Some(0) => Ok(describe(&String::from_utf8_lossy(&output.stdout))),
        // Nothing it knows.
        Some(2) if output.stderr.is_empty() => Ok(None),
        Some(8) => Ok(Some("signatures of more than one kind".into())),
        _ => Err(program::failed("blkid", path, &output)),
    }
}

/// Lines `NAME=value`, values with backslashes before what a shell would act on.
fn describe(text: &str) -> Option<String> {
    let value = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.replace('\\', ""))
    };
    let label = value("LABEL")
        .map(|label| format!(" labelled {label:?}"))
        .unwrap_or_default();
    if let Some(kind) = value("TYPE") {
        let what = match value("USAGE").as_deref() {
            Some("filesystem") => format!("{} {kind} file system", article(&kind)),
            Some("raid") => format!("a part of a volume group or RAID ({kind})"),
            Some("crypto") => format!("an encrypted volume ({kind})"),
            _ if kind.starts_with("swap") => "a swap area".into(),
            _ => format!("{kind} data"),
        };
        return Some(what + &label);
    }
    let kind = value("PTTYPE")?;
    Some(format!("a partition table ({kind})"))
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u', 'x']) {
        "an"
    } else {
        "a"
    }
}

/// What no signature tells must not be lost either.
fn check_edges(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(|e| cannot("open", path, e))?;
    let len = len_of_device(path)?;
    let mut data = vec![0; usize::try_from(len).map_or(EDGE, |len| len.min(EDGE))];
    for (start, which) in [(0, "first"), (len - data.len() as u64, "last")] {
        file.read_exact_at(&mut data, start)
            .map_err(|e| cannot("read", path, e))?;
        if let Some(at) = data.iter().position(|byte| *byte != 0) {
            return Err(Error::AlreadyExists {
                what: format!(
                    "something other than zeros in the {which} MiB (byte {}) of {}",
                    start + at as u64,
                    path.display()
                ),
            });
        }
    }
    Ok(())
}

fn in_use(path: &Path, why: &str) -> Error {
    Error::Busy {
        problem: format!(
            "{}: {why}; choose another, or end that first",
            path.display()
        ),
    }
}

fn cannot(operation: &'static str, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::NotPermitted {
            problem: format!("{}: this user may not {operation} it", path.display()),
        };
    }
    io_at(operation, path, error)
}
