//! What the end-to-end tests share: a key directory with keys, and keyrings over it.
//!
//! The tests use the public interface only, as a program would.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use cmkit::{
    AllowEntry, EncryptionContext, FileOptions, KeyRef, KeyType, Keyring, LocalKeyProvider, Rewrap,
};

/// A directory of its own, with the keys `local:a` and `local:b`, whose ids are equally long.
pub struct Place {
    dir: PathBuf,
    /// Removed afterwards, where this is the one who made it.
    _owner: Option<tempfile::TempDir>,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// A new one.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn new() -> Self {
        let owner = tempfile::tempdir().unwrap();
        let place = Self::at(owner.path());
        for name in ["a", "b"] {
            place.provider().create_key(name, KeyType::Oct256).unwrap();
        }
        Self {
            _owner: Some(owner),
            ..place
        }
    }

    /// One that is there already.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            _owner: None,
        }
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Its keys.
    ///
    /// # Panics
    /// If they can't be opened.
    #[must_use]
    pub fn provider(&self) -> LocalKeyProvider {
        LocalKeyProvider::open_or_create(self.path("keys")).unwrap()
    }

    /// A keyring that wraps with the first of these keys and may unwrap with all of them. Nothing is in its cache.
    ///
    /// # Panics
    /// If the keys' names are none.
    #[must_use]
    pub fn keyring(&self, keys: &[&str]) -> Keyring {
        let mut builder = Keyring::builder().provider(Arc::new(self.provider()));
        if let Some(first) = keys.first() {
            builder = builder.wrap_with(key(first));
        }
        for name in keys {
            builder = builder.allow(AllowEntry::Key(key(name)));
        }
        builder.build().unwrap()
    }

    /// Encrypts `text` into the file `name` under `local:a`, as the command does.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn seal(&self, name: &str, text: &[u8]) -> PathBuf {
        let (plain, sealed) = (self.path("plain"), self.path(name));
        std::fs::write(&plain, text).unwrap();
        let keyring = self.keyring(&["a"]);
        keyring
            .encrypt_file(&plain, &sealed, &none(), &FileOptions::default())
            .unwrap();
        sealed
    }

    /// Decrypts a file with these keys, looking beside it where its header is half-written.
    ///
    /// # Errors
    /// Those of [`Keyring::open_file`], and of reading.
    pub fn open(&self, path: &Path, keys: &[&str]) -> cmkit::Result<Vec<u8>> {
        let mut reader = self.keyring(keys).open_file(path, &none())?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut text).map_err(cmkit::error_from_io)?;
        Ok(text)
    }
}

/// `local:NAME`.
///
/// # Panics
/// If that is no name.
#[must_use]
pub fn key(name: &str) -> KeyRef {
    KeyRef::local(name).unwrap()
}

/// A rewrap to `local:NAME`.
///
/// # Panics
/// If that is no name.
#[must_use]
pub fn to(name: &str) -> Rewrap {
    Rewrap::to(key(name))
}

/// No context.
#[must_use]
pub fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

/// Bytes that differ everywhere.
///
/// # Panics
/// Never.
#[must_use]
pub fn text(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((7 * i + i / 251) % 256).unwrap())
        .collect()
}

/// Where the rewrap of a file keeps the headers that it goes between.
#[must_use]
pub fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".cmk-rewrap");
    name.into()
}

/// Set for the process that is to be killed: the directory to work in.
pub const VICTIM: &str = "CMKIT_TESTS_VICTIM_IN";

/// Starts the test `victim` of this same program in a process of its own, at work in this place, and waits until it has made the file `started`.
///
/// # Panics
/// If it ends, or takes more than a minute to start.
#[must_use]
pub fn start_victim(place: &Place) -> Child {
    let started = place.path("started");
    drop(fs::remove_file(&started));
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, place.path(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !started.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it was killed"
        );
        assert!(begun.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_micros(200));
    }
    child
}
