//! A rewrap that is killed, again and again, loses nothing.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::env;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cmkit_tests::{Place, VICTIM, none, sidecar, start_victim, text, to};

const KILLS: usize = 80;

/// Not a test of its own: what the killed process does.
#[test]
fn victim() {
    let Some(dir) = env::var_os(VICTIM) else {
        return;
    };
    let place = Place::at(Path::new(&dir));
    let sealed = place.path("sealed");
    let keyring = place.keyring(&["a", "b"]);
    // The first one takes longer: the generator collects its seed.
    keyring.rewrap_file(&sealed, &to("b")).unwrap();
    fs::write(place.path("started"), "").unwrap();
    loop {
        for name in ["b", "a"] {
            keyring.rewrap_file(&sealed, &to(name)).unwrap();
        }
    }
}

/// Up to that many microseconds, others each time.
fn up_to(micros: u64) -> Duration {
    Duration::from_micros(RandomState::new().hash_one(0) % micros)
}

#[test]
fn a_killed_rewrap_loses_nothing() {
    let place = Place::new();
    let plaintext = text(50_000);
    let sealed = place.seal("sealed", &plaintext);
    let mode = fs::metadata(&sealed).unwrap().permissions();
    let len = fs::metadata(&sealed).unwrap().len();
    let mut interrupted = 0;
    for round in 0..20 * KILLS {
        // A slow disk takes more kills until some come between.
        if round >= KILLS && interrupted > 0 {
            break;
        }
        let mut victim = start_victim(&place);
        sleep(up_to(15_000));
        victim.kill().unwrap();
        let status = victim.wait().unwrap();
        assert!(
            status.code().is_none(),
            "it was killed, and didn't fail: {status}"
        );

        // Before anybody repairs anything: with both keys it opens, and so it does with one of the two.
        assert_eq!(place.open(&sealed, &["a", "b"]).unwrap(), plaintext);
        let opens = ["a", "b"].map(|name| place.open(&sealed, &[name]).is_ok());
        assert!(opens.contains(&true), "round {round}");
        interrupted += usize::from(sidecar(&sealed).exists());
        assert_eq!(fs::metadata(&sealed).unwrap().len(), len);
        assert_eq!(fs::metadata(&sealed).unwrap().permissions(), mode);

        // Some of the wrecks are left to the next victim.
        if round % 3 > 0 {
            continue;
        }
        place
            .keyring(&["a", "b"])
            .rewrap_file(&sealed, &to("b"))
            .unwrap();
        assert!(!sidecar(&sealed).exists());
        assert_eq!(place.open(&sealed, &["b"]).unwrap(), plaintext);
        assert!(place.open(&sealed, &["a"]).is_err());
        // The file alone is whole again.
        let envelope = fs::read(&sealed).unwrap();
        let alone = place.keyring(&["b"]).decrypt(&envelope, &none());
        assert_eq!(alone.unwrap(), plaintext);
    }
    // Else the test shows nothing.
    assert!(interrupted > 0, "no kill came between");
    let left: Vec<_> = fs::read_dir(place.path(""))
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    let expected = ["keys", "plain", "sealed", "started"];
    let strays: Vec<_> = left
        .iter()
        .filter(|name| !expected.iter().any(|e| *name == *e))
        .collect();
    // A killed process can't remove the file that it is just making; only the last ones may be there.
    assert!(strays.len() < KILLS, "{strays:?}");
}
