//! What is on a device or file is found before it becomes a scratch disk.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cmkit::{Error, ErrorKind};
use cmkit_scratch::{Content, FileSystem, LoopDevice, Mount, probe};
use tempfile::TempDir;

use common::disk::{FileBacking, MIB, soon};
use common::run_program;

/// A loop device over a sparse file, until this is dropped.
struct Target {
    device: LoopDevice,
    room: TempDir,
}

impl Target {
    fn new(len: usize) -> Self {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("file");
        FileBacking::create(&file, len as u64);
        let device = LoopDevice::attach(&file).unwrap();
        Self { device, room }
    }

    fn path(&self) -> &Path {
        self.device.path()
    }

    fn file(&self) -> PathBuf {
        self.room.path().join("file")
    }

    /// What is found, on the device and then in the file by itself.
    fn assert_has(mut self, what: &str) {
        for (path, named) in [(self.path().to_owned(), true), (self.file(), false)] {
            if !named {
                self.device.detach(soon()).unwrap();
            }
            let error = probe::check(&path).unwrap_err();
            assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.contains(what) && text.contains(path.to_str().unwrap()),
                "{text}"
            );
        }
    }
}

fn ready(programs: &[&str]) -> bool {
    common::need_root() && programs.iter().all(|program| common::need(program))
}

#[test]
fn nothing_is_on_zeros() {
    if !ready(&["blkid"]) {
        return;
    }
    let mut target = Target::new(8 * MIB);
    probe::check(target.path()).unwrap();
    let error = probe::check(&target.file()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(
        error.to_string().contains(target.path().to_str().unwrap()),
        "{error}"
    );
    target.device.detach(soon()).unwrap();
    probe::check(&target.file()).unwrap();
    probe::check(&target.room.path().join("not there")).unwrap();
    for len in [0, 1, 4096] {
        let small = target.room.path().join("small");
        File::create(&small).unwrap().set_len(len).unwrap();
        probe::check(&small).unwrap();
    }
    let error = probe::check(target.room.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn file_systems_are_found_with_their_labels() {
    if !ready(&["blkid", "mkfs.ext4", "mkfs.xfs"]) {
        return;
    }
    let target = Target::new(16 * MIB);
    run_program(
        "mkfs.ext4",
        &["-q", "-L", "my \"data\"", target.path().to_str().unwrap()],
    );
    target.assert_has("an ext4 file system labelled \"my");
    let target = Target::new(320 * MIB);
    run_program("mkfs.xfs", &["-q", target.path().to_str().unwrap()]);
    target.assert_has("an xfs file system on");
}

#[test]
fn a_mounted_device_is_busy() {
    if !ready(&["blkid", "mkfs.ext4"]) {
        return;
    }
    let target = Target::new(16 * MIB);
    FileSystem::Ext4
        .make(target.path(), Content::Zeros)
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(target.path(), dir.path(), FileSystem::Ext4).unwrap();
    let error = probe::check(target.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.to_string().contains(dir.path().to_str().unwrap()),
        "{error}"
    );
    mount.unmount(soon()).unwrap();
    assert_eq!(
        probe::check(target.path()).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn a_device_that_somebody_has_exclusively_is_busy() {
    use std::os::unix::fs::OpenOptionsExt;
    if !ready(&["blkid"]) {
        return;
    }
    let target = Target::new(MIB);
    let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(exclusive)
        .open(target.path())
        .unwrap();
    let error = probe::check(target.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let pid = format!("pid {}", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
    drop(file);
    probe::check(target.path()).unwrap();
}

#[test]
fn swap_areas_are_found() {
    if ready(&["blkid", "mkswap"]) {
        let target = Target::new(MIB);
        run_program("mkswap", &[target.path()]);
        target.assert_has("a swap area");
    }
}

#[test]
fn partition_tables_are_found() {
    if !ready(&["blkid", "sfdisk"]) {
        return;
    }
    for label in ["gpt", "dos"] {
        let target = Target::new(16 * MIB);
        let mut command = Command::new(common::find("sfdisk").unwrap());
        command
            .args(["--quiet", "--no-reread", "--no-tell-kernel"])
            .arg(target.path());
        let mut sfdisk = command.stdin(Stdio::piped()).spawn().unwrap();
        let script = format!("label: {label}\n,\n");
        sfdisk
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(sfdisk.wait().unwrap().success());
        target.assert_has("a partition table");
    }
}

#[test]
fn encrypted_volumes_are_found() {
    if !ready(&["blkid", "cryptsetup"]) {
        return;
    }
    let target = Target::new(32 * MIB);
    let key = target.room.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let args = [
        "luksFormat",
        "--batch-mode",
        "--type=luks2",
        "--pbkdf=pbkdf2",
        "--pbkdf-force-iterations=1000",
        "--key-file",
        key.to_str().unwrap(),
        target.path().to_str().unwrap(),
    ];
    run_program("cryptsetup", &args);
    target.assert_has("an encrypted volume (crypto_LUKS)");
}

/// The signatures as their formats say, since what makes them needs a device mapper or md in the kernel.
#[test]
fn members_of_groups_are_found() {
    if !ready(&["blkid"]) {
        return;
    }
    let target = Target::new(8 * MIB);
    // LVM2: in the second sector of 512 bytes a label with its own number, a checksum (which libblkid verifies) and the header's offset.
    let mut label = vec![0; 512];
    label[..8].copy_from_slice(b"LABELONE");
    label[8..16].copy_from_slice(&1_u64.to_le_bytes());
    label[20..24].copy_from_slice(&32_u32.to_le_bytes());
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(b"abcdefghijklmnopqrstuvwxyz012345");
    let sum = lvm_crc(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut options = File::options();
    let device = options.write(true).open(target.path()).unwrap();
    device.write_all_at(&label, 512).unwrap();
    device.sync_all().unwrap();
    drop(device);
    target.assert_has("a part of a volume group or RAID (LVM2_member)");
}

/// CRC-32 with the reversed polynomial, LVM's start and no final inversion.
fn lvm_crc(data: &[u8]) -> u32 {
    data.iter().fold(0xf597_a6cf, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_single_byte_at_either_end_is_something() {
    if !ready(&["blkid"]) {
        return;
    }
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("file");
    let len = 8 * MIB as u64;
    for (offset, which) in [
        (0, "first"),
        (MIB as u64 - 1, "first"),
        (len - MIB as u64, "last"),
        (len - 1, "last"),
    ] {
        let file = File::create(&path).unwrap();
        file.set_len(len).unwrap();
        file.write_all_at(&[1], offset).unwrap();
        let error = probe::check(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(
            error
                .to_string()
                .contains(&format!("{which} MiB (byte {offset})")),
            "{error}"
        );
    }
}
