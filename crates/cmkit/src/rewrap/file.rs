//! Rewrapping a file, safe against a crash at any instruction (docs/format.md, section 17).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::Rewrap;
use super::sidecar::{Sidecar, remove_sidecar, write_sidecar};
use crate::envelope::{Header, Padding};
use crate::error::{Error, Result};
use crate::file::{AtomicFile, Overwrite};
use crate::file_lock::Locked;
use crate::key_id::KeyRef;
use crate::keyring::{Keyring, OpeningKey, verify_mac};
use crate::stream;

/// How a file was rewrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RewrapOutcome {
    /// Only its header was written over.
    InPlace,
    /// The new header didn't fit: the file was copied and the copy renamed over it.
    Copied,
}

impl Keyring {
    /// Rewraps a file: its header is replaced, its body stays.
    ///
    /// Safe against a crash at any instruction: the file stays readable by [`open_file`](Keyring::open_file) and
    /// [`decrypt_file`](Keyring::decrypt_file), and the same call made again completes or repeats what was interrupted. The file is locked
    /// (`flock`) meanwhile; concurrent rewraps of it wait for each other. Files made by cmkit are rewritten in place;
    /// others are copied and renamed, keeping their mode and, where the system permits it, their owner; access control lists
    /// and extended attributes are lost.
    ///
    /// # Errors
    /// * Those of [`rewrap`](Keyring::rewrap), naming the file.
    /// * [`Error::InvalidArgument`]: it isn't a regular file.
    /// * [`Error::InvalidState`]: its length changed while it was copied.
    /// * [`Error::Io`]: the file can't be read, written or synced. It is whole all the same.
    pub fn rewrap_file(&self, path: impl AsRef<Path>, rewrap: &Rewrap) -> Result<RewrapOutcome> {
        let path = path.as_ref();
        // The sidecar belongs beside the file itself, not beside a link to it.
        let real = fs::canonicalize(path).map_err(|e| Error::io_at("open", path, e));
        real.and_then(|real| self.rewrap_real_file(&real, rewrap))
            .map_err(|e| self.discreet(e.in_file(path)))
    }

    fn rewrap_real_file(&self, path: &Path, rewrap: &Rewrap) -> Result<RewrapOutcome> {
        let mut file = open_locked(path)?;
        self.complete_interrupted(path, &mut file, Some(&rewrap.to))?;
        let old = read_header(&mut file)?;
        let header = Header::parse(&old)?;
        let new = self.rewrap_header(&header, rewrap, Padding::Exactly(old.len()))?;
        replace_header(path, &mut file, &new, &old)
    }

    /// Brings a file whose rewrap was interrupted to its new header, and removes a sidecar that has served.
    pub(super) fn complete_interrupted(
        &self,
        path: &Path,
        file: &mut File,
        also: Option<&KeyRef>,
    ) -> Result<()> {
        let Some(sidecar) = Sidecar::read(path)? else {
            return Ok(());
        };
        let current = read_header(file)?;
        // Else it is another file's, by this name: the next sidecar replaces it.
        if sidecar.interrupts(&current) {
            if current == sidecar.old || current == sidecar.new {
                // Written whole, but perhaps not to the disk: then the sidecar is still needed.
                file.sync_data()
                    .map_err(|e| Error::from_io("write the new header of", e))?;
            } else if self.verifies(&current, also).is_ok() {
                // A half-written header verifies no more, so this sidecar is nobody's rewrap.
                return Ok(());
            } else {
                self.verify_sidecar(&sidecar, also)?;
                write_in_place(file, &sidecar.new)?;
            }
            remove_sidecar(path)?;
        }
        Ok(())
    }

    fn verifies(&self, header: &[u8], also: Option<&KeyRef>) -> Result<()> {
        self.unwrap_header(&Header::parse(header)?, also).map(drop)
    }

    /// Whether a rewrap made the new header: whoever may write beside a file could have put another one there, to have the file's own
    /// destroyed. The keyring needs to be allowed to open one of the two.
    fn verify_sidecar(&self, sidecar: &Sidecar, also: Option<&KeyRef>) -> Result<()> {
        let [new, old] = [Header::parse(&sidecar.new)?, Header::parse(&sidecar.old)?];
        let Err(failure) = self.unwrap_header(&new, also) else {
            return Ok(());
        };
        match self.unwrap_header(&old, also) {
            Ok(unwrapped) => verify_mac(&unwrapped.dek, &new),
            Err(_) => Err(failure),
        }
    }

    /// The DEK of the envelope in a file, whose header may be half-written by an interrupted rewrap. Reads only.
    pub(crate) fn open_file_header(&self, path: &Path, file: &mut File) -> Result<OpeningKey> {
        let mut looked = 0;
        loop {
            let header = read_header(file)?;
            let failure = match self.opening_key(&header) {
                Ok(key) => return Ok(key),
                Err(e) if e.is_retryable() => return Err(e),
                Err(e) => e,
            };
            let real = fs::canonicalize(path).map_err(|e| Error::io_at("open", path, e))?;
            if let Some(sidecar) = Sidecar::read(&real)?.filter(|s| s.interrupts(&header)) {
                return self.opening_key(&sidecar.new);
            }
            // A rewrap that was under way may be complete by now; if the header stays as it was, it is bad.
            looked += 1;
            if looked == 3 || read_header(file)? == header {
                return Err(failure);
            }
        }
    }
}

/// The file, locked, and still the one of that name: another rewrap may have renamed a copy over it meanwhile.
pub(super) fn open_locked(path: &Path) -> Result<Locked> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Error::io_at("open", path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io_at("read", path, e))?;
        if !metadata.is_file() {
            return Err(Error::invalid(
                "only a regular file can be rewrapped; decrypt and encrypt it anew",
            ));
        }
        let file = Locked::new(file).map_err(|e| Error::io_at("lock", path, e))?;
        if same_file(&metadata, path) {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn same_file(opened: &fs::Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino()))
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &Path) -> bool {
    // An open file can't be replaced there.
    true
}

pub(super) fn read_header(file: &mut File) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))
        .map_err(|e| Error::from_io("read", e))?;
    stream::read_header(file)
}

/// Puts a header in the old one's place: of the same length, or by way of a copy.
pub(super) fn replace_header(
    path: &Path,
    file: &mut File,
    new: &[u8],
    old: &[u8],
) -> Result<RewrapOutcome> {
    if new.len() == old.len() {
        write_sidecar(path, new, old)?;
        write_in_place(file, new)?;
        remove_sidecar(path)?;
        Ok(RewrapOutcome::InPlace)
    } else {
        copy_with_header(path, file, new, old.len())?;
        Ok(RewrapOutcome::Copied)
    }
}

fn write_in_place(file: &mut File, header: &[u8]) -> Result<()> {
    let write = |file: &mut File| {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(header)?;
        file.sync_data()
    };
    write(file).map_err(|e| Error::from_io("write the new header of", e))
}

/// The whole file anew: the new header, and the body as it is.
fn copy_with_header(path: &Path, file: &mut File, header: &[u8], old_len: usize) -> Result<()> {
    let metadata = file.metadata().map_err(|e| Error::io_at("read", path, e))?;
    let mut copy = AtomicFile::create(path, Overwrite::Replace)?;
    let fail = |e| Error::from_io("write the copy of", e);
    copy.write_all(header).map_err(fail)?;
    file.seek(SeekFrom::Start(old_len as u64)).map_err(fail)?;
    let copied = io::copy(file, &mut copy).map_err(fail)?;
    if copied != metadata.len() - old_len as u64 {
        return Err(Error::InvalidState {
            problem: "the file changed while it was copied; nothing was kept",
        });
    }
    // Before the new file is there: somebody else may lock that at once, and a sidecar is theirs then.
    remove_sidecar(path)?;
    copy.keep_owner_of(&metadata);
    copy.commit(Some(metadata.permissions()))
}

#[cfg(test)]
mod tests;
