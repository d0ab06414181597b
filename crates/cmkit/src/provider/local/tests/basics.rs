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
