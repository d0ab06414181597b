//! Sidecars: of interrupted rewraps, and of somebody who wants the file's header gone.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::sidecar::sidecar_path;
use super::*;
use crate::envelope::header_len;
use crate::{AllowEntry, EncryptionContext, FileOptions, KeyRef, KeyType, LocalKeyProvider};

/// A file of `text` for `local:a`, rewrapped to `local:b` once to know both headers, and then as it was before.
struct Scene {
    dir: tempfile::TempDir,
    local: Arc<LocalKeyProvider>,
    file: PathBuf,
    before: Vec<u8>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
        for name in ["a", "b"] {
            local.create_key(name, KeyType::Oct256).unwrap();
        }
        let mut scene = Self {
            file: dir.path().join("file.cmk"),
            local: Arc::new(local),
            dir,
            before: Vec::new(),
            old: Vec::new(),
            new: Vec::new(),
        };
        let plain = scene.dir.path().join("file");
        fs::write(&plain, "text").unwrap();
        let writer = Keyring::builder()
            .provider(Arc::clone(&scene.local) as _)
            .wrap_with(key("a"))
            .build()
            .unwrap();
        writer
            .encrypt_file(&plain, &scene.file, &none(), &FileOptions::default())
            .unwrap();
        scene.before = fs::read(&scene.file).unwrap();
        scene
            .allowing(&["a"])
            .rewrap_file(&scene.file, &to_b())
            .unwrap();
        let after = fs::read(&scene.file).unwrap();
        let len = header_len(&after).unwrap();
        scene.old = scene.before[..len].to_vec();
        scene.new = after[..len].to_vec();
        fs::write(&scene.file, &scene.before).unwrap();
        scene
    }

    fn allowing(&self, names: &[&str]) -> Keyring {
        let builder = Keyring::builder().provider(Arc::clone(&self.local) as _);
        let allow = |b: crate::KeyringBuilder, name: &&str| b.allow(AllowEntry::Key(key(name)));
        names.iter().fold(builder, allow).build().unwrap()
    }

    /// Leaves the file as a crash did that wrote `len` bytes of the new header.
    fn tear(&self, len: usize) {
        let mut torn = self.before.clone();
        torn[..len].copy_from_slice(&self.new[..len]);
        fs::write(&self.file, &torn).unwrap();
        self.put_sidecar(&self.new, &self.old);
    }

    fn put_sidecar(&self, new: &[u8], old: &[u8]) {
        fs::write(sidecar_path(&self.file), [new, old].concat()).unwrap();
    }

    fn reads(&self) -> bool {
        let keyring = self.allowing(&["a", "b"]);
        let reader = keyring.open_file(&self.file, &none());
        reader.is_ok_and(|r| r.len() == 4)
    }
}

fn key(name: &str) -> KeyRef {
    KeyRef::local(name).unwrap()
}

fn to_b() -> Rewrap {
    Rewrap::to(key("b"))
}

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

#[test]
fn what_was_interrupted_is_read_and_completed() {
    let scene = Scene::new();
    let len = scene.new.len();
    for cut in (0..len).step_by(97).chain(len - 34..=len) {
        scene.tear(cut);
        assert!(scene.reads(), "{cut}");
        let outcome = scene
            .allowing(&["a", "b"])
            .rewrap_file(&scene.file, &to_b());
        assert_eq!(outcome.unwrap(), RewrapOutcome::InPlace, "{cut}");
        assert!(scene.reads() && !sidecar_path(&scene.file).exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_says_that_a_rewrap_was_interrupted() {
    let scene = Scene::new();
    let keyring = scene.allowing(&["a", "b"]);
    let open = || keyring.reader(File::open(&scene.file).unwrap(), &none());
    scene.tear(scene.new.len() - 10);
    let kind = open().map(|r| r.len()).unwrap_err().kind();
    assert_eq!(kind, crate::ErrorKind::RewrapInterrupted);
    // Damage beside an old sidecar is damage.
    let mut damaged = scene.before.clone();
    damaged[scene.old.len() - 1] ^= 0x55;
    fs::write(&scene.file, damaged).unwrap();
    let kind = open().map(|r| r.len()).unwrap_err().kind();
    assert_eq!(kind, crate::ErrorKind::Authentication);
}

#[test]
fn the_old_key_alone_proves_a_sidecar() {
    let scene = Scene::new();
    scene.tear(scene.new.len() - 10);
    // And the target may unwrap in a call that names it, so the same call made again completes.
    let outcome = scene.allowing(&["a"]).rewrap_file(&scene.file, &to_b());
    assert_eq!(outcome.unwrap(), RewrapOutcome::InPlace);
    assert!(scene.reads() && !sidecar_path(&scene.file).exists());
}

#[test]
fn a_sidecar_that_nobody_vouches_for_destroys_nothing() {
    let scene = Scene::new();
    // Each byte of the file's header is that of the one or the other, and it is neither.
    let (mut garbage, mut almost) = (scene.old.clone(), scene.old.clone());
    let mac_start = garbage.len() - 32;
    garbage[mac_start..].fill(0);
    garbage[mac_start] = scene.old[mac_start];
    almost[mac_start] ^= 1;
    scene.put_sidecar(&garbage, &almost);
    scene
        .allowing(&["a"])
        .rewrap_file(&scene.file, &to_b())
        .unwrap();
    assert!(scene.reads());

    // Nor when the keyring can't tell the file's own header from a half-written one.
    fs::write(&scene.file, &scene.before).unwrap();
    scene.put_sidecar(&garbage, &almost);
    let error = scene.allowing(&["b"]).rewrap_file(&scene.file, &to_b());
    assert_eq!(error.unwrap_err().kind(), crate::ErrorKind::KeyNotAllowed);
    assert_eq!(fs::read(&scene.file).unwrap(), scene.before);

    // Nor when the file is torn: what is left may still be put together from a backup of the sidecar.
    scene.tear(scene.new.len() - 10);
    let torn = fs::read(&scene.file).unwrap();
    let mut forged = scene.new.clone();
    forged[mac_start] ^= 1;
    let mut rest = scene.old.clone();
    rest[mac_start] = torn[mac_start];
    scene.put_sidecar(&forged, &rest);
    let error = scene
        .allowing(&["a", "b"])
        .rewrap_file(&scene.file, &to_b());
    assert_eq!(error.unwrap_err().kind(), crate::ErrorKind::Authentication);
    assert_eq!(fs::read(&scene.file).unwrap(), torn);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_no_sidecar() {
    let scene = Scene::new();
    let sidecar = sidecar_path(&scene.file);
    // To open a pipe would be to wait.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &sidecar,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut damaged = scene.before.clone();
    damaged[scene.old.len() - 1] ^= 1;
    fs::write(&scene.file, damaged).unwrap();
    assert!(!scene.reads());
    fs::write(&scene.file, &scene.before).unwrap();
    let error = scene.allowing(&["a"]).rewrap_file(&scene.file, &to_b());
    assert_eq!(error.unwrap_err().kind(), crate::ErrorKind::InvalidArgument);
    assert_eq!(fs::read(&scene.file).unwrap(), scene.before);
}
