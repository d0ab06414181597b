//! Key files that are not what they should be.

use std::fs;

use super::*;

/// Puts `text` in the place of a key file.
fn replace(f: &Fixture, id: &KeyId, text: impl AsRef<[u8]>) {
    // In place, so that it keeps its mode.
    fs::write(f.path(id, "jwk"), text).unwrap();
}

#[track_caller]
fn assert_damaged(f: &Fixture, id: &KeyId, says: &str) {
    let error = wrap(&f.provider, id).unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Unusable, "{error}");
    let text = error.to_string();
    let path = f.path(id, "jwk");
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains(says),
        "{text}"
    );
    // A damaged file might be the newest one.
    assert_eq!(
        wrap(&f.provider, &id.without_version()).unwrap_err().kind,
        error.kind
    );
    assert_eq!(
        provider_error(f.provider.rotate(id.name())).kind,
        error.kind
    );
    let info = info(&f.provider, id);
    assert_eq!((info.state, info.key_type), (VersionState::Damaged, None));
}

#[test]
fn corrupt_key_files_are_refused_and_named() {
    let (f, id) = Fixture::with_key("k");
    let good = fs::read_to_string(f.path(&id, "jwk")).unwrap();
    let k = good
        .split("\"k\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let says = "restore it from a backup";
    for len in 0..good.len() - 2 {
        replace(&f, &id, &good[..len]);
        assert_damaged(&f, &id, says);
    }
    let other_version = good.replace(id.version(), &"0".repeat(32));
    let variants = [
        ("trailing data", format!("{good}{{}}")),
        ("trailing zero", format!("{good}\0")),
        ("another kid", other_version),
        ("another name", good.replace("local:k/", "local:x/")),
        ("unknown kty", good.replace("\"oct\"", "\"EC\"")),
        ("no kty", good.replace("\"kty\"", "\"kt\"")),
        ("another alg", good.replace("A256KW", "A128KW")),
        ("alg of RSA", good.replace("A256KW", "RSA-OAEP-256")),
        ("no alg", good.replace("\"alg\"", "\"al\"")),
        ("no kid", good.replace("\"kid\"", "\"ki\"")),
        ("no k", good.replace("\"k\":", "\"x\":")),
        ("short k", good.replace(&k, &k[..42])),
        ("31 bytes", good.replace(&k, &"A".repeat(42))),
        ("33 bytes", good.replace(&k, &"A".repeat(44))),
        ("empty k", good.replace(&k, "")),
        ("padded k", good.replace(&k, &format!("{k}="))),
        (
            "loose bits in k",
            good.replace(&k, &format!("{}B", &k[..42])),
        ),
        (
            "plain base64",
            good.replace(&k, &format!("{}+/{}", &k[..20], &k[22..])),
        ),
        ("twice k", good.replace("\"k\":", "\"k\": \"\", \"k\":")),
        (
            "seq 0",
            good.replace("\"cmkit_seq\": 1", "\"cmkit_seq\": 0"),
        ),
        (
            "seq too large",
            good.replace("\"cmkit_seq\": 1", "\"cmkit_seq\": 9007199254740992"),
        ),
        (
            "seq negative",
            good.replace("\"cmkit_seq\": 1", "\"cmkit_seq\": -1"),
        ),
        (
            "seq text",
            good.replace("\"cmkit_seq\": 1", "\"cmkit_seq\": \"1\""),
        ),
        ("no seq", good.replace("cmkit_seq", "seq")),
        ("no created", good.replace("cmkit_created", "created")),
        ("a list", format!("[{good}]")),
        ("a set", format!("{{\"keys\": [{good}]}}")),
        ("deep", "[".repeat(60_000)),
        ("nothing", String::new()),
    ];
    for (what, text) in variants {
        assert_ne!(text, good, "{what}");
        replace(&f, &id, text);
        assert_damaged(&f, &id, says);
    }
    replace(&f, &id, [0xFF; 100]);
    assert_damaged(&f, &id, says);
    replace(&f, &id, vec![b' '; MAX_FILE_LEN + 1]);
    assert_damaged(&f, &id, "longer than 65536 bytes");
    replace(
        &f,
        &id,
        format!("{good}{}", " ".repeat(MAX_FILE_LEN - good.len())),
    );
    wrap(&f.provider, &id).unwrap();
}

#[test]
fn messages_about_corrupt_files_show_nothing_of_them() {
    let (f, id) = Fixture::with_key("k");
    let good = fs::read_to_string(f.path(&id, "jwk")).unwrap();
    let k = good
        .split("\"k\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    // The secret in places where a parser would quote it.
    for text in [
        good.replace("\"cmkit_seq\": 1", &format!("\"cmkit_seq\": \"{k}\"")),
        good.replace("\"oct\"", &format!("\"{k}\"")),
        good.replace("A256KW", &k),
        good.replace(id.version(), &k),
        format!("\"{k}\""),
        good.replace("\"k\"", &format!("\"k\": \"x\", \"{k}\"")),
    ] {
        replace(&f, &id, &text);
        let error = wrap(&f.provider, &id).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&k), "{error}");
        let error = f.provider.import(&name("other"), text.as_bytes());
        assert!(!format!("{error:?}").contains(&k), "{error:?}");
    }
}

#[test]
fn members_that_are_not_ours_are_ignored() {
    let (f, id) = Fixture::with_key("k");
    let wrapped = wrap(&f.provider, &id).unwrap();
    let good = fs::read_to_string(f.path(&id, "jwk")).unwrap();
    let escaped = good.replace("local:k/", "local:k\\/");
    replace(
        &f,
        &id,
        escaped.replacen('{', "{\"use\": \"enc\", \"x\": {\"y\": [1, \"\\n\"]},", 1),
    );
    assert_opens(&f.provider, &wrapped);
}

#[test]
fn a_damaged_older_version_only_stops_what_depends_on_it() {
    let (f, old) = Fixture::with_key("k");
    let newest = f.provider.rotate("k").unwrap();
    replace(&f, &old, "");
    assert_eq!(
        wrap(&f.provider, &name("k")).unwrap_err().kind,
        ProviderErrorKind::Unusable
    );
    assert_opens(&f.provider, &wrap(&f.provider, &newest).unwrap());
    assert!(!f.provider.list().unwrap().iter().any(|i| i.newest));
    f.provider.destroy(&old).unwrap();
    assert_eq!(wrap(&f.provider, &name("k")).unwrap().key, newest);
    // Its tombstone is empty, since nothing could be known of it.
    let info = info(&f.provider, &old);
    assert_eq!((info.state, info.key_type), (VersionState::Destroyed, None));
}

#[test]
fn an_interrupted_destruction_is_seen_and_can_go_either_way() {
    let (f, id) = Fixture::with_key("k");
    let wrapped = wrap(&f.provider, &id).unwrap();
    let key = fs::read(f.path(&id, "jwk")).unwrap();
    f.provider.destroy(&id).unwrap();
    write_private(&f.path(&id, "jwk"), &key);
    assert_eq!(
        info(&f.provider, &id).state,
        VersionState::DestroyInterrupted
    );
    assert_eq!(f.again().state(&id), KeyState::Revoked);
    let error = unwrap(&f.provider, &wrapped).err().unwrap();
    assert_eq!(error.kind, ProviderErrorKind::Disabled);
    assert!(error.to_string().contains("--yes-destroy"), "{error}");

    let tombstone = fs::read(f.path(&id, "destroyed")).unwrap();
    fs::remove_file(f.path(&id, "destroyed")).unwrap();
    assert_opens(&f.provider, &wrapped);

    write_private(&f.path(&id, "destroyed"), &tombstone);
    f.provider.destroy(&id).unwrap();
    assert_eq!(info(&f.provider, &id).state, VersionState::Destroyed);
    assert!(!f.path(&id, "jwk").exists());
}

#[test]
fn leftovers_and_strangers_are_ignored_and_leftovers_removed() {
    let (f, id) = Fixture::with_key("k");
    let dir = f.provider.dir().join("keys/k");
    let leftover = dir.join(".new-0123");
    for stranger in ["README", "x.jwk", ".new-dir/x", "backup.jwk.old"] {
        let path = dir.join(stranger);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{").unwrap();
    }
    fs::write(&leftover, "{\"kty\":").unwrap();
    fs::write(f.provider.dir().join("keys/README.txt"), "").unwrap();
    assert_eq!(f.provider.list().unwrap().len(), 1);
    assert_eq!(wrap(&f.provider, &name("k")).unwrap().key, id);
    assert!(leftover.exists());
    f.provider.rotate("k").unwrap();
    assert!(!leftover.exists());
    assert!(dir.join("README").exists());
}

#[cfg(unix)]
#[test]
fn links_and_special_files_are_no_key_files() {
    let (f, id) = Fixture::with_key("k");
    let path = f.path(&id, "jwk");
    let aside = f.provider.dir().join("aside");
    fs::rename(&path, &aside).unwrap();

    std::os::unix::fs::symlink(&aside, &path).unwrap();
    assert_damaged(&f, &id, "symbolic link");
    assert_eq!(f.again().state(&id), KeyState::Revoked);
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    assert_damaged(&f, &id, "not a regular file");
    fs::remove_dir(&path).unwrap();

    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_damaged(&f, &id, "not a regular file");
    fs::remove_file(&path).unwrap();

    fs::rename(&aside, &path).unwrap();
    wrap(&f.provider, &id).unwrap();

    // Nor is a linked directory the key's.
    let keys = f.provider.dir().join("keys");
    fs::rename(keys.join("k"), keys.join("real")).unwrap();
    std::os::unix::fs::symlink(keys.join("real"), keys.join("k")).unwrap();
    let error = wrap(&f.provider, &id).unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Unusable);
    assert!(error.to_string().contains("is not a directory"), "{error}");
    // A file under another name than its kid's is no key either: the directory was renamed.
    let moved = name("real").with_version(id.version()).unwrap();
    assert_eq!(
        wrap(&f.provider, &moved).unwrap_err().kind,
        ProviderErrorKind::Unusable
    );
}

/// Writes a file as the provider would have: private.
fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}
