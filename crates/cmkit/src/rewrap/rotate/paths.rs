//! Following rotations in directory trees.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::super::file::RewrapOutcome;
use super::super::sidecar::{Sidecar, file_of_sidecar};
use super::{RotatedFile, Rotation};
use crate::durable::directory_of;
use crate::envelope::{DekId, Header, Purpose, begins_like_one};
use crate::error::{Error, Result};
use crate::key_store::{DirectoryKeyStore, row_id};
use crate::stream;
use crate::walk::{Found, is_temporary, walk};

impl Rotation {
    /// Follows the rotations in these files, and in every envelope and key store below these directories. `on_file` learns what became of each, and
    /// goes on with the next one or not; what was done stays done.
    ///
    /// A file that is named must be an envelope; in a directory what doesn't begin like one is passed over. Rows of a
    /// [`DirectoryKeyStore`] are replaced as that store does it. Symbolic links below a directory aren't followed, and files that are just being written
    /// (`.NAME.RANDOM.cmk-tmp`) are left alone. Directories are read as they are walked, in no order, up to 200 levels deep; a file may be come across twice
    /// when it had to be copied.
    ///
    /// # Errors
    /// * [`Error::Cancelled`]: `on_file` said to stop. Everything else goes to `on_file`, with the file or directory that it is about.
    pub fn rotate_paths<P: AsRef<Path>>(
        &self,
        paths: impl IntoIterator<Item = P>,
        mut on_file: impl FnMut(&Path, Result<RotatedFile>) -> ControlFlow<()>,
    ) -> Result<()> {
        for root in paths {
            let flow = walk(root.as_ref(), &mut |path, found| {
                let result = match found {
                    Ok(Found::Named) => self.rotate_found(path).map(Some),
                    Ok(Found::File) => match self.rotate_in_tree(path) {
                        // Removed meanwhile.
                        Err(e) if e.io().is_some_and(is_not_found) => Ok(None),
                        result => result,
                    },
                    Ok(Found::Link) => Ok(None),
                    Err(e) => Err(e),
                };
                match result.transpose() {
                    Some(result) => on_file(
                        path,
                        result.map_err(|e| self.keyring.discreet(e.in_file(path))),
                    ),
                    None => ControlFlow::Continue(()),
                }
            });
            if flow.is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    /// `None`: it is no envelope, or not one to be touched by itself.
    fn rotate_in_tree(&self, path: &Path) -> Result<Option<RotatedFile>> {
        if path.file_name().is_some_and(is_temporary) || !is_envelope_file(path)? {
            return Ok(None);
        }
        // Dealt with together with its file.
        if let Some(file) = file_of_sidecar(path)
            && Sidecar::read(&file)?.is_some()
        {
            return Ok(None);
        }
        self.rotate_found(path).map(Some)
    }

    fn rotate_found(&self, path: &Path) -> Result<RotatedFile> {
        let row = path.file_name().and_then(row_id);
        if let Some(id) = row.filter(|id| is_row(path, id)) {
            let store = DirectoryKeyStore::at(directory_of(path));
            if let Some(rotated) = self.rotate_row(&store, &id)? {
                return Ok(RotatedFile {
                    outcome: rotated.outcome,
                    old_kept_until: rotated.old_kept_until,
                    // A row is replaced by a new file.
                    written: rotated.envelope.map(|_| RewrapOutcome::Copied),
                });
            }
        }
        self.rotate_file(path)
    }
}

/// Whether a file begins like an envelope, of whatever version.
pub(crate) fn is_envelope_file(path: &Path) -> Result<bool> {
    let mut start = Vec::with_capacity(8);
    File::open(path)
        .and_then(|file| file.take(8).read_to_end(&mut start))
        .map_err(|e| Error::io_at("read", path, e))?;
    Ok(begins_like_one(&start))
}

fn is_not_found(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound
}

/// Whether a file of that name is the row of that DEK, and not an envelope that happens to be called so.
fn is_row(path: &Path, id: &DekId) -> bool {
    // To open a pipe would be to wait for its other end.
    if !fs::metadata(path).is_ok_and(|m| m.is_file()) {
        return false;
    }
    let Ok(header) = File::open(path)
        .map_err(|e| Error::io_at("read", path, e))
        .and_then(|mut file| stream::read_header(&mut file))
    else {
        return false;
    };
    Header::parse(&header).is_ok_and(|h| {
        h.core.dek_id == *id && h.core.purpose == Purpose::KeyStore && !h.is_compact()
    })
}
