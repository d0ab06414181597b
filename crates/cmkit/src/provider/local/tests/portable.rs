//! The directory by paths does what the one by descriptors does, as far as it goes.

use super::super::dir as native;

mod problem {
    pub(super) use super::super::super::problem::*;
}
use super::{MAX_FILE_LEN, TEMP_PREFIX, random_hex};

#[path = "../dir_portable.rs"]
#[allow(dead_code)]
mod by_path;

macro_rules! same_behaviour {
    ($name:ident, $room:ident) => {
        #[test]
        fn $name() {
            use $room::{Dir, Presence};

            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("a/b");
            assert!(Dir::open(&path).unwrap().is_none());
            let dir = Dir::create_all(&path).unwrap();
            assert!(dir.child("c").unwrap().is_none());
            dir.create_child("c").unwrap();
            let dir = dir.create_child("c").unwrap();
            let lock = dir.lock().unwrap();

            assert_eq!(dir.presence("x.jwk").unwrap(), Presence::Absent);
            assert!(dir.read("x.jwk").unwrap().is_none());
            assert!(dir.publish("x.jwk", b"one").unwrap());
            assert!(!dir.publish("x.jwk", b"two").unwrap());
            assert_eq!(dir.presence("x.jwk").unwrap(), Presence::Private);
            assert_eq!(**dir.read("x.jwk").unwrap().unwrap(), *b"one");
            assert!(dir.publish("y.jwk", &[b' '; MAX_FILE_LEN]).unwrap());
            assert!(dir.publish("z.jwk", &[b' '; MAX_FILE_LEN + 1]).unwrap());
            assert_eq!(dir.read("y.jwk").unwrap().unwrap().len(), MAX_FILE_LEN);
            assert!(dir.read("z.jwk").is_err());
            assert!(!dir.rename_new("y.jwk", "x.jwk").unwrap());
            assert!(dir.rename_new("y.jwk", "w.jwk").unwrap());
            assert!(dir.rename_new("absent", "v.jwk").is_err());
            dir.create_child("d").unwrap();
            assert_eq!(dir.presence("d").unwrap(), Presence::Exposed);
            assert!(dir.read("d").is_err());
            assert!(dir.child("x.jwk").is_err());

            let mut names = dir.names().unwrap();
            names.sort();
            assert_eq!(names, [".lock", "d", "w.jwk", "x.jwk", "z.jwk"]);
            assert!(dir.remove("z.jwk").unwrap());
            assert!(!dir.remove("z.jwk").unwrap());
            dir.sync_content("x.jwk").unwrap();
            dir.sync().unwrap();
            dir.sync_ancestors().unwrap();
            drop(lock);

            for name in ["", ".", "..", "../a", "/", "a/b", "a\0", "ä"] {
                assert!(
                    dir.child(name).is_err() && dir.create_child(name).is_err(),
                    "{name:?}"
                );
                assert!(
                    dir.read(name).is_err() && dir.publish(name, b"").is_err(),
                    "{name:?}"
                );
                assert!(
                    dir.remove(name).is_err() && dir.presence(name).is_err(),
                    "{name:?}"
                );
            }
        }
    };
}

same_behaviour!(by_descriptors, native);
same_behaviour!(by_paths, by_path);
