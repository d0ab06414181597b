//! Whole files: round trips, refusals, and what failures leave behind.

mod atomic;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::stripes::STRIPE_LEN;
use super::*;
use crate::chunked::CHUNK_LEN;
use crate::chunked::tests::sample;
use crate::document::tests::{Fixture, context};
use crate::{Error, ErrorKind};

/// A keyring and an empty directory.
struct Room {
    f: Fixture,
    dir: PathBuf,
}

impl Room {
    fn new() -> Self {
        let f = Fixture::new();
        let dir = f.dir.path().join("room");
        fs::create_dir(&dir).unwrap();
        Self { f, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn encrypt(&self, from: &Path, to: &Path, options: &FileOptions) -> crate::Result<u64> {
        self.f.encrypt_file(from, to, &context(), options)
    }

    fn decrypt(&self, from: &Path, to: &Path, options: &FileOptions) -> crate::Result<u64> {
        self.f.decrypt_file(from, to, &context(), options)
    }

    /// Names in the directory: a failure must leave nothing behind.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn replace() -> FileOptions {
    FileOptions::default().overwrite(Overwrite::Replace)
}

#[test]
fn files_of_all_sizes_round_trip() {
    let room = Room::new();
    let (sealed, back) = (room.path("sealed"), room.path("back"));
    for len in [
        0,
        1,
        CHUNK_LEN,
        4 * STRIPE_LEN - 1,
        4 * STRIPE_LEN,
        4 * STRIPE_LEN + 1,
        5 * STRIPE_LEN + CHUNK_LEN,
        9 * STRIPE_LEN + 12_345,
    ] {
        let plaintext = sample(len);
        let plain = room.write("plain", &plaintext);
        for threads in [1, 3] {
            let options = replace().threads(threads);
            assert_eq!(room.encrypt(&plain, &sealed, &options).unwrap(), len as u64);
            let envelope = fs::read(&sealed).unwrap();
            assert_eq!(crate::header_len(&envelope).unwrap(), 4096);
            assert!(room.f.decrypt(&envelope, &context()).unwrap() == plaintext);
            assert_eq!(room.decrypt(&sealed, &back, &options).unwrap(), len as u64);
            assert!(fs::read(&back).unwrap() == plaintext);
            let mut opened = room.f.open_file(&sealed, &context()).unwrap();
            let mut out = Vec::new();
            opened.read_to_end(&mut out).unwrap();
            assert!(out == plaintext);
        }
    }
    assert_eq!(room.names(), ["back", "plain", "sealed"]);
}

#[cfg(unix)]
#[test]
fn the_mode_is_the_sources_at_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (given, expected) in [
        (0o640, 0o640),
        (0o600, 0o600),
        (0o4755, 0o755),
        (0o444, 0o444),
    ] {
        let plain = room.write("plain", &sample(100));
        fs::set_permissions(&plain, fs::Permissions::from_mode(given)).unwrap();
        room.encrypt(&plain, &room.path("sealed"), &replace())
            .unwrap();
        assert_eq!(mode(&room.path("sealed")), expected);
        room.decrypt(&room.path("sealed"), &room.path("back"), &replace())
            .unwrap();
        assert_eq!(mode(&room.path("back")), expected);
        fs::remove_file(&plain).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it_until_it_is_whole() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    let plain = room.write("plain", &sample(8 * STRIPE_LEN));
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let dir = room.dir.clone();
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let options = FileOptions::default().on_progress(move |_| {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().ends_with(".cmk-tmp") {
                assert_eq!(
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                    0o600
                );
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        assert!(!dir.join("sealed").exists());
        ControlFlow::Continue(())
    });
    room.encrypt(&plain, &room.path("sealed"), &options)
        .unwrap();
    assert!(seen.load(Ordering::Relaxed) > 0);
}

#[test]
fn an_existing_destination_is_refused() {
    let room = Room::new();
    let plain = room.write("plain", b"attack at dawn");
    let taken = room.write("taken", b"mine");
    let options = FileOptions::default();
    let error = room.encrypt(&plain, &taken, &options).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }));
    room.encrypt(&plain, &room.path("sealed"), &options)
        .unwrap();
    let error = room
        .decrypt(&room.path("sealed"), &taken, &options)
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }));
    assert_eq!(fs::read(&taken).unwrap(), b"mine");

    room.decrypt(&room.path("sealed"), &taken, &replace())
        .unwrap();
    assert_eq!(fs::read(&taken).unwrap(), b"attack at dawn");
    assert_eq!(room.names(), ["plain", "sealed", "taken"]);
}

#[cfg(unix)]
#[test]
fn source_and_destination_must_differ() {
    let room = Room::new();
    let plain = room.write("plain", b"attack at dawn");
    std::os::unix::fs::symlink(&plain, room.path("link")).unwrap();
    fs::hard_link(&plain, room.path("hard")).unwrap();
    let dotted = room.dir.join(".").join("plain");
    for (from, to) in [
        (plain.clone(), plain.clone()),
        (plain.clone(), dotted),
        (plain.clone(), room.path("link")),
        (room.path("link"), plain.clone()),
        (plain.clone(), room.path("hard")),
    ] {
        for result in [
            room.encrypt(&from, &to, &replace()),
            room.decrypt(&from, &to, &replace()),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
    assert_eq!(fs::read(&plain).unwrap(), b"attack at dawn");
    assert_eq!(room.names(), ["hard", "link", "plain"]);
}

#[test]
fn directories_are_no_files() {
    let room = Room::new();
    let plain = room.write("plain", b"x");
    let dir = room.path("dir");
    fs::create_dir(&dir).unwrap();
    for error in [
        room.encrypt(&dir, &room.path("out"), &replace())
            .unwrap_err(),
        room.encrypt(&plain, &dir, &replace()).unwrap_err(),
        room.decrypt(&dir, &room.path("out"), &replace())
            .unwrap_err(),
        room.decrypt(&plain, &dir, &replace()).unwrap_err(),
        room.f.open_file(&dir, &context()).unwrap_err(),
        room.encrypt(&plain, &room.path(".."), &replace())
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("directory"), "{error}");
    }
    assert_eq!(room.names(), ["dir", "plain"]);
}

#[cfg(unix)]
#[test]
fn devices_are_not_replaced() {
    let room = Room::new();
    let plain = room.write("plain", b"x");
    let null = Path::new("/dev/null");
    std::os::unix::fs::symlink(null, room.path("link")).unwrap();
    for to in [null, &room.path("link")] {
        let error = room.encrypt(&plain, to, &replace()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(!fs::metadata(null).unwrap().is_file());
}

#[test]
fn missing_files_are_named() {
    let room = Room::new();
    let plain = room.write("plain", b"x");
    let nowhere = room.path("no").join("where");
    for error in [
        room.encrypt(&nowhere, &room.path("out"), &replace())
            .unwrap_err(),
        room.encrypt(&plain, &nowhere, &replace()).unwrap_err(),
        room.f.open_file(&nowhere, &context()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error.to_string().contains(nowhere.to_str().unwrap()),
            "{error}"
        );
    }
    assert_eq!(room.names(), ["plain"]);
}

#[test]
fn damage_leaves_nothing_and_names_the_file() {
    let room = Room::new();
    let plain = room.write("plain", &sample(6 * STRIPE_LEN + 100));
    let sealed = room.path("sealed");
    room.encrypt(&plain, &sealed, &FileOptions::default())
        .unwrap();
    let envelope = fs::read(&sealed).unwrap();
    let middle = envelope.len() / 2;
    for place in [0, 20, 4000, 4100, 4200, middle, envelope.len() - 1] {
        let mut changed = envelope.clone();
        changed[place] ^= 1;
        let path = room.write("changed", &changed);
        let error = room
            .decrypt(&path, &room.path("out"), &replace())
            .unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{place}: {error}");
        assert!(error.to_string().contains("changed"), "{error}");
    }
    for len in [0, 10, 4000, 4100, middle, envelope.len() - 1] {
        let path = room.write("changed", &envelope[..len]);
        assert!(
            room.decrypt(&path, &room.path("out"), &replace()).is_err(),
            "{len}"
        );
    }
    assert_eq!(room.names(), ["changed", "plain", "sealed"]);
}

#[test]
fn progress_is_told_and_may_cancel() {
    let room = Room::new();
    let len = 12 * STRIPE_LEN;
    let plain = room.write("plain", &sample(len));
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&told);
    let options = replace().on_progress(move |p| {
        record.lock().unwrap().push(p);
        ControlFlow::Continue(())
    });
    room.encrypt(&plain, &room.path("sealed"), &options)
        .unwrap();
    room.decrypt(&room.path("sealed"), &room.path("back"), &options)
        .unwrap();
    let told = told.lock().unwrap().split_off(0);
    let total = Some(len as u64);
    assert_eq!(told[0], Progress { done: 0, total });
    assert_eq!(
        *told.last().unwrap(),
        Progress {
            done: len as u64,
            total
        }
    );
    assert_eq!(told.iter().filter(|p| p.done == 0).count(), 2);

    let small = room.write("small", &sample(100));
    for stop_at in [0, 1] {
        let cancel = replace().on_progress(move |p| match p.done >= stop_at {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        for from in [&plain, &small] {
            assert!(matches!(
                room.encrypt(from, &room.path("out"), &cancel),
                Err(Error::Cancelled)
            ));
        }
        let cancelled = room.decrypt(&room.path("sealed"), &room.path("out"), &cancel);
        assert!(matches!(cancelled, Err(Error::Cancelled)));
    }
    assert_eq!(room.names(), ["back", "plain", "sealed", "small"]);
}

#[test]
fn a_source_that_changes_its_length_is_refused() {
    let room = Room::new();
    // Both engines: in stripes, and read once through.
    for len in [8 * STRIPE_LEN, 3 * STRIPE_LEN] {
        for to in [len / 2, len + 1, 0] {
            let plain = room.write("plain", &sample(len));
            let changing = plain.clone();
            let options = FileOptions::default().on_progress(move |_| {
                let file = File::options().write(true).open(&changing).unwrap();
                file.set_len(to as u64).unwrap();
                ControlFlow::Continue(())
            });
            let error = room
                .encrypt(&plain, &room.path("out"), &options)
                .unwrap_err();
            assert!(
                matches!(error.root(), Error::InvalidState { .. }),
                "{error}"
            );
            assert_eq!(room.names(), ["plain"]);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn sources_that_are_no_regular_files() {
    let room = Room::new();
    let (sealed, back) = (room.path("sealed"), room.path("back"));
    // The kernel writes this one while it is read, and says that it is empty.
    let made_up = Path::new("/proc/self/limits");
    let len = room
        .encrypt(made_up, &sealed, &FileOptions::default())
        .unwrap();
    assert!(len > 0);
    assert_eq!(
        room.decrypt(&sealed, &back, &FileOptions::default())
            .unwrap(),
        len
    );
    assert_eq!(fs::read(&back).unwrap(), fs::read(made_up).unwrap());

    // A pipe, both ways.
    let plaintext = sample(3 << 20);
    let through_pipe = |content: Vec<u8>, work: &dyn Fn(&Path)| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let feeder = std::thread::spawn(move || writer.write_all(&content));
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        work(Path::new(&format!("/proc/self/fd/{fd}")));
        drop(reader);
        feeder.join().unwrap().unwrap();
    };
    through_pipe(plaintext.clone(), &|pipe| {
        assert_eq!(
            room.encrypt(pipe, &sealed, &replace()).unwrap(),
            plaintext.len() as u64
        );
    });
    through_pipe(fs::read(&sealed).unwrap(), &|pipe| {
        assert_eq!(
            room.decrypt(pipe, &back, &replace()).unwrap(),
            plaintext.len() as u64
        );
    });
    assert!(fs::read(&back).unwrap() == plaintext);
}

#[cfg(target_os = "linux")]
#[test]
fn a_damaged_pipe_leaves_nothing() {
    let room = Room::new();
    let plain = room.write("plain", &sample(100_000));
    room.encrypt(&plain, &room.path("sealed"), &replace())
        .unwrap();
    let mut envelope = fs::read(room.path("sealed")).unwrap();
    *envelope.last_mut().unwrap() ^= 1;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || writer.write_all(&envelope));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
    let pipe = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let error = room
        .decrypt(&pipe, &room.path("out"), &replace())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    feeder.join().unwrap().unwrap();
    assert_eq!(room.names(), ["plain", "sealed"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_fails_the_stream() {
    let room = Room::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = room.f.encryptor(full, &context()).unwrap_err();
    assert_eq!(error.io().unwrap().kind(), std::io::ErrorKind::StorageFull);
}

/// Runs [`on_a_full_disk`] with a file system of 1900 KiB, mounted where nobody else sees it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1900k none \"$1\" || exit 99
        exec \"$2\" --exact file::tests::on_a_full_disk --ignored";
    let run = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env("TMPDIR", dir.path())
        .output();
    match run {
        Ok(out) if out.status.code() != Some(99) && !out.stderr.starts_with(b"unshare: ") => {
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stdout)
            );
        }
        _ => eprintln!("skipped: this system lets nobody mount a small file system"),
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by a_full_disk_is_named_and_leaves_nothing, on a small file system"]
fn on_a_full_disk() {
    let room = Room::new();
    let check = |error: Error, path: &Path| {
        assert_eq!(error.io().unwrap().kind(), std::io::ErrorKind::StorageFull);
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    };
    let out = room.path("out");
    for len in [1_000_000, 1_300_000] {
        let plain = room.write("plain", &sample(len));
        check(room.encrypt(&plain, &out, &replace()).unwrap_err(), &out);
        assert_eq!(room.names(), ["plain"]);
        // Sealed from memory, to have room for it and not for its plaintext.
        let envelope = room.f.encrypt(&sample(len), &context()).unwrap();
        fs::remove_file(&plain).unwrap();
        let sealed = room.write("sealed", &envelope);
        check(room.decrypt(&sealed, &out, &replace()).unwrap_err(), &out);
        assert_eq!(room.names(), ["sealed"]);
        fs::remove_file(&sealed).unwrap();
    }
}

#[test]
fn an_open_file_can_be_read_at_any_place() {
    let room = Room::new();
    let plaintext = sample(3 * STRIPE_LEN);
    let plain = room.write("plain", &plaintext);
    room.encrypt(&plain, &room.path("sealed"), &FileOptions::default())
        .unwrap();
    let mut reader = room.f.open_file(&room.path("sealed"), &context()).unwrap();
    reader.seek(SeekFrom::Start(500_000)).unwrap();
    let mut out = [0; 4096];
    reader.read_exact(&mut out).unwrap();
    assert!(out[..] == plaintext[500_000..504_096]);
}
