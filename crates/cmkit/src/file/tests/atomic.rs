//! The atomic file by itself.

use super::*;

#[test]
fn it_appears_whole_or_not_at_all() {
    let room = Room::new();
    let path = room.path("out");
    let mut file = AtomicFile::create(&path, Overwrite::Refuse).unwrap();
    file.write_all(b"half").unwrap();
    assert_eq!(file.destination(), path);
    let names = room.names();
    assert_eq!(names.len(), 1);
    assert!(
        names[0].starts_with(".out.") && names[0].ends_with(".cmk-tmp"),
        "{names:?}"
    );
    drop(file);
    assert!(room.names().is_empty());

    let mut file = AtomicFile::create(&path, Overwrite::Refuse).unwrap();
    file.write_all(b"all of it").unwrap();
    file.commit(None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"all of it");
    assert_eq!(room.names(), ["out"]);
}

#[test]
fn whoever_comes_first_keeps_the_name() {
    let room = Room::new();
    let path = room.path("out");
    let mut file = AtomicFile::create(&path, Overwrite::Refuse).unwrap();
    file.write_all(b"late").unwrap();
    fs::write(&path, "early").unwrap();
    assert!(matches!(
        file.commit(None),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"early");
    assert_eq!(room.names(), ["out"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_replaced_and_not_followed() {
    let room = Room::new();
    let target = room.write("target", b"stays");
    std::os::unix::fs::symlink(&target, room.path("link")).unwrap();
    std::os::unix::fs::symlink(room.path("gone"), room.path("dangling")).unwrap();
    for link in ["link", "dangling"] {
        let refused = AtomicFile::create(&room.path(link), Overwrite::Refuse);
        assert!(matches!(refused, Err(Error::AlreadyExists { .. })));
        let file = AtomicFile::create(&room.path(link), Overwrite::Replace).unwrap();
        file.commit(None).unwrap();
        assert!(fs::symlink_metadata(room.path(link)).unwrap().is_file());
    }
    assert_eq!(fs::read(&target).unwrap(), b"stays");
}

#[test]
fn long_names_fit() {
    let room = Room::new();
    let path = room.path(&"n".repeat(255));
    AtomicFile::create(&path, Overwrite::Refuse)
        .unwrap()
        .commit(None)
        .unwrap();
    assert_eq!(room.names(), ["n".repeat(255)]);
}

#[test]
fn a_name_alone_is_in_the_current_directory() {
    // Nothing is committed: the current directory is not the test's.
    let name = format!("cmkit-test-{}", std::process::id());
    let file = AtomicFile::create(Path::new(&name), Overwrite::Refuse).unwrap();
    drop(file);
    assert!(AtomicFile::create(Path::new(""), Overwrite::Refuse).is_err());
    assert!(AtomicFile::create(Path::new("/"), Overwrite::Refuse).is_err());
}
