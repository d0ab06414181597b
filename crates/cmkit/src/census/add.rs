//! What a census looks at.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::{Census, MAX_UNREADABLE, Unreadable};
use crate::envelope::{Header, begins_like_one};
use crate::error::{Error, Result};
use crate::key_store::KeyStore;
use crate::keyring::Keyring;
use crate::rewrap::{Sidecar, check_row, file_of_sidecar, is_envelope_file};
use crate::stream;
use crate::walk::{Found, walk};

impl Census {
    /// Adds an envelope, or the header of one. What doesn't begin like an envelope counts as skipped.
    pub fn add_envelope(&mut self, envelope: &[u8]) {
        self.add_bytes(envelope, None);
    }

    /// Adds something that the caller couldn't read: a row of a table, an object of a store. `problem` is a sentence without a full stop.
    pub fn add_unreadable(&mut self, name: impl Into<String>, problem: impl Into<String>) {
        self.unreadable_count += 1;
        if self.unreadable.len() < MAX_UNREADABLE {
            let name = if self.is_discreet {
                "(a name that is withheld)".into()
            } else {
                name.into()
            };
            self.unreadable.push(Unreadable {
                name,
                problem: problem.into(),
            });
        }
    }

    /// Adds a file. Where a rewrap of it was interrupted, both headers count: the old one and the new one. What can't be read, or isn't there, is
    /// [unreadable](Self::unreadable).
    pub fn add_file(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        if let Err(e) = self.try_file(path) {
            self.add_failed(path, &e);
        }
    }

    /// Adds a file, or every file below a directory, key stores included; see [`add_path_with`](Self::add_path_with).
    pub fn add_path(&mut self, path: impl AsRef<Path>) {
        // Without anybody to say so, nothing is cancelled.
        let _ = self.add_path_with(path, |_| ControlFlow::Continue(()));
    }

    /// The same, telling `on_file` of each file before it is read, which goes on or not.
    ///
    /// Symbolic links below a directory aren't followed but [counted](Self::links). Files that are just being written count, as they will be envelopes soon.
    /// Directories are read as they are walked, up to 200 levels deep; what can't be read is [unreadable](Self::unreadable).
    ///
    /// # Errors
    /// * [`Error::Cancelled`]: `on_file` said to stop. The census is incomplete from then on, and finds nothing safe to disable.
    pub fn add_path_with(
        &mut self,
        path: impl AsRef<Path>,
        mut on_file: impl FnMut(&Path) -> ControlFlow<()>,
    ) -> Result<()> {
        let flow = walk(path.as_ref(), &mut |path, found| {
            match found {
                Ok(Found::Link) => self.links += 1,
                Ok(Found::Named) => {
                    on_file(path)?;
                    self.add_file(path);
                }
                Ok(Found::File) => {
                    on_file(path)?;
                    match self.try_file(path) {
                        // Removed meanwhile: it protects nothing any more.
                        Err(e) if e.io().is_some_and(is_not_found) => {}
                        Err(e) => self.add_failed(path, &e),
                        Ok(()) => {}
                    }
                }
                Err(e) => self.add_failed(path, &e),
            }
            ControlFlow::Continue(())
        });
        if flow.is_break() {
            self.is_partial = true;
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Adds every row of a key store. Rows that can't be read, or the whole store when it can't be listed, are [unreadable](Self::unreadable).
    pub fn add_key_store(&mut self, store: &dyn KeyStore) {
        let ids = match store.list() {
            Ok(ids) => ids,
            Err(e) => return self.add_unreadable("the key store", self.told(e)),
        };
        for id in ids {
            let name = format!("DEK {id}");
            match store.get(&id) {
                Ok(Some(row)) => match check_row(&id, &row.bytes) {
                    Ok(()) => self.add_bytes(&row.bytes, Some(&name)),
                    Err(e) => self.add_unreadable(name, self.told(e)),
                },
                // Removed meanwhile.
                Ok(None) => {}
                Err(e) => self.add_unreadable(name, self.told(e)),
            }
        }
    }

    /// Adds every row of a keyring's key store.
    ///
    /// # Errors
    /// * [`Error::Policy`]: it has none.
    pub fn add_key_store_of(&mut self, keyring: &Keyring) -> Result<()> {
        self.add_key_store(&keyring.own_key_store()?);
        Ok(())
    }

    fn add_bytes(&mut self, bytes: &[u8], name: Option<&str>) {
        if !begins_like_one(bytes) {
            self.skipped += 1;
            return;
        }
        match Header::parse(bytes) {
            Ok(header) => self.count(&header, name),
            Err(e) => self.add_unreadable(name.unwrap_or("an envelope in memory"), e.to_string()),
        }
    }

    /// An error in words, without names where they are withheld.
    fn told(&self, e: Error) -> String {
        if self.is_discreet {
            e.without_names().root().to_string()
        } else {
            e.root().to_string()
        }
    }

    fn add_failed(&mut self, path: &Path, e: &Error) {
        let problem = match e.root() {
            Error::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        self.add_unreadable(path.display().to_string(), problem);
    }

    fn try_file(&mut self, path: &Path) -> Result<()> {
        let metadata = fs::metadata(path).map_err(|e| Error::io_at("open", path, e))?;
        if !metadata.is_file() {
            return Err(Error::invalid("it is not a regular file"));
        }
        if !is_envelope_file(path)? {
            self.skipped += 1;
            return Ok(());
        }
        let name = path.display().to_string();
        if let Some(file) = file_of_sidecar(path)
            && let Some(sidecar) = Sidecar::read(&file)?
        {
            // Counted with its file, unless that is somewhere else now.
            if !file.exists() {
                self.add_bytes(&sidecar.new, Some(&name));
                self.add_bytes(&sidecar.old, Some(&name));
            }
            return Ok(());
        }
        let mut file = File::open(path).map_err(|e| Error::io_at("open", path, e))?;
        // The sidecar first: a rewrap that ends in between has its new header in the file.
        let real = fs::canonicalize(path).map_err(|e| Error::io_at("open", path, e))?;
        let mut looked = 0;
        loop {
            let sidecar = Sidecar::read(&real)?;
            file.rewind().map_err(|e| Error::io_at("read", path, e))?;
            let header = stream::read_header(&mut file)?;
            if let Some(sidecar) = sidecar.filter(|s| s.interrupts(&header)) {
                self.add_bytes(&sidecar.new, Some(&name));
                self.add_bytes(&sidecar.old, Some(&name));
                return Ok(());
            }
            // One that is half-written may have been under way for a moment only.
            looked += 1;
            if looked == 3 || Header::parse(&header).is_ok() {
                self.add_bytes(&header, Some(&name));
                return Ok(());
            }
        }
    }
}

fn is_not_found(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound
}
