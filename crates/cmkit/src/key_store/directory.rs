//! A key store in a directory: one file a DEK, `ID.dek`.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::{KeyStore, StoredKey};
use crate::crypto::{random, sha256};
use crate::durable::sync_dir;
use crate::envelope::{DekId, MAX_HEADER_LEN};
use crate::error::{Error, Result};
use crate::file_lock::Locked;

const SUFFIX: &str = ".dek";
const LOCK: &str = ".lock";

/// A [`KeyStore`] in a directory: one file `ID.dek` a DEK, at most 64 KiB each.
///
/// Rows are synced to the disk before they count as stored. Any number of processes may use the same directory, also one on a network file system
/// that has locks and atomic links. Rows aren't secret; the directory is made with mode 0700 all the same.
pub struct DirectoryKeyStore {
    path: PathBuf,
}

impl DirectoryKeyStore {
    /// The store in this directory, which is created if it isn't there.
    ///
    /// # Errors
    /// * [`Error::Io`]: it can't be created, or is something else than a directory.
    pub fn open_or_create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // So that it stays the same directory when the process changes its own.
        let path = std::path::absolute(&path)
            .map_err(|e| Error::io_at("create the key store", &path, e))?;
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&path)
            .map_err(|e| Error::io_at("create the key store", &path, e))?;
        // Whatever of it was made just now: a row isn't durable in a directory that may vanish.
        for parent in path.ancestors().skip(1) {
            sync_dir(parent)?;
        }
        Ok(Self { path })
    }

    /// The store in a directory that is one already.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn row_path(&self, id: &DekId) -> PathBuf {
        self.path.join(format!("{id}{SUFFIX}"))
    }

    /// A synced file with these bytes under a name of its own; removed by the guard unless it was renamed.
    fn temporary(&self, bytes: &[u8]) -> Result<Temporary> {
        let mut suffix = [0; 8];
        random(&mut suffix).map_err(|_| Error::Internal {
            problem: "the system gave no random bytes",
        })?;
        let path = self
            .path
            .join(format!(".{:016x}.tmp", u64::from_be_bytes(suffix)));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        let temporary = Temporary(path.clone());
        write().map_err(|e| Error::io_at("write the key store's file", &path, e))?;
        Ok(temporary)
    }
}

/// The DEK whose row has this file name, if it is the name of one.
pub(crate) fn row_id(name: &OsStr) -> Option<DekId> {
    name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}

struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already after a rename; a leftover is harmless and ignored by `list`.
        let _ = fs::remove_file(&self.0);
    }
}

impl KeyStore for DirectoryKeyStore {
    fn get(&self, id: &DekId) -> Result<Option<StoredKey>> {
        let path = self.row_path(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io_at("read the key store's file", &path, e)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_HEADER_LEN as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io_at("read the key store's file", &path, e))?;
        let tag = sha256(&[&bytes]).to_vec();
        Ok(Some(StoredKey { bytes, tag }))
    }

    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> Result<bool> {
        let temporary = self.temporary(bytes)?;
        let path = self.row_path(id);
        match fs::hard_link(&temporary.0, &path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(Error::io_at("write the key store's file", &path, e)),
        }
        sync_dir(&self.path)?;
        Ok(true)
    }

    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> Result<bool> {
        let lock_path = self.path.join(LOCK);
        let locked = || {
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock_path)?;
            Locked::new(lock)
        };
        let _lock = locked().map_err(|e| Error::io_at("lock", &lock_path, e))?;
        if self.get(id)?.is_none_or(|row| row.tag != tag) {
            return Ok(false);
        }
        let temporary = self.temporary(bytes)?;
        let path = self.row_path(id);
        fs::rename(&temporary.0, &path)
            .map_err(|e| Error::io_at("write the key store's file", &path, e))?;
        sync_dir(&self.path)?;
        Ok(true)
    }

    fn list(&self) -> Result<Vec<DekId>> {
        let fail = |e| Error::io_at("list the key store", &self.path, e);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            ids.extend(row_id(&name));
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_once_and_replaced_when_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryKeyStore::open_or_create(dir.path().join("a/b")).unwrap();
        let id = DekId([0xAB; 16]);
        assert_eq!(store.get(&id).unwrap(), None);
        assert!(store.put_if_absent(&id, b"one").unwrap());
        assert!(!store.put_if_absent(&id, b"other").unwrap());
        let row = store.get(&id).unwrap().unwrap();
        assert_eq!(row.bytes, b"one");
        assert!(store.replace_if_unchanged(&id, b"two", &row.tag).unwrap());
        assert!(!store.replace_if_unchanged(&id, b"three", &row.tag).unwrap());
        assert_eq!(store.get(&id).unwrap().unwrap().bytes, b"two");
        assert_eq!(store.list().unwrap(), [id]);
        let leftovers: Vec<_> = fs::read_dir(&store.path)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.ends_with(".tmp"))
            .collect();
        assert!(leftovers.is_empty(), "{leftovers:?}");
    }

    /// A path that begins where the process happens to be.
    #[cfg(unix)]
    #[test]
    fn a_relative_path_is_fixed_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        let to_root: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let path = to_root
            .join(dir.path().strip_prefix("/").unwrap())
            .join("new");
        let store = DirectoryKeyStore::open_or_create(&path).unwrap();
        assert!(path.is_relative() && path.is_dir() && store.path.is_absolute());
    }

    #[test]
    fn many_writers_one_winner() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryKeyStore::open_or_create(dir.path()).unwrap();
        let id = DekId([1; 16]);
        let puts: usize = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8u8)
                .map(|i| {
                    s.spawn({
                        let store = &store;
                        move || store.put_if_absent(&id, &[i; 9]).unwrap()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|t| usize::from(t.join().unwrap()))
                .sum()
        });
        assert_eq!(puts, 1);
    }
}
