//! The sidecar of a rewrap in place: `FILE.cmk-rewrap`, with the new header and the old one behind it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::durable::{directory_of, sync_dir};
use crate::envelope::{Header, MAX_HEADER_LEN, PREFIX_LEN, header_len};
use crate::error::{Error, Result};
use crate::file::{AtomicFile, Overwrite};

const SUFFIX: &str = ".cmk-rewrap";

/// The two headers between which an interrupted rewrap hangs.
pub(crate) struct Sidecar {
    pub(crate) new: Vec<u8>,
    pub(crate) old: Vec<u8>,
}

impl Sidecar {
    /// `None`: there is none, or it isn't whole, in which case the rewrap never touched the file.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>> {
        let path = sidecar_path(file);
        // To open a pipe would be to wait for its other end.
        if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(f) => f.take(2 * MAX_HEADER_LEN as u64).read_to_end(&mut bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            // No rewrap has written under a name that can't be.
            Err(e) if e.kind() == io::ErrorKind::InvalidFilename => return Ok(None),
            Err(e) => Err(e),
        }
        .map_err(|e| Error::io_at("read", &path, e))?;
        let Ok(len) = header_len(&bytes) else {
            return Ok(None);
        };
        if bytes.len() != 2 * len || header_len(&bytes[len..]).ok() != Some(len) {
            return Ok(None);
        }
        let old = bytes.split_off(len);
        Ok(Some(Self { new: bytes, old }))
    }

    /// Whether `current` is what a crash left between the old header and the new one.
    pub(crate) fn interrupts(&self, current: &[u8]) -> bool {
        let Ok(core_len) = Header::parse(&self.new).map(|h| h.core_bytes.len()) else {
            return false;
        };
        let fixed = PREFIX_LEN + core_len;
        let mixed = || {
            current
                .iter()
                .zip(&self.new)
                .zip(&self.old)
                .all(|((c, n), o)| c == n || c == o)
        };
        current.len() == self.new.len() && current.get(..fixed) == self.new.get(..fixed) && mixed()
    }
}

pub(crate) fn sidecar_path(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(SUFFIX);
    path.into()
}

/// The file whose sidecar has this name, if it is the name of one.
pub(crate) fn file_of_sidecar(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_encoded_bytes();
    // What is cut off is the name's last extension.
    (name.len() > SUFFIX.len() && name.ends_with(SUFFIX.as_bytes()))
        .then(|| path.with_extension(""))
}

/// Makes the sidecar of a file, durably.
pub(super) fn write_sidecar(path: &Path, new: &[u8], old: &[u8]) -> Result<()> {
    let mut sidecar = AtomicFile::create(&sidecar_path(path), Overwrite::Replace)?;
    sidecar
        .write_all(new)
        .and_then(|()| sidecar.write_all(old))
        .map_err(|e| Error::from_io("write the sidecar", e))?;
    sidecar.commit(fs::metadata(path).ok().map(|m| m.permissions()))
}

/// Removes the sidecar of a file, durably; there may be none.
pub(super) fn remove_sidecar(path: &Path) -> Result<()> {
    let sidecar = sidecar_path(path);
    match fs::remove_file(&sidecar) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io_at("remove", &sidecar, e)),
        _ => sync_dir(directory_of(path)),
    }
}

/// For a reader that doesn't follow sidecars: `failure`, or that the header is one between which a rewrap hangs.
pub(crate) fn interrupted_or(failure: Error, path: Option<PathBuf>, header: &[u8]) -> Error {
    let sidecar = path.and_then(|path| Sidecar::read(&path).ok().flatten());
    match sidecar {
        Some(s) if s.interrupts(header) && s.new != header && s.old != header => {
            Error::RewrapInterrupted
        }
        _ => failure,
    }
}
