//! Against loop devices, which need root.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use super::*;
use cmkit::ErrorKind;

const LEN: u64 = 4 << 20;
const SIZE: usize = 4 << 20;

/// A loop device over a file; detached on drop.
struct Loop {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Loop {
    /// `None`, said so, where there can't be one; in CI that is a failure.
    fn new(options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        File::create(&file).unwrap().set_len(LEN).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(&file)
            .output();
        let problem = match made {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).unwrap();
                return Some(Self {
                    path: path.trim().into(),
                    dir,
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(e) => e.to_string(),
        };
        assert!(
            std::env::var_os("CI").is_none(),
            "no loop device: {problem}"
        );
        eprintln!("skipped, no loop device: {problem}");
        None
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

fn refusal(path: &Path, access: Access) -> (ErrorKind, String) {
    let error = DeviceBacking::open(path, access).err().unwrap();
    (error.kind(), error.to_string())
}

#[test]
fn what_is_written_anyhow_comes_back() {
    for sector in [512, 4096] {
        let Some(device) = Loop::new(&["--sector-size", &sector.to_string()]) else {
            return;
        };
        let backing = DeviceBacking::open(&device.path, Access::ReadWrite).unwrap();
        assert_eq!((backing.len(), backing.sector_size()), (LEN, sector));
        assert!(backing.is_blocking());
        let mut expected = vec![0; SIZE];
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % below
        };
        let mut aligned = AlignedBuffer::new(1 << 20);
        for round in 0..200_usize {
            let value = u8::try_from(round).unwrap() + 1;
            // Lengths around sectors and around the bounce buffer, at any offset or a whole one, from memory at any place.
            let unit = [1, sector, BOUNCE, 1 << 20][round % 4];
            let len = (unit + random(3)).saturating_sub(random(3)).min(1 << 20);
            let offset = match round % 3 {
                0 => random(SIZE - len + 1),
                _ => random(SIZE - len + 1) / sector * sector,
            };
            let shift = if round % 2 == 0 { 0 } else { random(9) }.min((1 << 20) - len);
            let data = &mut aligned[shift..shift + len];
            data.fill(value);
            backing.write_at(data, offset as u64).unwrap();
            expected[offset..offset + len].fill(value);
            data.fill(0);
            backing.read_at(data, offset as u64).unwrap();
            assert!(data == &expected[offset..offset + len], "round {round}");
        }
        backing.flush().unwrap();
        let mut all = vec![0; SIZE];
        backing.read_at(&mut all, 0).unwrap();
        assert!(all == expected);
        drop(backing);
        let on_disk = fs::read(device.dir.path().join("disk")).unwrap();
        assert!(on_disk == expected);
    }
}

#[test]
fn writers_of_one_sector_do_not_undo_each_other() {
    let Some(device) = Loop::new(&[]) else { return };
    let backing = Arc::new(DeviceBacking::open(&device.path, Access::ReadWrite).unwrap());
    std::thread::scope(|scope| {
        for place in 0..4_u64 {
            let backing = &backing;
            scope.spawn(move || {
                for round in 1..=50_u8 {
                    for sector in 0..4 {
                        let offset = sector * 512 + place * 128;
                        backing.write_at(&[round; 128], offset).unwrap();
                        let mut read = [0; 128];
                        backing.read_at(&mut read, offset).unwrap();
                        assert_eq!(read, [round; 128]);
                    }
                }
            });
        }
    });
    let mut all = [0; 2048];
    backing.read_at(&mut all, 0).unwrap();
    assert_eq!(all, [50; 2048]);
}

#[test]
fn nothing_reaches_beyond_the_end() {
    let Some(device) = Loop::new(&[]) else { return };
    let backing = DeviceBacking::open(&device.path, Access::ReadWrite).unwrap();
    let end = io::ErrorKind::UnexpectedEof;
    for offset in [LEN - 1, LEN, u64::MAX] {
        assert_eq!(backing.write_at(&[1; 2], offset).unwrap_err().kind(), end);
        assert_eq!(
            backing.read_at(&mut [1; 2], offset).unwrap_err().kind(),
            end
        );
        assert_eq!(backing.punch(offset, 2).unwrap_err().kind(), end);
    }
    // Room behind it vanishes.
    let file = device.dir.path().join("disk");
    OpenOptions::new()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(8192)
        .unwrap();
    assert!(backing.read_at(&mut [0; 4096], LEN - 4096).is_err());
}

#[test]
fn room_is_given_back_by_whole_sectors() {
    let Some(device) = Loop::new(&[]) else { return };
    let backing = DeviceBacking::open(&device.path, Access::ReadWrite).unwrap();
    backing.write_at(&vec![9; 1 << 20], 0).unwrap();
    backing.flush().unwrap();
    let file = device.dir.path().join("disk");
    let before = fs::metadata(&file).unwrap().blocks();
    if backing.punch(100, 900_000).unwrap() == Punched::Unsupported {
        eprintln!("skipped: the file system below can't punch holes");
        return;
    }
    assert!(fs::metadata(&file).unwrap().blocks() < before);
    // No byte outside of the range was touched.
    let mut edge = [0; 512];
    backing.read_at(&mut edge, 0).unwrap();
    assert_eq!(edge, [9; 512]);
    backing.read_at(&mut edge, 900_100 / 512 * 512).unwrap();
    assert_eq!(edge, [9; 512]);
    assert_eq!(backing.punch(1, 510).unwrap(), Punched::Yes);
}

#[test]
fn a_device_in_use_is_refused() {
    let Some(device) = Loop::new(&[]) else { return };
    let first = DeviceBacking::open(&device.path, Access::ReadWrite).unwrap();
    let (kind, text) = refusal(&device.path, Access::ReadWrite);
    assert_eq!(kind, ErrorKind::Busy, "{text}");
    assert!(text.contains("lsblk"), "{text}");
    drop(first);

    let run = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
    if !run(Command::new("mkfs.ext4").arg("-q").arg(&device.path)) {
        eprintln!("skipped in part: no mkfs.ext4");
        return;
    }
    let point = device.dir.path().join("mounted");
    fs::create_dir(&point).unwrap();
    if !run(Command::new("mount").arg(&device.path).arg(&point)) {
        eprintln!("skipped in part: no mounts here");
        return;
    }
    let refused = refusal(&device.path, Access::ReadWrite);
    assert!(run(Command::new("umount").arg(&point)));
    assert_eq!(refused.0, ErrorKind::Busy);
    assert!(refused.1.contains("mounted"), "{}", refused.1);
    assert!(refused.1.contains("unmount"), "{}", refused.1);
}

#[test]
fn a_read_only_device_is_only_read() {
    let Some(device) = Loop::new(&["--read-only"]) else {
        return;
    };
    let (kind, text) = refusal(&device.path, Access::ReadWrite);
    assert_eq!(kind, ErrorKind::AccessDenied, "{text}");
    assert!(text.contains("read-only"), "{text}");
    let backing = DeviceBacking::open(&device.path, Access::ReadOnly).unwrap();
    assert!(backing.is_read_only());
    let refused = backing.write_at(&[1; 512], 0).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(backing.punch(0, 512).is_err());
    backing.flush().unwrap();
    backing.read_at(&mut [1; 100], 7).unwrap();
}

#[test]
fn nothing_else_is_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, [0; 8192]).unwrap();
    for path in [dir.path(), &file, Path::new("/dev/null")] {
        let (kind, text) = refusal(path, Access::ReadOnly);
        assert_eq!(kind, ErrorKind::InvalidArgument);
        assert!(text.contains("not a block device"), "{text}");
    }
    let (kind, _) = refusal(&dir.path().join("none"), Access::ReadOnly);
    assert_eq!(kind, ErrorKind::Io);
}
