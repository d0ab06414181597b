//! Following rotations in files, with the safety of a rewrap in place (docs/format.md, section 17).

use std::fs::{self, File};
use std::path::Path;

use super::super::file::{RewrapOutcome, open_locked, read_header, replace_header};
use super::super::sidecar::{Sidecar, sidecar_path};
use super::plan::Plan;
use super::{RotateOutcome, Rotation};
use crate::envelope::{Header, Padding};
use crate::error::{Error, Result};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotatedFile {
    /// What was done, or would be done.
    pub outcome: RotateOutcome,
    /// Until when an old wrap is kept, in seconds since 1970, where one is.
    pub old_kept_until: Option<u64>,
    /// How it was written; `None` when it wasn't, and in a dry run.
    pub written: Option<RewrapOutcome>,
}

impl RotatedFile {
    pub(super) fn of(plan: &Plan<'_>, written: Option<RewrapOutcome>) -> Self {
        Self {
            outcome: plan.outcome,
            old_kept_until: plan.old_kept_until,
            written,
        }
    }
}

impl Rotation {
    /// Follows the rotations in a file: its header is replaced where there is something to do, its body stays.
    ///
    /// Safe against a crash at any instruction, locked and written as [`rewrap_file`](crate::Keyring::rewrap_file) does it. A file with nothing to
    /// do is only read, and needs to be readable only. A rewrap that was interrupted before is completed first.
    ///
    /// # Errors
    /// * Those of [`rotate`](Self::rotate), naming the file.
    /// * Those of [`rewrap_file`](crate::Keyring::rewrap_file) about the file itself.
    pub fn rotate_file(&self, path: impl AsRef<Path>) -> Result<RotatedFile> {
        let path = path.as_ref();
        // The sidecar belongs beside the file itself, not beside a link to it.
        let real = fs::canonicalize(path).map_err(|e| Error::io_at("open", path, e));
        real.and_then(|real| self.rotate_real_file(&real))
            .map_err(|e| self.keyring.discreet(e.in_file(path)))
    }

    fn rotate_real_file(&self, path: &Path) -> Result<RotatedFile> {
        if let Some(nothing_to_do) = self.look(path)? {
            return Ok(nothing_to_do);
        }
        let mut file = open_locked(path)?;
        self.keyring.complete_interrupted(path, &mut file, None)?;
        let old = read_header(&mut file)?;
        let header = Header::parse(&old)?;
        let plan = self.plan(&header)?;
        if !plan.changes() {
            return Ok(RotatedFile::of(&plan, None));
        }
        let new = self.carry_out(&header, &plan, Padding::Exactly(old.len()))?;
        let written = replace_header(path, &mut file, &new, &old)?;
        Ok(RotatedFile::of(&plan, Some(written)))
    }

    /// What there is to say without a lock and without writing; `None` when there is something to do.
    fn look(&self, path: &Path) -> Result<Option<RotatedFile>> {
        if !fs::metadata(path)
            .map_err(|e| Error::io_at("open", path, e))?
            .is_file()
        {
            return Err(Error::invalid(
                "only a regular file can be rotated; decrypt and encrypt it anew",
            ));
        }
        let mut file = File::open(path).map_err(|e| Error::io_at("open", path, e))?;
        let mut header = read_header(&mut file)?;
        if fs::symlink_metadata(sidecar_path(path)).is_ok() {
            if !self.options.dry_run {
                return Ok(None);
            }
            // What the header will be once this rewrap was completed.
            if let Some(sidecar) = Sidecar::read(path)?.filter(|s| s.interrupts(&header)) {
                header = sidecar.new;
            }
        }
        let header = match Header::parse(&header) {
            Ok(header) => header,
            // Perhaps another rewrap is writing just now; under the lock it is whole.
            Err(_) if !self.options.dry_run => return Ok(None),
            Err(e) => return Err(e),
        };
        let plan = self.plan(&header)?;
        let done = !plan.changes() || self.options.dry_run;
        Ok(done.then(|| RotatedFile::of(&plan, None)))
    }
}
