use super::*;

#[test]
fn every_type_wraps_and_unwraps_and_rotates() {
    let f = Fixture::new();
    for (key, key_type) in [
        ("a", KeyType::Oct256),
        ("b", KeyType::Rsa3072),
        ("c", KeyType::Rsa4096),
    ] {
        let first = f.provider.create_key(key, key_type).unwrap();
        let old = wrap(&f.provider, &name(key)).unwrap();
        assert_eq!((&old.key, old.algorithm), (&first, key_type.algorithm()));
        let second = f.provider.rotate(key).unwrap();
        let new = wrap(&f.again(), &name(key)).unwrap();
        assert_eq!(new.key, second);
        assert_opens(&f.again(), &old);
        assert_opens(&f.again(), &new);
        // A version other than the newest wraps when it is asked for.
        assert_eq!(wrap(&f.provider, &first).unwrap().key, first);
    }
}

#[test]
fn a_disabled_version_neither_wraps_nor_unwraps() {
    let f = Fixture::new();
    let id = f.provider.create_key("k", KeyType::Oct256).unwrap();
    let wrapped = wrap(&f.provider, &name("k")).unwrap();
    assert_eq!(f.provider.state(&id), KeyState::Active);
    f.provider.disable(&id).unwrap();
    f.provider.disable(&id).unwrap();
    assert_eq!(f.provider.state(&id), KeyState::Revoked);
    for error in [
        unwrap(&f.provider, &wrapped).err().unwrap(),
        wrap(&f.provider, &id).unwrap_err(),
        wrap(&f.provider, &name("k")).unwrap_err(),
    ] {
        assert_eq!(error.kind, ProviderErrorKind::Disabled);
        assert!(
            error
                .to_string()
                .contains(&format!("`cmkit key enable {id}`")),
            "{error}"
        );
    }
    f.provider.enable(&id).unwrap();
    f.provider.enable(&id).unwrap();
    assert_eq!(f.provider.state(&id), KeyState::Active);
    assert_opens(&f.provider, &wrapped);
}

#[test]
fn wrapping_never_falls_back_to_an_older_version() {
    let f = Fixture::new();
    let old = f.provider.create_key("k", KeyType::Oct256).unwrap();
    let newest = f.provider.rotate("k").unwrap();
    f.provider.disable(&newest).unwrap();
    let error = wrap(&f.provider, &name("k")).unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Disabled);
    assert!(
        error.to_string().contains("`cmkit key rotate k`"),
        "{error}"
    );
    assert_eq!(wrap(&f.provider, &old).unwrap().key, old);
    f.provider.destroy(&newest).unwrap();
    let error = wrap(&f.provider, &name("k")).unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Disabled);
    assert!(error.to_string().contains("was destroyed"), "{error}");
    let third = f.provider.rotate("k").unwrap();
    assert_eq!(wrap(&f.provider, &name("k")).unwrap().key, third);
}

#[test]
fn destroyed_is_for_ever_and_said_so() {
    let (f, id) = Fixture::with_key("k");
    let wrapped = wrap(&f.provider, &id).unwrap();
    f.provider.destroy(&id).unwrap();
    f.provider.destroy(&id).unwrap();
    assert!(!f.path(&id, "jwk").exists());
    assert_eq!(f.provider.state(&id), KeyState::Revoked);
    assert_eq!(f.again().state(&id), KeyState::Revoked);
    for error in [
        unwrap(&f.provider, &wrapped).err().unwrap(),
        wrap(&f.provider, &id).unwrap_err(),
        provider_error(f.provider.enable(&id)),
        provider_error(f.provider.disable(&id)),
        provider_error(f.provider.export(&id)),
    ] {
        assert_eq!(error.kind, ProviderErrorKind::NotFound);
        assert!(error.to_string().contains("was destroyed"), "{error}");
    }
    // What is known of it stays known, and its place in the order too.
    let info = info(&f.provider, &id);
    assert_eq!(
        (info.state, info.key_type),
        (VersionState::Destroyed, Some(KeyType::Oct256))
    );
    assert!(info.newest && info.created.is_some());
    let error = f.provider.create_key("k", KeyType::Oct256).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let next = f.provider.rotate("k").unwrap();
    let ids: Vec<KeyId> = f
        .provider
        .list()
        .unwrap()
        .into_iter()
        .map(|i| i.id)
        .collect();
    assert_eq!(ids, [id, next]);
}

#[test]
fn rotation_keeps_the_order_and_the_type() {
    let f = Fixture::new();
    let mut made = vec![f.provider.create_key("k", KeyType::Oct256).unwrap()];
    for _ in 0..20 {
        made.push(f.provider.rotate("k").unwrap());
    }
    let infos = f.again().show(&name("k")).unwrap();
    assert_eq!(infos.iter().map(|i| i.id.clone()).collect::<Vec<_>>(), made);
    assert_eq!(infos.iter().filter(|i| i.newest).count(), 1);
    assert!(infos.last().unwrap().newest);
    assert!(
        infos
            .iter()
            .all(|i| i.state == VersionState::Enabled && !i.public_only)
    );

    f.provider.create_key("r", KeyType::Rsa3072).unwrap();
    let rotated = f.provider.rotate("r").unwrap();
    assert_eq!(info(&f.provider, &rotated).key_type, Some(KeyType::Rsa3072));
}

#[test]
fn creating_what_exists_changes_nothing() {
    let (f, id) = Fixture::with_key("k");
    let error = f.provider.create_key("k", KeyType::Rsa3072).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(
        error.to_string().contains("`cmkit key rotate k`"),
        "{error}"
    );
    assert_eq!(
        f.provider
            .create_key_if_absent("k", KeyType::Oct256)
            .unwrap(),
        None
    );
    assert_eq!(f.provider.list().unwrap().len(), 1);
    assert_eq!(wrap(&f.provider, &name("k")).unwrap().key, id);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (f, id) = Fixture::with_key("k");
    let other = name("k").with_version(&"0".repeat(32)).unwrap();
    for error in [
        wrap(&f.provider, &name("other")).unwrap_err(),
        wrap(&f.provider, &other).unwrap_err(),
        provider_error(f.provider.rotate("other")),
        provider_error(f.provider.disable(&other)),
        provider_error(f.provider.enable(&other)),
        provider_error(f.provider.destroy(&other)),
        provider_error(f.provider.export(&other)),
        provider_error(f.provider.show(&other)),
        provider_error(f.provider.show(&name("other"))),
        provider_error(LocalKeyProvider::open(f.provider.dir().join("other"))),
    ] {
        assert_eq!(error.kind, ProviderErrorKind::NotFound, "{error}");
        assert!(
            error.to_string().contains('`'),
            "it says what to do: {error}"
        );
    }
    assert_eq!(f.provider.state(&other), KeyState::Unknown);
    let mut wrapped = wrap(&f.provider, &id).unwrap();
    wrapped.key = other;
    assert_eq!(
        unwrap(&f.provider, &wrapped).err().unwrap().kind,
        ProviderErrorKind::NotFound
    );
}

#[test]
fn a_provider_at_no_directory_makes_it_with_the_first_key() {
    let home = tempfile::tempdir().unwrap();
    let provider = LocalKeyProvider::at(home.path().join("a/b/c")).unwrap();
    assert_eq!(provider.list().unwrap(), []);
    assert_eq!(
        wrap(&provider, &name("k")).unwrap_err().kind,
        ProviderErrorKind::NotFound
    );
    assert!(!home.path().join("a").exists());
    let id = provider.create_key("k", KeyType::Oct256).unwrap();
    assert_opens(&provider, &wrap(&provider, &id).unwrap());
    assert!(LocalKeyProvider::at("").is_err());
}

#[test]
fn names_never_reach_the_file_system_unless_they_are_names() {
    let f = Fixture::new();
    let long = "a".repeat(128);
    for name in [
        "", ".", "..", "../x", "a/b", "a\\b", "a.b", "a b", "a\0b", "ä", "/etc", &long,
    ] {
        for error in [
            f.provider.create_key(name, KeyType::Oct256).unwrap_err(),
            f.provider.rotate(name).unwrap_err(),
            KeyRef::local(name).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name:?}");
        }
    }
    // Ids of other providers are none of ours.
    let foreign = KeyRef::parse("https://h.example/keys/k").unwrap();
    assert!(f.provider.show(&foreign).is_err());
    assert!(!f.provider.owns(&foreign));
    assert_eq!(
        wrap(&f.provider, &foreign).unwrap_err().kind,
        ProviderErrorKind::Other
    );
    let foreign = foreign.with_version(&"0".repeat(32)).unwrap();
    assert_eq!(f.provider.state(&foreign), KeyState::Unknown);
}

#[test]
fn what_was_not_wrapped_here_is_rejected() {
    let f = Fixture::new();
    for (key, key_type) in [("a", KeyType::Oct256), ("b", KeyType::Rsa3072)] {
        f.provider.create_key(key, key_type).unwrap();
        let good = wrap(&f.provider, &name(key)).unwrap();
        let reject = |wrapped: Vec<u8>| {
            let bad = WrappedKey {
                wrapped,
                ..good.clone()
            };
            let error = unwrap(&f.provider, &bad).err().unwrap();
            assert_eq!(error.kind, ProviderErrorKind::Rejected);
        };
        for i in 0..good.wrapped.len() {
            let mut wrapped = good.wrapped.clone();
            wrapped[i] ^= 1;
            reject(wrapped);
        }
        for len in [0, 1, 8, 24, good.wrapped.len() - 1] {
            reject(good.wrapped[..len].to_vec());
        }
        reject(vec![0; 1024]);
        let algorithm = match good.algorithm {
            WrapAlgorithm::A256Kw => WrapAlgorithm::RsaOaep256,
            WrapAlgorithm::RsaOaep256 => WrapAlgorithm::A256Kw,
        };
        let error = unwrap(
            &f.provider,
            &WrappedKey {
                algorithm,
                ..good.clone()
            },
        )
        .err()
        .unwrap();
        assert_eq!(error.kind, ProviderErrorKind::Unusable);
        assert!(error.to_string().contains(algorithm.name()), "{error}");
    }
    let error = f
        .provider
        .wrap(&WrapRequest::new(&name("a"), &[0; 7]))
        .unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Other);
}

#[test]
fn debug_shows_no_secret() {
    let (f, id) = Fixture::with_key("k");
    let _ = wrap(&f.provider, &id).unwrap();
    let text = std::fs::read_to_string(f.path(&id, "jwk")).unwrap();
    let k = text
        .split("\"k\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert_eq!(k.len(), 43);
    let debug = format!(
        "{:?} {:#?} {:?}",
        f.provider,
        f.provider,
        f.provider.list().unwrap()
    );
    assert!(debug.contains("LocalKeyProvider") && !debug.contains(k));
}

#[test]
fn the_default_directory() {
    use std::collections::HashMap;
    use std::ffi::OsString;

    let choose = |variables: &[(&str, &str)], home: Option<&str>| {
        let variables: HashMap<String, OsString> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), OsString::from(v)))
            .collect();
        home::choose(
            |name| variables.get(name).cloned(),
            || home.map(PathBuf::from),
        )
        .map(|dir| dir.to_str().unwrap().to_owned())
        .ok()
    };
    let home = Some("/home/u");
    let all = [("CMKIT_HOME", "/c"), ("XDG_DATA_HOME", "/x")];
    assert_eq!(choose(&all, home).as_deref(), Some("/c"));
    assert_eq!(
        choose(&[("CMKIT_HOME", "rel")], home).as_deref(),
        Some("rel")
    );
    assert_eq!(
        choose(&[("CMKIT_HOME", ""), all[1]], home).as_deref(),
        Some("/x/cmkit")
    );
    assert_eq!(choose(&all[1..], None).as_deref(), Some("/x/cmkit"));
    for ignored in ["", "relative", "./x"] {
        let dir = choose(&[("XDG_DATA_HOME", ignored)], home);
        assert_eq!(dir.as_deref(), Some("/home/u/.local/share/cmkit"));
    }
    assert_eq!(
        choose(&[], home).as_deref(),
        Some("/home/u/.local/share/cmkit")
    );
    for none in [None, Some(""), Some("rel")] {
        assert_eq!(choose(&[], none), None);
    }
}
