//! Files, and crashes at any point.

use std::fs;
use std::path::PathBuf;

use super::super::super::sidecar::sidecar_path;
use super::super::RotateOutcome::{Added, Finished, Replaced, UpToDate, Waiting};
use super::*;
use crate::{ErrorKind, FileOptions, RewrapOutcome, header_len};

impl Scene {
    fn file(&self, name: &str) -> PathBuf {
        let plain = self.dir.path().join("plain");
        fs::write(&plain, TEXT).unwrap();
        let sealed = self.dir.path().join(name);
        self.keyring(&["a"])
            .encrypt_file(&plain, &sealed, &none(), &FileOptions::default())
            .unwrap();
        sealed
    }

    fn reads(&self, path: &std::path::Path) -> bool {
        let reader = self.keyring(&["a"]).open_file(path, &none());
        reader.is_ok_and(|r| r.len() == TEXT.len() as u64)
    }
}

#[test]
fn in_place_with_the_old_wrap_kept_and_dropped() {
    let scene = Scene::new();
    let path = scene.file("sealed");
    let len = fs::metadata(&path).unwrap().len();
    scene.rotate_key("a");
    let rotation = scene.keyring(&["a"]).rotation(&Rotate::default()).unwrap();
    let step = |outcome, written| {
        let done = rotation.rotate_file(&path).unwrap();
        assert_eq!((done.outcome, done.written), (outcome, written));
        assert!(scene.reads(&path) && !sidecar_path(&path).exists());
        assert_eq!(fs::metadata(&path).unwrap().len(), len);
        keys_of(&fs::read(&path).unwrap()).len()
    };
    assert_eq!(step(Added, Some(RewrapOutcome::InPlace)), 2);
    assert_eq!(step(Waiting, None), 2);
    scene.pass(DAY);
    assert_eq!(step(Finished, Some(RewrapOutcome::InPlace)), 1);
    assert_eq!(step(UpToDate, None), 1);
}

#[test]
fn what_has_no_room_is_copied() {
    let scene = Scene::new();
    let path = scene.dir.path().join("document");
    fs::write(&path, scene.seal(&["a"])).unwrap();
    scene.rotate_key("a");
    let rotation = scene.keyring(&["a"]).rotation(&Rotate::default()).unwrap();
    let done = rotation.rotate_file(&path).unwrap();
    assert_eq!(
        (done.outcome, done.written),
        (Added, Some(RewrapOutcome::Copied))
    );
    assert!(scene.reads(&path));
    scene.pass(DAY);
    let done = rotation.rotate_file(&path).unwrap();
    assert_eq!(
        (done.outcome, done.written),
        (Finished, Some(RewrapOutcome::InPlace))
    );
    assert!(scene.opens(&fs::read(&path).unwrap(), &["a"]));
}

#[test]
fn a_dry_run_leaves_every_byte() {
    let scene = Scene::new();
    let path = scene.file("sealed");
    let old = fs::read(&path).unwrap();
    scene.rotate_key("a");
    let keyring = scene.keyring(&["a"]);
    let dry = keyring.rotation(&at_once().dry_run()).unwrap();
    let told = dry.rotate_file(&path).unwrap();
    assert_eq!((told.outcome, told.written), (Replaced, None));
    assert!(fs::read(&path).unwrap() == old);

    // Also beside an interrupted rewrap, which it looks through and leaves.
    keyring
        .rotation(&at_once())
        .unwrap()
        .rotate_file(&path)
        .unwrap();
    let new = fs::read(&path).unwrap();
    let len = header_len(&old).unwrap();
    let torn = [&new[..len - 20], &old[len - 20..]].concat();
    let beside = [&new[..len], &old[..len]].concat();
    fs::write(&path, &torn).unwrap();
    fs::write(sidecar_path(&path), &beside).unwrap();
    assert_eq!(dry.rotate_file(&path).unwrap().outcome, UpToDate);
    assert!(fs::read(&path).unwrap() == torn);
    assert!(fs::read(sidecar_path(&path)).unwrap() == beside);
}

/// Each state that a crash leaves, of both steps: it reads, and the same call completes it.
#[test]
fn killed_at_any_point() {
    let scene = Scene::new();
    let path = scene.file("sealed");
    let first = fs::read(&path).unwrap();
    let only_new = [scene.rotate_key("a")];
    let keyring = scene.keyring(&["a"]);
    let keep = keyring.rotation(&Rotate::default()).unwrap();
    let at_once = keyring.rotation(&at_once()).unwrap();
    keep.rotate_file(&path).unwrap();
    let second = fs::read(&path).unwrap();
    at_once.rotate_file(&path).unwrap();
    let third = fs::read(&path).unwrap();
    let len = header_len(&first).unwrap();
    for (old, new) in [(&first, &second), (&second, &third)] {
        let differs: Vec<_> = (0..len).filter(|at| old[*at] != new[*at]).collect();
        for cut in differs.iter().step_by(7).chain(differs.last()) {
            let cut = cut + 1;
            fs::write(&path, [&new[..cut], &old[cut..]].concat()).unwrap();
            fs::write(sidecar_path(&path), [&new[..len], &old[..len]].concat()).unwrap();
            assert!(scene.reads(&path), "{cut}");
            at_once.rotate_file(&path).unwrap();
            assert!(!sidecar_path(&path).exists(), "{cut}");
            assert_eq!(keys_of(&fs::read(&path).unwrap()), only_new, "{cut}");
            assert!(scene.opens(&fs::read(&path).unwrap(), &["a"]), "{cut}");
        }
    }
}

#[cfg(unix)]
#[test]
fn what_is_up_to_date_is_only_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    let path = scene.file("sealed");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let modified = || fs::metadata(&path).unwrap().modified().unwrap();
    let before = modified();
    let rotation = scene.keyring(&["a"]).rotation(&at_once()).unwrap();
    assert_eq!(rotation.rotate_file(&path).unwrap().outcome, UpToDate);
    assert_eq!(modified(), before);
    let error = rotation.rotate_file(scene.dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = rotation
        .rotate_file(scene.dir.path().join("plain"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    assert!(error.to_string().contains("plain"), "{error}");
}
