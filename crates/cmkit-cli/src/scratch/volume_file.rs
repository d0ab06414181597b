//! The file beside a volume, with its wrapped data key.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::discreet::shown;
use crate::failure::{Failure, Result};
use crate::place::cannot;

const SUFFIX: &str = ".cmkvol";

/// More than any has: the core's have 66 KiB at most.
const MAX_LEN: u64 = 1 << 20;

/// The one that is named, else the one beside the volume. Nothing stays beside a device.
pub(super) fn path_of(volume: &Path, named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path);
    }
    let is_device = std::fs::metadata(volume).is_ok_and(|m| m.file_type().is_block_device());
    if is_device {
        return Err(Failure::usage(format!(
            "{} is a device, and beside it nothing stays: name the volume file with `--volume-file`",
            shown(volume)
        )));
    }
    let mut name = OsString::from(volume);
    name.push(SUFFIX);
    Ok(name.into())
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| {
        cannot("open the volume file", path, &e)
            .and("name it with `--volume-file` if it is somewhere else")
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_LEN)
        .read_to_end(&mut bytes)
        .map_err(|e| cannot("read", path, &e))?;
    Ok(bytes)
}
