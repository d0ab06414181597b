//! The file that is read.

use std::fs::{self, File, Metadata};
use std::path::Path;

use super::atomic::check_destination;
use super::options::FileOptions;
use crate::error::{Error, Result};

/// A file open for reading, and what it was like when it was opened.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) file: File,
    pub(super) metadata: Metadata,
}

impl<'a> Source<'a> {
    /// Opens `path`, to be worked into `destination`. Both are checked before anything is touched.
    pub(super) fn open(path: &'a Path, destination: &Path, options: &FileOptions) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io_at("open", path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io_at("read", path, e))?;
        if metadata.is_dir() {
            let problem = "it is a directory; pack it into one file first";
            return Err(Error::invalid(problem).in_file(path));
        }
        if same_file(path, &metadata, destination) {
            let problem = "it is source and destination; give another destination";
            return Err(Error::invalid(problem).in_file(path));
        }
        check_destination(destination, options.overwrite)?;
        Ok(Self {
            path,
            file,
            metadata,
        })
    }

    /// Fails if the file has another length now than when it was opened.
    pub(super) fn check_len(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| self.fail(e))?;
        if now.len() == self.metadata.len() {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    pub(super) fn changed(&self) -> Error {
        Error::InvalidState {
            problem: "the file's length changed while it was read; nothing was kept",
        }
        .in_file(self.path)
    }

    pub(super) fn fail(&self, error: std::io::Error) -> Error {
        Error::io_at("read", self.path, error)
    }
}

#[cfg(unix)]
fn same_file(_: &Path, source: &Metadata, destination: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(destination).is_ok_and(|d| (d.dev(), d.ino()) == (source.dev(), source.ino()))
}

#[cfg(not(unix))]
fn same_file(source: &Path, _: &Metadata, destination: &Path) -> bool {
    matches!((fs::canonicalize(source), fs::canonicalize(destination)), (Ok(s), Ok(d)) if s == d)
}
