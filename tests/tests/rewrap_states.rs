//! Every state that a crash can leave a rewrap in, made by hand; and rewraps and readers at the same time.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cmkit::{ErrorKind, RewrapOutcome, header_len, inspect};
use cmkit_tests::{Place, none, sidecar, text, to};

const LEN: usize = 20_000;

/// A file whose header can be put into any state between the old one and the new one.
struct Between {
    place: Place,
    path: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
    body: Vec<u8>,
}

impl Between {
    /// From `local:a` to `local:b`.
    fn new() -> Self {
        let place = Place::new();
        let path = place.seal("sealed", &text(LEN));
        let whole = fs::read(&path).unwrap();
        let (old, body) = whole.split_at(header_len(&whole).unwrap());
        let outcome = place.keyring(&["a"]).rewrap_file(&path, &to("b")).unwrap();
        assert_eq!(outcome, RewrapOutcome::InPlace);
        let new = fs::read(&path).unwrap()[..old.len()].to_vec();
        let (old, body) = (old.to_vec(), body.to_vec());
        Self {
            place,
            path,
            old,
            new,
            body,
        }
    }

    fn set(&self, header: &[u8], beside: Option<&[u8]>) {
        fs::write(&self.path, [header, &self.body].concat()).unwrap();
        match beside {
            Some(bytes) => fs::write(sidecar(&self.path), bytes).unwrap(),
            None => drop(fs::remove_file(sidecar(&self.path))),
        }
    }

    fn both(&self) -> Vec<u8> {
        [&self.new[..], &self.old].concat()
    }

    /// It opens as it is, and after the same rewrap was made again.
    fn check(&self, state: &str) {
        let before = (
            fs::read(&self.path).unwrap(),
            fs::read(sidecar(&self.path)).ok(),
        );
        let opened = self.place.open(&self.path, &["a", "b"]);
        assert!(opened.is_ok_and(|opened| opened == text(LEN)), "{state}");
        let after = (
            fs::read(&self.path).unwrap(),
            fs::read(sidecar(&self.path)).ok(),
        );
        assert!(before == after, "{state}: a reader wrote");
    }

    fn repair(&self, state: &str) {
        let keyring = self.place.keyring(&["a", "b"]);
        keyring
            .rewrap_file(&self.path, &to("b"))
            .unwrap_or_else(|e| panic!("{state}: {e}"));
        assert!(!sidecar(&self.path).exists(), "{state}");
        let whole = fs::read(&self.path).unwrap();
        assert!(
            self.place.keyring(&["b"]).decrypt(&whole, &none()).unwrap() == text(LEN),
            "{state}"
        );
        assert!(whole[self.old.len()..] == self.body, "{state}");
    }
}

#[test]
fn every_prefix_of_the_write() {
    let between = Between::new();
    let both = between.both();
    let mut last = Vec::new();
    for n in 0..=between.old.len() {
        let header = [&between.new[..n], &between.old[n..]].concat();
        if header == last {
            continue;
        }
        between.set(&header, Some(&both));
        between.check(&format!("{n} bytes written"));
        if n % 16 == 0 {
            between.repair(&format!("{n} bytes written"));
        }
        last = header;
    }
}

#[test]
fn sectors_in_any_order() {
    let between = Between::new();
    let both = between.both();
    // Storage may write the sectors of a block in any order; the ones here are smaller than real ones.
    for sector in [32, 64, 512] {
        let differing: Vec<_> = (0..between.old.len())
            .step_by(sector)
            .filter(|at| between.old[*at..at + sector] != between.new[*at..at + sector])
            .collect();
        for chosen in 0u32..1 << differing.len().min(8) {
            let mut header = between.old.clone();
            let written = differing
                .iter()
                .enumerate()
                .filter(|(bit, _)| chosen >> bit & 1 == 1);
            for (_, at) in written {
                header[*at..at + sector].copy_from_slice(&between.new[*at..at + sector]);
            }
            between.set(&header, Some(&both));
            between.check(&format!("sectors of {sector}: {chosen:b}"));
        }
        between.repair("sectors");
    }
}

#[test]
fn states_of_the_sidecar() {
    let between = Between::new();
    let both = between.both();
    // Not written yet, or left-over rubbish, while the header is whole: it doesn't matter.
    for header in [&between.old, &between.new] {
        for len in [
            0,
            1,
            15,
            16,
            100,
            between.old.len(),
            between.old.len() + 1,
            both.len() - 1,
        ] {
            between.set(header, Some(&both[..len]));
            between.check(&format!("{len} bytes beside"));
            between.repair(&format!("{len} bytes beside"));
        }
        let other = Between::new();
        for rubbish in [
            other.both(),
            vec![0; 8192],
            b"text".to_vec(),
            [&both[..], b"x"].concat(),
        ] {
            between.set(header, Some(&rubbish));
            between.check("rubbish beside");
            between.repair("rubbish beside");
        }
    }
    // Written and synced, with the header old, new or gone.
    for header in [&between.old, &between.new] {
        between.set(header, Some(&both));
        between.check("whole header beside both");
        between.repair("whole header beside both");
    }
}

#[test]
fn a_half_written_header_without_its_sidecar_is_refused() {
    let between = Between::new();
    let half = |n: usize| [&between.new[..n], &between.old[n..]].concat();
    let recipients = header_len_of_core(&between.old);
    let end = between.new.iter().rposition(|b| *b != 0).unwrap();
    let other = Between::new().both();
    for n in [recipients + 60, end - 10, between.old.len() - 1] {
        for beside in [
            None,
            Some(&other[..]),
            Some(&between.both()[..between.old.len()]),
        ] {
            between.set(&half(n), beside);
            let error = between.place.open(&between.path, &["a", "b"]).unwrap_err();
            let kinds = [
                ErrorKind::Authentication,
                ErrorKind::RewrapInterrupted,
                ErrorKind::Format,
            ];
            assert!(kinds.contains(&error.kind()), "{n}: {error}");
            let keyring = between.place.keyring(&["a", "b"]);
            assert!(keyring.rewrap_file(&between.path, &to("b")).is_err());
        }
    }
}

fn header_len_of_core(header: &[u8]) -> usize {
    16 + usize::from(u16::from_be_bytes([header[12], header[13]]))
}

#[test]
fn damage_is_no_interruption() {
    let between = Between::new();
    let both = between.both();
    for at in [20, 60, 120, 300, between.old.len() - 1] {
        let mut header = between.old.clone();
        // In neither of the two.
        header[at] = (0..=255)
            .find(|b| *b != between.old[at] && *b != between.new[at])
            .unwrap();
        between.set(&header, Some(&both));
        assert!(
            between.place.open(&between.path, &["a", "b"]).is_err(),
            "{at}"
        );
    }
}

#[test]
fn a_sidecar_that_does_not_verify_is_no_way_in() {
    // The last byte of its new header's MAC is changed, and stands in the file too: else it would not count.
    let between = Between::new();
    let end = between.new.len() - 1;
    let mut forged = between.both();
    forged[end] = (0..=255)
        .find(|b| *b != between.old[end] && *b != between.new[end])
        .unwrap();
    let mut header = between.old.clone();
    header[end] = forged[end];
    between.set(&header, Some(&forged));
    let error = between.place.open(&between.path, &["a", "b"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
}

#[test]
fn another_target_completes_the_interrupted_one_first() {
    let between = Between::new();
    let place = &between.place;
    place
        .provider()
        .create_key("c", cmkit::KeyType::Oct256)
        .unwrap();
    let n = header_len_of_core(&between.old) + 70;
    let half = [&between.new[..n], &between.old[n..]].concat();
    between.set(&half, Some(&between.both()));
    let keyring = place.keyring(&["a", "b", "c"]);
    keyring.rewrap_file(&between.path, &to("c")).unwrap();
    assert_eq!(place.open(&between.path, &["c"]).unwrap(), text(LEN));
    let names: Vec<_> = recipients(&between.path);
    assert_eq!(names, ["c"]);
}

fn recipients(path: &Path) -> Vec<String> {
    let header = inspect(&fs::read(path).unwrap()).unwrap();
    header
        .recipients
        .iter()
        .map(|r| r.key_id.name().to_owned())
        .collect()
}

#[test]
fn many_rewraps_of_one_file() {
    let place = Place::new();
    let path = place.seal("sealed", &text(LEN));
    thread::scope(|scope| {
        for name in ["a", "b", "a", "b"] {
            let (place, path) = (&place, &path);
            scope.spawn(move || {
                for _ in 0..25 {
                    // Each with a lock and a keyring of its own, as processes have.
                    place
                        .keyring(&["a", "b"])
                        .rewrap_file(path, &to(name))
                        .unwrap();
                }
            });
        }
    });
    assert!(!sidecar(&path).exists());
    assert_eq!(place.open(&path, &["a", "b"]).unwrap(), text(LEN));
    assert_eq!(recipients(&path).len(), 1);
}

#[test]
fn readers_during_rewraps() {
    let place = Place::new();
    let path = place.seal("sealed", &text(LEN));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reads = 0;
                while !done.load(Ordering::SeqCst) || reads == 0 {
                    let opened = place.open(&path, &["a", "b"]);
                    assert!(opened.unwrap() == text(LEN), "read {reads}");
                    reads += 1;
                }
            });
        }
        let keyring = place.keyring(&["a", "b"]);
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for n in 0..200 {
                keyring.rewrap_file(&path, &to(["a", "b"][n % 2])).unwrap();
            }
        }));
        done.store(true, Ordering::SeqCst);
        work.unwrap();
    });
}

#[test]
fn a_reader_that_is_open_goes_on() {
    let place = Place::new();
    let path = place.seal("sealed", &text(LEN));
    let mut reader = place.keyring(&["a"]).open_file(&path, &none()).unwrap();
    let mut front = [0; 100];
    reader.read_exact(&mut front).unwrap();
    place.keyring(&["a"]).rewrap_file(&path, &to("b")).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!([&front[..], &rest].concat(), text(LEN));
}

#[test]
fn what_does_not_fit_is_copied() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let place = Place::new();
    let long = "n".repeat(120);
    place
        .provider()
        .create_key(&long, cmkit::KeyType::Oct256)
        .unwrap();
    // A document has no padding: the new header is longer.
    let path = place.path("document");
    fs::write(
        &path,
        place.keyring(&["a"]).encrypt(&text(LEN), &none()).unwrap(),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap();
    let open = File::open(&path).unwrap();
    let outcome = place
        .keyring(&["a"])
        .rewrap_file(&path, &to(&long))
        .unwrap();
    assert_eq!(outcome, RewrapOutcome::Copied);
    let after = fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!(after.permissions().mode() & 0o777, 0o640);
    assert_eq!(place.open(&path, &[&long]).unwrap(), text(LEN));
    assert_eq!(
        open.metadata().unwrap().len(),
        before.len(),
        "the old file is as it was"
    );
    // From then on it has room.
    let again = place
        .keyring(&[&long])
        .rewrap_file(&path, &to("b"))
        .unwrap();
    assert_eq!(again, RewrapOutcome::InPlace);
}

#[test]
fn links_are_followed_and_the_sidecar_lies_beside_the_file() {
    let place = Place::new();
    fs::create_dir(place.path("dir")).unwrap();
    let path = place.seal("dir/sealed", &text(LEN));
    let link = place.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let old = fs::read(&path).unwrap();
    place.keyring(&["a"]).rewrap_file(&link, &to("b")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // Interrupted, and read by way of the link.
    let new = fs::read(&path).unwrap();
    let len = header_len(&new).unwrap();
    let n = header_len_of_core(&new) + 70;
    fs::write(&path, [&new[..n], &old[n..]].concat()).unwrap();
    fs::write(sidecar(&path), [&new[..len], &old[..len]].concat()).unwrap();
    assert_eq!(place.open(&link, &["a", "b"]).unwrap(), text(LEN));
}
