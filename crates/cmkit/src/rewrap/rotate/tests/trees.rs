//! Key stores and directory trees.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::super::RotateOutcome::{self, NotOurs, Replaced, UpToDate};
use super::*;
use crate::{DekId, DirectoryKeyStore, Error, ErrorKind, KeyStore, StoredKey};

/// What became of each, by its name; where that is a DEK id, `row`.
fn rotate_paths(
    rotation: &super::super::Rotation,
    root: &Path,
) -> BTreeMap<String, Result<RotateOutcome, ErrorKind>> {
    let mut all = BTreeMap::new();
    rotation
        .rotate_paths([root], |path, result| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = if name.ends_with(".dek") { "row" } else { name };
            let result = result.map(|r| r.outcome).map_err(|e| e.kind());
            assert_eq!(all.insert(name.to_owned(), result), None);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

#[test]
fn a_tree_of_everything() {
    let scene = Scene::new();
    let root = scene.dir.path().join("tree");
    let store = DirectoryKeyStore::open_or_create(root.join("store")).unwrap();
    let keyring = scene
        .builder()
        .wrap_with(key("a"))
        .key_store(Arc::new(store))
        .build()
        .unwrap();
    let compact = keyring.encrypt_compact(TEXT, &none()).unwrap();
    fs::create_dir(root.join("deep")).unwrap();
    fs::write(root.join("deep/compact"), &compact).unwrap();
    let envelope = scene.seal(&["a"]);
    fs::write(root.join("deep/document"), &envelope).unwrap();
    fs::write(root.join("other"), scene.seal(&["b"])).unwrap();
    fs::write(root.join("letter"), "no envelope").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("cut"), &envelope[..40]).unwrap();
    let temporary = root.join(".document.0123456789abcdef.cmk-tmp");
    fs::write(&temporary, &envelope).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("..", root.join("deep/loop")).unwrap();

    let new = scene.rotate_key("a");
    let rotation = keyring.rotation(&at_once()).unwrap();
    let done = rotate_paths(&rotation, &root);
    let expected = [
        ("compact", Ok(NotOurs)),
        ("cut", Err(ErrorKind::Truncated)),
        ("document", Ok(Replaced)),
        ("other", Ok(NotOurs)),
        ("row", Ok(Replaced)),
    ];
    let expected = expected.map(|(name, result)| (name.to_owned(), result));
    assert_eq!(done, BTreeMap::from(expected));
    assert!(fs::read(&temporary).unwrap() == envelope, "left alone");
    assert_eq!(keyring.decrypt(&compact, &none()).unwrap(), TEXT);

    // The row is still one, without padding, and of the new version alone.
    let store = DirectoryKeyStore::at(root.join("store"));
    let row = store.get(&store.list().unwrap()[0]).unwrap().unwrap();
    assert_eq!(keys_of(&row.bytes), [new]);
    assert_eq!(inspect(&row.bytes).unwrap().padding_len, 0);
    let again = rotate_paths(&rotation, &root);
    assert_eq!([again["document"], again["row"]], [Ok(UpToDate); 2]);

    // What is named is reported, whatever it is.
    let named = rotate_paths(&rotation, &root.join("letter"));
    assert_eq!(named["letter"], Err(ErrorKind::Format));
    let named = rotate_paths(&rotation, &root.join("none"));
    assert_eq!(named["none"], Err(ErrorKind::Io));
}

#[test]
fn a_walk_can_be_stopped_and_gone_on_with() {
    let scene = Scene::new();
    let root = scene.dir.path().join("tree");
    fs::create_dir(&root).unwrap();
    for n in 0..4 {
        fs::write(root.join(n.to_string()), scene.seal(&["a"])).unwrap();
    }
    scene.rotate_key("a");
    let rotation = scene.keyring(&["a"]).rotation(&at_once()).unwrap();
    let stopped = rotation.rotate_paths([&root], |_, _| ControlFlow::Break(()));
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    let done = rotate_paths(&rotation, &root);
    let count = |outcome| done.values().filter(|r| **r == Ok(outcome)).count();
    assert_eq!((count(Replaced), count(UpToDate)), (3, 1));
}

/// A store in which somebody else rewraps a row just before it is replaced.
struct Meanwhile {
    store: DirectoryKeyStore,
    change: Mutex<Option<Vec<u8>>>,
}

impl KeyStore for Meanwhile {
    fn get(&self, id: &DekId) -> Result<Option<StoredKey>, Error> {
        self.store.get(id)
    }

    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> Result<bool, Error> {
        self.store.put_if_absent(id, bytes)
    }

    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> Result<bool, Error> {
        if let Some(change) = self.change.lock().unwrap().take() {
            assert!(self.store.replace_if_unchanged(id, &change, tag)?);
        }
        self.store.replace_if_unchanged(id, bytes, tag)
    }

    fn list(&self) -> Result<Vec<DekId>, Error> {
        self.store.list()
    }
}

#[test]
fn a_concurrent_change_of_a_row_is_not_undone() {
    let scene = Scene::new();
    let store = DirectoryKeyStore::open_or_create(scene.dir.path().join("store")).unwrap();
    let store = Arc::new(Meanwhile {
        store,
        change: Mutex::default(),
    });
    let keyring = scene.builder().wrap_with(key("a")).wrap_with(key("b"));
    let keyring = keyring.key_store(Arc::clone(&store) as _).build().unwrap();
    keyring.encrypt_compact(TEXT, &none()).unwrap();
    let id = store.list().unwrap()[0];
    let row = store.get(&id).unwrap().unwrap().bytes;
    let to_c = crate::Rewrap::to(key("c"));
    // It takes the place of `a`, which came first.
    let change = keyring.rewrap(&row, &to_c).unwrap();
    *store.change.lock().unwrap() = Some(change);
    let new = scene.rotate_key("b");
    let rotation = keyring.rotation(&at_once()).unwrap();
    let mut outcomes = Vec::new();
    rotation
        .rotate_key_store(|_, result| {
            outcomes.push(result.unwrap().outcome);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(outcomes, [Replaced]);
    let row = store.get(&id).unwrap().unwrap().bytes;
    assert_eq!(keys_of(&row), [scene.newest("c"), new]);
}

#[test]
fn one_bad_row_does_not_keep_the_others_back() {
    let scene = Scene::new();
    let path = scene.dir.path().join("store");
    let open = || Arc::new(DirectoryKeyStore::open_or_create(&path).unwrap());
    for _ in 0..3 {
        let keyring = scene.builder().wrap_with(key("a")).key_store(open());
        let keyring = keyring.build().unwrap();
        keyring.encrypt_compact(TEXT, &none()).unwrap();
    }
    let bad = open().list().unwrap()[0];
    fs::write(path.join(format!("{bad}.dek")), "damaged").unwrap();
    scene.rotate_key("a");
    let keyring = scene.builder().wrap_with(key("a")).key_store(open());
    let rotation = keyring.build().unwrap().rotation(&at_once()).unwrap();
    let (mut good, mut failed) = (0, Vec::new());
    rotation
        .rotate_key_store(|id, result| {
            match result {
                Ok(r) => good += usize::from(r.outcome == Replaced),
                Err(e) => failed.push((*id, e.kind())),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((good, failed), (2, vec![(bad, ErrorKind::KeyStore)]));
    let bare = scene.keyring(&["a"]).rotation(&at_once()).unwrap();
    let error = bare.rotate_key_store(|_, _| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Policy);
}

#[test]
fn names_in_a_tree_are_withheld_where_they_matter() {
    let scene = Scene::new();
    let root = scene.dir.path().join("secret-tree");
    let store = Arc::new(DirectoryKeyStore::open_or_create(root.join("store")).unwrap());
    let keyring = |is_discreet: bool| {
        let builder = scene
            .builder()
            .wrap_with(key("a"))
            .key_store(Arc::clone(&store) as _);
        let builder = if is_discreet {
            builder.high_business_impact()
        } else {
            builder
        };
        builder.build().unwrap()
    };
    keyring(false).encrypt_compact(TEXT, &none()).unwrap();
    let first = scene.newest("a");
    scene.rotate_key("a");
    *scene.keys.broken.lock().unwrap() = Some(first);
    for is_discreet in [false, true] {
        let mut failures = Vec::new();
        keyring(is_discreet)
            .rotation(&at_once())
            .unwrap()
            .rotate_paths([&root], |_, result| {
                failures.extend(result.err().map(|e| format!("{e} {e:?}")));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(failures.len(), 1);
        assert_eq!(
            failures[0].contains("secret-tree"),
            !is_discreet,
            "{failures:?}"
        );
    }
}
