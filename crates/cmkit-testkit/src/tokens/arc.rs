//! Azure Arc's proof that the caller may read root's files: key files, each good once.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::random;

/// Key files that wait to be read.
pub(crate) struct KeyFiles {
    dir: PathBuf,
    waiting: Mutex<HashMap<String, PathBuf>>,
}

impl KeyFiles {
    pub(crate) fn new(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new file with a new secret.
    pub(crate) fn make(&self) -> io::Result<PathBuf> {
        let secret = random::hex(32);
        let path = self.dir.join(format!("{}.key", random::uuid()));
        fs::write(&path, &secret)?;
        self.lock().insert(secret, path.clone());
        Ok(path)
    }

    /// Whether the secret was in one of the files; it isn't any more.
    pub(crate) fn take(&self, secret: &str) -> bool {
        match self.lock().remove(secret) {
            Some(path) => {
                let _ = fs::remove_file(path);
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, PathBuf>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyFiles {
    fn drop(&mut self) {
        for path in self.lock().values() {
            let _ = fs::remove_file(path);
        }
    }
}
