//! A disk as a mounted file system: FUSE, a loop device, mkfs, mount, and back.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use cmkit::{Error, ErrorKind};
use cmkit_scratch::mount::{self, Lazily};
use cmkit_scratch::{Content, FileSystem, LoopDevice, Mount, loop_device};

use common::disk::{Gated, MIB, Mounted, dirs, memory, soon};
use common::run_program;

/// XFS has a minimum.
fn len_for(file_system: FileSystem) -> usize {
    match file_system {
        FileSystem::Ext4 => 96 * MIB,
        FileSystem::Xfs => 320 * MIB,
    }
}

fn fsck(file_system: FileSystem, device: &Path) {
    match file_system {
        FileSystem::Ext4 => run_program("e2fsck", &[Path::new("-f"), Path::new("-n"), device]),
        FileSystem::Xfs => run_program("xfs_repair", &[Path::new("-n"), device]),
    };
}

/// Another program that uses a directory, until this is dropped.
struct User(Child);

impl User {
    fn of(dir: &Path) -> Self {
        let mut command = Command::new("sleep");
        let child = command
            .arg("600")
            .current_dir(dir)
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn makes_writes_trims_and_comes_back(file_system: FileSystem) {
    let mut mounted = Mounted::new(memory(len_for(file_system)), file_system);
    assert!(mounted.device.is_direct());
    let dir = mounted.mount.dir().to_owned();
    let files: Vec<_> = (0_u8..40)
        .map(|n| {
            (
                dir.join(format!("file{n}")),
                vec![n; usize::from(n) * 30_011],
            )
        })
        .collect();
    for (name, data) in &files {
        fs::write(name, data).unwrap();
    }
    for (name, _) in files.iter().step_by(2) {
        fs::remove_file(name).unwrap();
    }
    run_program("sync", &[Path::new("-f"), &dir]);
    let trimmed = run_program("fstrim", &[Path::new("-v"), &dir]).stdout;
    assert!(
        !String::from_utf8_lossy(&trimmed).contains(" 0 B"),
        "nothing was trimmed"
    );
    mounted.mount.unmount(soon()).unwrap();
    fsck(file_system, mounted.device.path());

    mounted.mount = Mount::new(mounted.device.path(), &dir, file_system).unwrap();
    assert_eq!(mount::dirs_of(mounted.device.path()).unwrap(), [dir]);
    for (name, data) in files.iter().skip(1).step_by(2) {
        assert!(fs::read(name).unwrap() == *data, "{}", name.display());
    }
    mounted.end();
}

#[test]
fn ext4_makes_writes_trims_and_comes_back() {
    if common::need_root() && common::need("mkfs.ext4") && common::need("fstrim") {
        makes_writes_trims_and_comes_back(FileSystem::Ext4);
    }
}

#[test]
fn xfs_makes_writes_trims_and_comes_back() {
    if common::need_root() && common::need("mkfs.xfs") && common::need("fstrim") {
        makes_writes_trims_and_comes_back(FileSystem::Xfs);
    }
}

#[test]
fn xfs_on_a_small_disk_is_refused_with_advice() {
    if !common::need_root() {
        return;
    }
    let mounted = Mounted::device_only(memory(64 * MIB));
    let error = FileSystem::Xfs
        .make(mounted.device.path(), Content::Zeros)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("choose ext4"), "{error}");
}

#[test]
fn a_busy_file_system_names_who_uses_it() {
    if !common::need_root() || !common::need("mkfs.ext4") {
        return;
    }
    let mut mounted = Mounted::new(memory(32 * MIB), FileSystem::Ext4);
    let user = User::of(mounted.mount.dir());
    let error = mounted.mount.unmount(Instant::now()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    let pid = format!("sleep (pid {}, works in it)", user.0.id());
    assert!(error.to_string().contains(&pid), "{error}");

    // Out of the mount table at once, while the loop device waits for the last user.
    mounted.mount.unmount_lazily().unwrap();
    mounted.mount.unmount_lazily().unwrap();
    assert!(fs::read_dir(mounted.mount.dir()).unwrap().next().is_none());
    let error = mounted.device.detach(Instant::now()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(user);
    mounted.device.detach(soon()).unwrap();
    mounted.device.detach(soon()).unwrap();
    mounted.fuse.unmount(Lazily::No).unwrap();
}

#[test]
fn loop_devices_and_mounts_in_it_are_named() {
    if !common::need_root() || !common::need("mkfs.ext4") {
        return;
    }
    let mut mounted = Mounted::new(memory(64 * MIB), FileSystem::Ext4);
    let image = mounted.mount.dir().join("image");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let mut inner = LoopDevice::attach(&image).unwrap();
    let error = mounted.mount.unmount(Instant::now()).unwrap_err();
    let device = inner.path().display().to_string();
    assert!(error.to_string().contains(&device), "{error}");

    FileSystem::Ext4.make(inner.path(), Content::Zeros).unwrap();
    let below = mounted.mount.dir().join("below");
    fs::create_dir(&below).unwrap();
    let mut second = Mount::new(inner.path(), &below, FileSystem::Ext4).unwrap();
    let error = mounted.mount.unmount(Instant::now()).unwrap_err();
    assert!(error.to_string().contains("mounted at"), "{error}");
    second.unmount(soon()).unwrap();
    inner.detach(soon()).unwrap();
    mounted.end();
}

#[test]
fn directories_with_something_in_them_are_refused() {
    if !common::need_root() {
        return;
    }
    let mounted = Mounted::device_only(memory(32 * MIB));
    let dir = mounted.room.path().join("disk");
    FileSystem::Ext4
        .make(mounted.device.path(), Content::Unknown)
        .unwrap();
    fs::write(dir.join("something"), "").unwrap();
    for bad in [dir.clone(), dir.join("something"), dir.join("nothing")] {
        let error = Mount::new(mounted.device.path(), &bad, FileSystem::Ext4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    fs::remove_file(dir.join("something")).unwrap();
    let error = Mount::new(mounted.device.path(), &dir, FileSystem::Xfs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn what_another_process_left_is_found_by_its_names() {
    if !common::need_root() || !common::need("mkfs.ext4") {
        return;
    }
    let mounted = Mounted::new(memory(32 * MIB), FileSystem::Ext4);
    let file = mounted.fuse.file();
    let device = mounted.device.path().to_owned();
    let dir = mounted.mount.dir().to_owned();
    assert_eq!(loop_device::find(&file), std::slice::from_ref(&device));
    // What has become somebody else's stays.
    let other = Path::new("/dev/loop-of-somebody-else");
    mount::unmount_path(&dir, other, soon()).unwrap();
    loop_device::detach_path(&device, other, soon()).unwrap();
    assert_eq!(mount::dirs_of(&device).unwrap(), std::slice::from_ref(&dir));

    mount::unmount_path(&dir, &device, soon()).unwrap();
    loop_device::detach_path(&device, &file, soon()).unwrap();
    let fuse = mounted.fuse.dir().to_owned();
    mount::unmount_path(&fuse, Path::new("cmkit-scratch"), soon()).unwrap();
    assert!(loop_device::find(&file).is_empty());
    assert!(!file.exists());
    mounted.end();
}

#[test]
fn a_disk_that_stops_under_a_mounted_file_system_can_be_unmounted() {
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        if !common::need_root() || !common::need("mkfs.ext4") || !common::need("mkfs.xfs") {
            return;
        }
        let mut mounted = Mounted::new(memory(len_for(file_system)), file_system);
        let file = mounted.mount.dir().join("file");
        fs::write(&file, vec![7; MIB]).unwrap();
        mounted.fuse.stop();
        let synced = fs::File::open(&file).and_then(|file| file.sync_all());
        assert!(synced.is_err());
        mounted.mount.unmount(soon()).unwrap();
        mounted.device.detach(soon()).unwrap();
        mounted.fuse.unmount(Lazily::No).unwrap();
    }
}

#[test]
fn a_disk_that_hangs_does_not_hold_up_the_deadline() {
    if !common::need_root() || !common::need("mkfs.ext4") {
        return;
    }
    let gate = Arc::new(Gated::new(memory(32 * MIB)));
    let mut mounted = Mounted::new(gate.clone(), FileSystem::Ext4);
    let file = mounted.mount.dir().join("file");
    gate.close();
    fs::write(&file, vec![7; MIB]).unwrap();
    let error = mounted.mount.unmount(Instant::now()).unwrap_err();
    gate.open();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.to_string().contains("on its way to the disk"),
        "{error}"
    );
    mounted.end();
}

/// Set in the child without rights.
const POWERLESS: &str = "CMKIT_TEST_SCRATCH_POWERLESS";

/// The child of the next test: root as a container has it.
#[test]
fn powerless() {
    let Some(room) = std::env::var_os(POWERLESS) else {
        return;
    };
    let room = Path::new(&room);
    let errors = [
        mount::check_permitted().unwrap_err(),
        LoopDevice::attach(&room.join("file")).unwrap_err(),
        Mount::new(
            Path::new("/dev/loop0"),
            &room.join("disk"),
            FileSystem::Ext4,
        )
        .unwrap_err(),
        cmkit_scratch::FuseMount::start(memory(MIB), &room.join("fuse"))
            .err()
            .unwrap(),
    ];
    for error in errors {
        assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
        assert!(error.to_string().contains("NBD"), "{error}");
    }
}

#[test]
fn without_rights_there_is_advice() {
    if !common::need_root() || !common::need("setpriv") {
        return;
    }
    let room = tempfile::tempdir().unwrap();
    dirs(&room);
    fs::write(room.path().join("file"), [0; 4096]).unwrap();
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(common::find("setpriv").unwrap());
    command.args(["--bounding-set=-sys_admin"]).arg(program);
    let output = command
        .args(["--exact", "powerless"])
        .env(POWERLESS, room.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Set in the child that is killed: the directory to work in.
const VICTIM: &str = "CMKIT_TEST_SCRATCH_VICTIM";

/// The child of the next test.
#[test]
fn victim() {
    let Some(room) = std::env::var_os(VICTIM) else {
        return;
    };
    let room = Path::new(&room);
    let disk = memory(64 * MIB);
    let fuse = cmkit_scratch::FuseMount::start(disk, &room.join("fuse")).unwrap();
    let device = LoopDevice::attach(&fuse.file()).unwrap();
    FileSystem::Ext4
        .make(device.path(), Content::Zeros)
        .unwrap();
    let mount = Mount::new(device.path(), &room.join("disk"), FileSystem::Ext4).unwrap();
    fs::write(room.join("device"), device.path().to_str().unwrap()).unwrap();
    fs::rename(room.join("device"), room.join("ready")).unwrap();
    loop {
        std::thread::park();
        assert!(mount.dir().exists());
    }
}

/// Takes away whatever the child left.
struct Leftovers<'a>(&'a Path);

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        let (fuse, dir) = (self.0.join("fuse"), self.0.join("disk"));
        for device in loop_device::find(&fuse.join("disk")) {
            let _ = mount::unmount_path_lazily(&dir, &device);
            let _ = loop_device::detach_path(&device, &fuse.join("disk"), soon());
        }
        let _ = mount::unmount_path_lazily(&fuse, Path::new("cmkit-scratch"));
    }
}

#[test]
fn a_killed_daemon_gives_errors_and_leaves_what_can_be_cleared() {
    if !common::need_root() || !common::need("mkfs.ext4") {
        return;
    }
    let room = tempfile::tempdir().unwrap();
    let (fuse, dir) = dirs(&room);
    let leftovers = Leftovers(room.path());
    let mut command = Command::new(std::env::current_exe().unwrap());
    let command = command.args(["--exact", "victim"]).env(VICTIM, room.path());
    let mut victim = User(command.stdout(Stdio::null()).spawn().unwrap());
    let ready = room.path().join("ready");
    let late = soon();
    while !ready.exists() {
        assert!(
            Instant::now() < late && victim.0.try_wait().unwrap().is_none(),
            "no disk"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let device = fs::read_to_string(&ready).unwrap();
    let device = Path::new(&device);
    fs::write(dir.join("file"), vec![7; MIB]).unwrap();
    drop(victim);

    let synced = fs::File::create(dir.join("other")).and_then(|file| file.sync_all());
    assert!(synced.is_err());
    assert!(fs::metadata(fuse.join("disk")).is_err());
    assert!(
        cmkit_scratch::FuseMount::start(memory(MIB), &fuse)
            .is_err_and(|e| e.kind() == ErrorKind::Busy)
    );
    mount::unmount_path(&dir, device, soon()).unwrap();
    loop_device::detach_path(device, &fuse.join("disk"), soon()).unwrap();
    mount::unmount_path(&fuse, Path::new("cmkit-scratch"), soon()).unwrap();
    assert!(fs::read_dir(&fuse).unwrap().next().is_none());
    drop(leftovers);
}

#[test]
fn fio_verifies_what_it_wrote() {
    if !common::need_root() || !common::need("fio") || !common::need("mkfs.xfs") {
        return;
    }
    let mounted = Mounted::new(memory(320 * MIB), FileSystem::Xfs);
    let args = [
        "--name=verify",
        "--ioengine=libaio",
        "--direct=1",
        "--iodepth=8",
        "--rw=randwrite",
        "--bsrange=4k-256k",
        "--size=64M",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--randseed=7",
        "--verify_state_save=0",
        &format!("--directory={}", mounted.mount.dir().display()),
    ];
    run_program("fio", &args);
    mounted.end();
}

#[test]
fn stress_ng_verifies_what_it_wrote() {
    if !common::need_root() || !common::need("stress-ng") || !common::need("mkfs.ext4") {
        return;
    }
    let mounted = Mounted::new(memory(256 * MIB), FileSystem::Ext4);
    let args = [
        "--hdd",
        "2",
        "--hdd-bytes",
        "48M",
        "--hdd-ops",
        "3000",
        "--verify",
        "--timeout",
        "60",
        "--temp-path",
        mounted.mount.dir().to_str().unwrap(),
    ];
    run_program("stress-ng", &args);
    mounted.end();
}

#[test]
fn fsx_finds_nothing_on_a_mounted_disk() {
    if !common::need_root() || !common::need("fsx") || !common::need("mkfs.ext4") {
        return;
    }
    let mounted = Mounted::new(memory(64 * MIB), FileSystem::Ext4);
    let config = mounted.room.path().join("fsx.toml");
    fs::write(&config, "flen = 1048576\n[weights]\nclose_open = 1.0\ninvalidate = 1.0\nfsync = 1.0\npunch_hole = 3.0\nposix_fallocate = 1.0\n").unwrap();
    let file = mounted.mount.dir().join("x");
    run_program(
        "fsx",
        &[
            "-S",
            "7",
            "-N",
            "5000",
            "-f",
            config.to_str().unwrap(),
            file.to_str().unwrap(),
        ],
    );
    mounted.end();
}
