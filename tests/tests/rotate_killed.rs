//! Following rotations, killed again and again, loses nothing and is completed by the same call.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::env;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cmkit::{Rotate, RotateOutcome, inspect};
use cmkit_tests::{Place, VICTIM, sidecar, start_victim, text};

const KILLS: usize = 40;

fn at_once() -> Rotate {
    Rotate::default().keep_old(Duration::ZERO)
}

/// Not a test of its own: what the killed process does.
#[test]
fn victim() {
    let Some(dir) = env::var_os(VICTIM) else {
        return;
    };
    let place = Place::at(Path::new(&dir));
    let (sealed, keys, keyring) = (
        place.path("sealed"),
        place.provider(),
        place.keyring(&["a"]),
    );
    // The first one takes longer: the generator collects its seed.
    keyring
        .rotation(&at_once())
        .unwrap()
        .rotate_file(&sealed)
        .unwrap();
    fs::write(place.path("started"), "").unwrap();
    loop {
        keys.rotate("a").unwrap();
        // The old wrap beside the new one first, then the new one alone.
        for options in [Rotate::default(), at_once()] {
            keyring
                .rotation(&options)
                .unwrap()
                .rotate_file(&sealed)
                .unwrap();
        }
    }
}

#[test]
fn killed_rotations_lose_nothing() {
    let place = Place::new();
    let plaintext = text(50_000);
    let sealed = place.seal("sealed", &plaintext);
    let len = fs::metadata(&sealed).unwrap().len();
    let (mut interrupted, mut kept) = (0, 0);
    for round in 0..20 * KILLS {
        // A slow disk takes more kills until some come between.
        if round >= KILLS && interrupted > 0 && kept > 0 {
            break;
        }
        let mut victim = start_victim(&place);
        sleep(Duration::from_micros(
            RandomState::new().hash_one(round) % 15_000,
        ));
        victim.kill().unwrap();
        let status = victim.wait().unwrap();
        assert!(
            status.code().is_none(),
            "it was killed, and didn't fail: {status}"
        );

        // Before anybody repairs anything.
        assert_eq!(place.open(&sealed, &["a"]).unwrap(), plaintext, "{round}");
        assert_eq!(fs::metadata(&sealed).unwrap().len(), len);
        interrupted += usize::from(sidecar(&sealed).exists());
        let mut census = place.keyring(&["a"]).census();
        census.add_path(&sealed);
        assert_eq!(census.unreadable(), [], "{round}");
        kept += usize::from(census.versions().len() > 1);

        // Some of the wrecks are left to the next victim.
        if round % 3 > 0 {
            continue;
        }
        let rotation = place.keyring(&["a"]).rotation(&at_once()).unwrap();
        rotation.rotate_file(&sealed).unwrap();
        assert!(!sidecar(&sealed).exists());
        let again = rotation.rotate_file(&sealed).unwrap();
        assert_eq!(again.outcome, RotateOutcome::UpToDate);
        let recipients = inspect(&fs::read(&sealed).unwrap()).unwrap().recipients;
        assert_eq!(recipients.len(), 1);
        assert_eq!(recipients[0].key_id, rotation.newest()[0].key);
        assert_eq!(place.open(&sealed, &["a"]).unwrap(), plaintext);
    }
    // Else the test shows nothing.
    assert!(interrupted > 0 && kept > 0, "no kill came between");
}
