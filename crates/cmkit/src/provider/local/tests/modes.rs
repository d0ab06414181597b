//! Keys that others could read are not used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn everything_is_made_private() {
    let home = tempfile::tempdir().unwrap();
    let provider = LocalKeyProvider::open_or_create(home.path().join("a/b/cmkit")).unwrap();
    let id = provider.create_key("k", KeyType::Oct256).unwrap();
    provider.disable(&id).unwrap();
    let other = provider.rotate("k").unwrap();
    provider.destroy(&other).unwrap();
    for dir in [
        "a",
        "a/b",
        "a/b/cmkit",
        "a/b/cmkit/keys",
        "a/b/cmkit/keys/k",
    ] {
        assert_eq!(mode(&home.path().join(dir)), 0o700, "{dir}");
    }
    let files: Vec<_> = fs::read_dir(provider.dir().join("keys/k"))
        .unwrap()
        .collect();
    assert_eq!(files.len(), 4, "a key, two markers and the lock: {files:?}");
    for file in files {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
}

#[test]
fn open_modes_are_refused_with_the_command_that_helps() {
    let (f, id) = Fixture::with_key("k");
    let wrapped = wrap(&f.provider, &id).unwrap();
    let home = f.provider.dir().to_owned();
    let places = [
        home.clone(),
        home.join("keys"),
        home.join("keys/k"),
        f.path(&id, "jwk"),
    ];
    for (i, path) in places.iter().enumerate() {
        let right = if i == 3 { 0o600 } else { 0o700 };
        for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
            chmod(path, right | bit);
            let path = path.to_str().unwrap();
            let mut errors = vec![
                wrap(&f.provider, &id).unwrap_err(),
                wrap(&f.provider, &name("k")).unwrap_err(),
                unwrap(&f.provider, &wrapped).err().unwrap(),
                provider_error(f.provider.list()),
                provider_error(f.provider.rotate("k")),
                provider_error(f.provider.export(&id)),
            ];
            if i < 2 {
                errors.push(provider_error(LocalKeyProvider::open(&home)));
                errors.push(provider_error(LocalKeyProvider::open_or_create(&home)));
                errors.push(provider_error(
                    f.provider.create_key("new", KeyType::Oct256),
                ));
            }
            for error in errors {
                let text = error.to_string();
                assert_eq!(error.kind, ProviderErrorKind::Denied, "{text}");
                assert!(
                    text.contains(&format!("mode {:04o}", right | bit)),
                    "{text}"
                );
                assert!(
                    text.contains(&format!("`chmod {right:o} {path}`")),
                    "{text}"
                );
            }
            let fresh = LocalKeyProvider::at(&home).unwrap();
            assert_eq!(fresh.state(&id), KeyState::Revoked);
        }
        chmod(path, right);
        assert_opens(&f.provider, &wrapped);
    }
    // Less than the usual is fine, and so is the bit that makes children inherit a group.
    chmod(&f.path(&id, "jwk"), 0o400);
    chmod(&home, 0o2700);
    assert_opens(&f.provider, &wrapped);
}

#[test]
fn files_of_other_users_are_refused() {
    let (f, id) = Fixture::with_key("k");
    let path = f.path(&id, "jwk");
    // Only root can give files away.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
        return;
    }
    let error = wrap(&f.provider, &id).unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Denied);
    assert!(
        error.to_string().contains("belongs to user 12345"),
        "{error}"
    );
    assert_eq!(f.again().state(&id), KeyState::Revoked);
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    wrap(&f.provider, &id).unwrap();
}

#[test]
fn the_home_directory_may_be_linked_to_and_a_file_is_none() {
    let (f, id) = Fixture::with_key("k");
    let link = f.provider.dir().with_file_name("link");
    std::os::unix::fs::symlink(f.provider.dir(), &link).unwrap();
    wrap(&LocalKeyProvider::open(&link).unwrap(), &id).unwrap();

    let file = f.provider.dir().with_file_name("file");
    fs::write(&file, "").unwrap();
    for result in [
        LocalKeyProvider::open(&file),
        LocalKeyProvider::open_or_create(&file),
    ] {
        assert_eq!(provider_error(result).kind, ProviderErrorKind::Unusable);
    }
    let error = LocalKeyProvider::open_or_create(file.join("below"))
        .map(drop)
        .unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Internal);
}
