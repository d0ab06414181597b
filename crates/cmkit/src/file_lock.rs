//! Locks on files, between threads and processes.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};

/// A locked file. On drop it is unlocked and not only closed: a child that was forked meanwhile has the descriptor too, and would keep the
/// lock for as long as it lives.
pub(crate) struct Locked(File);

impl Locked {
    /// Waits for the lock, also through signals.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        loop {
            match file.lock() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| Self(file)),
            }
        }
    }
}

impl Deref for Locked {
    type Target = File;
    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing follows, which unlocks in all processes but those.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_a_child_inherited_keeps_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Locked::new(File::create(&path).unwrap()).unwrap();
        // What a fork does: both descriptors share one open file, and so one lock.
        let inherited = lock.try_clone().unwrap();
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        drop(lock);
        other.try_lock().unwrap();
        drop(inherited);
    }
}
