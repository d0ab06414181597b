//! What a census counts, and what it dares to say.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Census, SafeToDisable, VersionUse};
use crate::seams::Clock;
use crate::{
    DirectoryKeyStore, EncryptionContext, ErrorKind, FileOptions, KeyId, KeyRef, KeyType, Keyring,
    LocalKeyProvider, NewestKey, Rotate, header_len,
};

const NOW: u64 = 1_750_000_000;

struct Scene {
    dir: tempfile::TempDir,
    keys: Arc<LocalKeyProvider>,
    clock: Clock,
    seconds: Arc<AtomicU64>,
    first: KeyId,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
        let first = keys.create_key("a", KeyType::Oct256).unwrap();
        keys.create_key("b", KeyType::Oct256).unwrap();
        let (clock, seconds) = Clock::manual(NOW);
        fs::create_dir(dir.path().join("data")).unwrap();
        Self {
            dir,
            keys: Arc::new(keys),
            clock,
            seconds,
            first,
        }
    }

    fn keyring(&self, names: &[&str]) -> Keyring {
        let store = DirectoryKeyStore::open_or_create(self.data().join("store")).unwrap();
        let builder = Keyring::builder()
            .provider(Arc::clone(&self.keys) as _)
            .key_store(Arc::new(store))
            .clock(self.clock.clone());
        names
            .iter()
            .fold(builder, |b, name| b.wrap_with(KeyRef::local(name).unwrap()))
            .build()
            .unwrap()
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn seal(&self, names: &[&str]) -> Vec<u8> {
        self.keyring(names)
            .encrypt(b"text", &EncryptionContext::empty())
            .unwrap()
    }

    fn census(&self) -> Census {
        self.keyring(&["a"]).census()
    }

    fn of(&self, path: &Path) -> Census {
        let mut census = self.census();
        census.add_path(path);
        census
    }
}

fn numbers(version: Option<&VersionUse>) -> (u64, u64, u64) {
    version.map_or((0, 0, 0), |v| (v.headers, v.only_key, v.old_kept))
}

#[test]
fn envelopes_by_version() {
    let scene = Scene::new();
    let mut census = scene.census();
    census.add_envelope(&scene.seal(&["a"]));
    scene.seconds.fetch_add(100, Ordering::SeqCst);
    census.add_envelope(&scene.seal(&["a", "b"]));
    let old = scene.seal(&["a"]);
    let second = scene.keys.rotate("a").unwrap();
    let rotation = scene.keyring(&["a"]).rotation(&Rotate::default()).unwrap();
    let both = rotation.rotate(&old).unwrap().envelope.unwrap();
    census.add_envelope(&both[..header_len(&both).unwrap()]);
    census.add_envelope(b"a letter");
    census.add_envelope(b"");
    census.add_envelope(&old[..50]);

    let first = census.version(&scene.first);
    assert_eq!(numbers(first), (3, 1, 1));
    let first = first.unwrap();
    assert_eq!((first.oldest_wrap, first.newest_wrap), (NOW, NOW + 100));
    assert_eq!(numbers(census.version(&second)), (1, 0, 0));
    assert_eq!(census.versions().len(), 3, "the other key's too");
    assert_eq!((census.headers(), census.skipped()), (3, 2));
    assert_eq!(census.unreadable_count(), 1);
    assert_eq!(census.begun(), NOW);
}

#[test]
fn a_tree_with_a_key_store_and_what_cannot_be_read() {
    let scene = Scene::new();
    let data = scene.data();
    let envelope = scene.seal(&["a"]);
    fs::write(data.join("one"), &envelope).unwrap();
    fs::write(data.join(".two.0123456789abcdef.cmk-tmp"), &envelope).unwrap();
    fs::write(data.join("letter"), "no envelope").unwrap();
    fs::write(data.join("cut"), &envelope[..40]).unwrap();
    let compact = scene.keyring(&["a"]);
    let compact = compact.encrypt_compact(b"text", &EncryptionContext::empty());
    fs::write(data.join("compact"), compact.unwrap()).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(".", data.join("loop")).unwrap();

    let census = scene.of(&data);
    assert_eq!(numbers(census.version(&scene.first)), (3, 3, 0));
    assert_eq!(
        (census.rows(), census.compact(), census.headers()),
        (1, 1, 4)
    );
    assert_eq!((census.skipped(), census.unreadable_count()), (1, 1));
    assert!(census.unreadable()[0].name.ends_with("cut"));
    #[cfg(unix)]
    assert_eq!(census.links(), 1);
    assert!(census.version(&scene.first).unwrap().example.is_some());

    // The store by itself, and as the keyring's.
    let store = DirectoryKeyStore::open_or_create(data.join("store")).unwrap();
    let mut census = scene.census();
    census.add_key_store(&store);
    census.add_key_store_of(&scene.keyring(&["a"])).unwrap();
    assert_eq!((census.rows(), census.headers()), (2, 2));

    let census = scene.of(&data.join("none"));
    assert_eq!((census.headers(), census.unreadable_count()), (0, 1));
    let mut census = scene.census();
    for n in 0..50 {
        census.add_unreadable(format!("row {n}"), "the table is gone");
    }
    assert_eq!(
        (census.unreadable_count(), census.unreadable().len()),
        (50, 20)
    );
}

#[test]
fn with_high_business_impact_no_names() {
    let scene = Scene::new();
    let data = scene.data();
    fs::write(data.join("secret"), scene.seal(&["a"])).unwrap();
    fs::write(data.join("secret-cut"), &scene.seal(&["a"])[..20]).unwrap();
    let keyring = Keyring::builder().high_business_impact().build().unwrap();
    let mut census = keyring.census();
    census.add_path(&data);
    assert_eq!(numbers(census.version(&scene.first)), (1, 1, 0));
    assert_eq!(census.unreadable().len(), 1);
    assert!(!format!("{census:?}").contains("secret"));
}

#[test]
fn an_interrupted_file_counts_with_both_headers() {
    let scene = Scene::new();
    let data = scene.data();
    let (plain, path) = (scene.dir.path().join("plain"), data.join("sealed"));
    fs::write(&plain, "text").unwrap();
    let keyring = scene.keyring(&["a"]);
    keyring
        .encrypt_file(
            &plain,
            &path,
            &EncryptionContext::empty(),
            &FileOptions::default(),
        )
        .unwrap();
    let old = fs::read(&path).unwrap();
    let second = scene.keys.rotate("a").unwrap();
    let at_once = Rotate::default().keep_old(Duration::ZERO);
    let rotation = keyring.rotation(&at_once).unwrap();
    rotation.rotate_file(&path).unwrap();
    let new = fs::read(&path).unwrap();
    let len = header_len(&old).unwrap();
    let sidecar = data.join("sealed.cmk-rewrap");
    fs::write(&sidecar, [&new[..len], &old[..len]].concat()).unwrap();
    for cut in [0, 60, len - 10, len] {
        fs::write(&path, [&new[..cut], &old[cut..]].concat()).unwrap();
        let census = scene.of(&data);
        assert_eq!(numbers(census.version(&scene.first)), (1, 1, 0), "{cut}");
        assert_eq!(numbers(census.version(&second)), (1, 1, 0), "{cut}");
        assert_eq!(
            (census.headers(), census.unreadable_count()),
            (2, 0),
            "{cut}"
        );
    }
    // A sidecar that lost its file may be all that is left.
    fs::remove_file(&path).unwrap();
    assert_eq!(scene.of(&data).headers(), 2);
}

/// A census of one envelope under the second of three versions, begun `after` seconds after the third was made.
fn table(after: u64, change: impl FnOnce(&Scene, &mut Census)) -> Vec<String> {
    let scene = Scene::new();
    let second = scene.keys.rotate("a").unwrap();
    let envelope = scene.seal(&["a"]);
    let third = scene.keys.rotate("a").unwrap();
    let rotation = scene.keyring(&["a"]).rotation(&Rotate::default()).unwrap();
    scene.seconds.store(after, Ordering::SeqCst);
    let mut census = scene.census();
    let done = rotation.rotate(&envelope).unwrap().envelope.unwrap();
    scene.seconds.store(after + 24 * 3600, Ordering::SeqCst);
    census.add_envelope(&rotation.rotate(&done).unwrap().envelope.unwrap());
    change(&scene, &mut census);
    let newest = NewestKey {
        key: third.clone(),
        created: Some(NOW),
    };
    let conditions = SafeToDisable::new(newest);
    let newest_itself = census.safe_to_disable(&third, &conditions);
    assert!(!newest_itself.is_yes());
    let verdict = census.safe_to_disable(&second, &conditions);
    assert_eq!(verdict.is_yes(), verdict.reasons().is_empty());
    verdict.reasons().to_vec()
}

#[test]
fn what_is_safe_to_disable() {
    let later = 2 * 3600 + 1;
    assert_eq!(table(later, |_, _| {}), Vec::<String>::new());
    // Each of these alone is enough to say no.
    let says = |reasons: &[String], word: &str| {
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].contains(word), "{reasons:?}");
    };
    says(&table(later - 1, |_, _| {}), "begin another one in 1 s");
    says(&table(0, |_, _| {}), "begin another one in 121 min");
    let second = |s: &Scene| {
        let versions = s.keys.list().unwrap();
        let is_it = |k: &&crate::KeyInfo| k.id.name() == "a" && k.id != s.first && !k.newest;
        versions.iter().find(is_it).unwrap().id.clone()
    };
    let by_second = |s: &Scene, names: &[&str]| {
        let id = KeyRef::from(second(s));
        let keyring = names.iter().fold(
            Keyring::builder()
                .provider(Arc::clone(&s.keys) as _)
                .wrap_with(id),
            |b, name| b.wrap_with(KeyRef::local(name).unwrap()),
        );
        let keyring = keyring.clock(s.clock.clone()).build().unwrap();
        keyring
            .encrypt(b"text", &EncryptionContext::empty())
            .unwrap()
    };
    says(
        &table(later, |s, c| c.add_envelope(&by_second(s, &[]))),
        "1 header is wrapped by it, and 1 has nothing else",
    );
    says(
        &table(later, |s, c| c.add_envelope(&by_second(s, &["b"]))),
        "1 header is wrapped by it, and 0 have nothing else",
    );
    says(
        &table(later, |s, c| c.add_envelope(&by_second(s, &["a"]))),
        "keep an old wrap",
    );
    says(
        &table(later, |_, c| c.add_unreadable("row 7", "the table is gone")),
        "row 7",
    );
    says(
        &table(later, |s, c| {
            fs::write(s.data().join("x"), "x").unwrap();
            let stopped = c.add_path_with(s.data(), |_| ControlFlow::Break(()));
            assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
        }),
        "incomplete",
    );
    says(
        &table(later, |s, c| {
            let compact = s.keyring(&["b"]);
            let compact = compact.encrypt_compact(b"text", &EncryptionContext::empty());
            c.add_envelope(&compact.unwrap());
        }),
        "key store",
    );
}

#[test]
fn what_is_not_known_is_no_yes() {
    let scene = Scene::new();
    let newest = |created| NewestKey {
        key: scene.keys.rotate("a").unwrap(),
        created,
    };
    let mut census = scene.census();
    census.add_envelope(&scene.seal(&["b"]));
    let ask = |census: &Census, conditions: &SafeToDisable| {
        census.safe_to_disable(&scene.first, conditions)
    };
    assert!(!ask(&census, &SafeToDisable::new(newest(None))).is_yes());
    let long_ago = SafeToDisable::new(newest(Some(NOW - 7201)));
    assert!(ask(&census, &long_ago).is_yes());
    let slow = long_ago.clone().dek_age(Duration::from_secs(24 * 3600));
    assert!(!ask(&census, &slow).is_yes());
    let forever = long_ago.clone().poll_interval(Duration::MAX);
    assert!(!ask(&census, &forever).is_yes());
    let other = KeyId::parse(&format!("local:b/{:032x}", 7)).unwrap();
    assert!(!census.safe_to_disable(&other, &long_ago).is_yes());
    let empty = ask(&scene.census(), &long_ago);
    assert!(empty.reasons()[0].contains("no envelope at all"));
}

#[test]
fn a_key_store_that_fails_names_no_files_where_they_are_withheld() {
    let scene = Scene::new();
    let dir = scene.dir.path().join("secret-store");
    let store = DirectoryKeyStore::open_or_create(&dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "not a directory").unwrap();
    let keyring = |is_discreet: bool| {
        let builder = Keyring::builder().provider(Arc::clone(&scene.keys) as _);
        let builder = if is_discreet {
            builder.high_business_impact()
        } else {
            builder
        };
        builder.build().unwrap()
    };
    for is_discreet in [false, true] {
        let mut census = keyring(is_discreet).census();
        census.add_key_store(&store);
        let problem = &census.unreadable()[0].problem;
        assert_eq!(problem.contains("secret-store"), !is_discreet, "{problem}");
    }
}
