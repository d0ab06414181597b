//! Whole disks under fio: over NBD against our own server without encryption, nbdkit and qemu-nbd with LUKS; over FUSE and a loop device against the same without
//! encryption and gocryptfs; and one that isn't in any cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cmkit_scratch::{
    BlockDevice, Content, FileBacking, FileSystem, FuseMount, LoopDevice, Mount, NbdServer,
    PlainDevice, Volume, VolumeMode, VolumeSpec,
};

use super::{Row, Target};
use crate::fio::{self, Run, is_there};
use crate::measure::RUNS;

const SIZE: u64 = 1 << 30;
const PASSPHRASE: &str = "benchmark";

/// The work, fio's name and block size.
const SEQUENTIAL: [(&str, &str); 2] = [("write", "1M"), ("read", "1M")];
const RANDOM: [(&str, &str); 2] = [("randwrite", "4k"), ("randread", "4k")];

/// Something that is measured, with what it takes to run.
struct Subject {
    name: &'static str,
    args: Vec<String>,
    _server: Server,
}

/// Taken down when dropped.
enum Server {
    Ours(#[expect(dead_code, reason = "held")] NbdServer),
    Theirs(Child),
    Disk(
        #[expect(dead_code, reason = "held, from the inside to the outside")] Mount,
        #[expect(dead_code, reason = "held")] LoopDevice,
        #[expect(dead_code, reason = "held")] Box<FuseMount>,
    ),
    Mounted(PathBuf),
}

impl Drop for Server {
    fn drop(&mut self) {
        match self {
            Self::Theirs(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Mounted(dir) => {
                let _ = Command::new("umount").arg(dir).status();
            }
            Self::Ours(_) | Self::Disk(..) => {}
        }
    }
}

fn nbd(socket: &Path) -> Vec<String> {
    vec![
        "--ioengine=nbd".into(),
        format!("--uri=nbd+unix:///?socket={}", socket.display()),
        format!("--size={SIZE}"),
    ]
}

fn encrypted(backing: FileBacking) -> Arc<dyn BlockDevice> {
    Arc::new(Volume::create(Box::new(backing), &VolumeSpec::default()).expect("a volume"))
}

fn in_xts(backing: FileBacking) -> Arc<dyn BlockDevice> {
    let spec = VolumeSpec::new(VolumeMode::Xts(cmkit::SectorSize::B4096));
    Arc::new(Volume::create(Box::new(backing), &spec).expect("a volume"))
}

fn plain(backing: FileBacking) -> Arc<dyn BlockDevice> {
    Arc::new(PlainDevice::new(backing))
}

fn ours(
    name: &'static str,
    dir: &Path,
    device: impl FnOnce(FileBacking) -> Arc<dyn BlockDevice>,
) -> Subject {
    let socket = dir.join(format!("{}.sock", name.replace(' ', "-")));
    let backing = FileBacking::anonymous(dir, SIZE).expect("a file");
    let server = NbdServer::builder(device(backing))
        .start(&socket)
        .expect("a server");
    Subject {
        name,
        args: nbd(&socket),
        _server: Server::Ours(server),
    }
}

/// A peer's server, once its socket is there.
fn theirs(name: &'static str, dir: &Path, command: &mut Command, socket: &Path) -> Subject {
    let log = fs::File::create(dir.join("peer.log")).expect("a log");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("a peer");
    let server = Server::Theirs(child);
    let until = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < until, "{name} doesn't serve");
        thread::sleep(Duration::from_millis(20));
    }
    Subject {
        name,
        args: nbd(socket),
        _server: server,
    }
}

fn nbdkit_file(dir: &Path, file: &Path) -> Subject {
    let socket = dir.join("nbdkit.sock");
    let mut command = Command::new("nbdkit");
    command
        .arg("-f")
        .arg("-U")
        .arg(&socket)
        .arg("file")
        .arg(file);
    theirs("nbdkit file", dir, &mut command, &socket)
}

fn luks_image(dir: &Path) -> PathBuf {
    let image = dir.join("luks.img");
    let status = Command::new("qemu-img")
        .args(["create", "-q", "-f", "luks", "--object"])
        .arg(format!("secret,id=s,data={PASSPHRASE}"))
        .args([
            "-o",
            "key-secret=s,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=10",
        ])
        .arg(&image)
        .arg(SIZE.to_string())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "qemu-img");
    image
}

fn nbdkit_luks(dir: &Path, image: &Path) -> Subject {
    let socket = dir.join("luks.sock");
    let mut command = Command::new("nbdkit");
    command
        .arg("-f")
        .arg("-U")
        .arg(&socket)
        .arg("--filter=luks")
        .arg("file")
        .arg(image);
    command.arg(format!("passphrase={PASSPHRASE}"));
    theirs("nbdkit luks", dir, &mut command, &socket)
}

fn qemu_luks(dir: &Path, image: &Path) -> Subject {
    let socket = dir.join("qemu.sock");
    let mut command = Command::new("qemu-nbd");
    command.args(["--persistent", "--shared=4", "--object"]);
    command.arg(format!("secret,id=s,data={PASSPHRASE}"));
    command.arg("--image-opts").arg(format!(
        "driver=luks,file.filename={},key-secret=s",
        image.display()
    ));
    command.arg("-k").arg(&socket);
    theirs("qemu-nbd LUKS", dir, &mut command, &socket)
}

/// The medians of five runs of each, which take turns.
fn measure(subjects: &[Subject], work: &[(&str, &str)]) -> Vec<Vec<Run>> {
    let mut all = Vec::new();
    for (rw, block) in work {
        // What isn't written yet would be read without the disk.
        for subject in subjects.iter().filter(|_| rw.contains("read")) {
            let mut args = subject.args.clone();
            args.extend([
                "--time_based=0".into(),
                "--runtime=0".into(),
                "--ramp_time=0".into(),
            ]);
            let _ = fio::run("write", "1M", &args);
        }
        let mut runs = vec![Vec::new(); subjects.len()];
        for _ in 0..RUNS {
            for (subject, runs) in subjects.iter().zip(&mut runs) {
                runs.push(fio::run(rw, block, &subject.args));
            }
        }
        all.push(runs.into_iter().map(median).collect());
    }
    all
}

fn median(mut runs: Vec<Run>) -> Run {
    let middle = |runs: &mut Vec<Run>, of: fn(&Run) -> f64| {
        runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&runs[runs.len() / 2])
    };
    Run {
        mib: middle(&mut runs, |run| run.mib),
        iops: middle(&mut runs, |run| run.iops),
        p99: middle(&mut runs, |run| run.p99),
    }
}

fn bandwidth_row(what: String, ours: Run, peer: Run, target: f64) -> Row {
    Row {
        what,
        ours: format!("{:.0} MiB/s", ours.mib),
        peer: format!("{:.0} MiB/s", peer.mib),
        figure: ours.mib / peer.mib,
        target: Target::AtLeast(target),
    }
}

fn iops_row(what: String, ours: Run, peer: Run, target: f64) -> Row {
    Row {
        what,
        ours: format!("{:.1} k/s", ours.iops / 1e3),
        peer: format!("{:.1} k/s", peer.iops / 1e3),
        figure: ours.iops / peer.iops,
        target: Target::AtLeast(target),
    }
}

/// Over NBD, the disks in memory.
///
/// # Panics
/// When something fails that shouldn't.
#[must_use]
pub fn nbd_rows(memory: &Path) -> Vec<Row> {
    if !["fio", "nbdkit", "qemu-nbd", "qemu-img"]
        .iter()
        .all(|p| is_there(p))
    {
        eprintln!("fio, nbdkit or qemu-utils is not installed: the rows over NBD are missing");
        return Vec::new();
    }
    let image = luks_image(memory);
    let (first, second) = (memory.join("luks.img"), memory.join("luks2.img"));
    fs::copy(&image, &second).expect("a copy");
    let subjects = [
        ours("ephemeral", memory, encrypted),
        ours("unencrypted", memory, plain),
        ours("xts", memory, in_xts),
        nbdkit_luks(memory, &first),
        qemu_luks(memory, &second),
    ];
    let sequential = measure(&subjects, &SEQUENTIAL);
    let random = measure(&subjects, &RANDOM);
    // With AVX-512 the encryption itself is so fast that more of the server's speed is left.
    let own = if is_x86_with_avx512() { 0.65 } else { 0.55 };
    let mut rows = Vec::new();
    for ((rw, _), runs) in SEQUENTIAL.iter().zip(&sequential) {
        for (peer, target) in [(1, own), (3, 2.0), (4, 4.0)] {
            let what = format!("NBD, {rw} 1 MiB, ephemeral / {}", subjects[peer].name);
            rows.push(bandwidth_row(what, runs[0], runs[peer], target));
        }
        let what = format!("NBD, {rw} 1 MiB, XTS / {}", subjects[1].name);
        rows.push(bandwidth_row(what, runs[2], runs[1], 0.0));
    }
    for ((rw, _), runs) in RANDOM.iter().zip(&random) {
        for (peer, target) in [(1, 0.85), (3, 2.0), (4, 3.5)] {
            let what = format!("NBD, {rw} 4 KiB, ephemeral / {}", subjects[peer].name);
            rows.push(iops_row(what, runs[0], runs[peer], target));
        }
        rows.push(Row {
            what: format!("NBD, {rw} 4 KiB, ephemeral, p99, ms"),
            ours: format!("{:.3} ms", runs[0].p99),
            peer: format!("{:.3} ms", runs[1].p99),
            figure: runs[0].p99,
            target: Target::AtMost(0.5),
        });
    }
    rows
}

/// Random reads of a disk that is in no cache, on a disk of the machine.
///
/// # Panics
/// When something fails that shouldn't.
#[must_use]
pub fn cold_rows(disk: &Path) -> Vec<Row> {
    if !["fio", "nbdkit"].iter().all(|p| is_there(p))
        || fs::write("/proc/sys/vm/drop_caches", "1").is_err()
    {
        eprintln!("fio, nbdkit or root is missing: the row of a cold disk is missing");
        return Vec::new();
    }
    let file = disk.join("plain.img");
    fs::File::create(&file)
        .and_then(|f| f.set_len(SIZE))
        .expect("a file");
    let subjects = [ours("ephemeral", disk, encrypted), nbdkit_file(disk, &file)];
    for subject in &subjects {
        let mut args = subject.args.clone();
        args.extend([
            "--time_based=0".into(),
            "--runtime=0".into(),
            "--ramp_time=0".into(),
            "--end_fsync=1".into(),
        ]);
        let _ = fio::run("write", "1M", &args);
    }
    let mut runs = vec![Vec::new(); 2];
    for _ in 0..RUNS {
        for (subject, runs) in subjects.iter().zip(&mut runs) {
            let _ = Command::new("sync").status();
            fs::write("/proc/sys/vm/drop_caches", "1").expect("root");
            runs.push(fio::run("randread", "4k", &subject.args));
        }
    }
    let [a, b] = [0, 1].map(|i| median(runs[i].clone()));
    vec![iops_row(
        "cold disk, NBD, randread 4 KiB, ephemeral / nbdkit file, unencrypted".into(),
        a,
        b,
        0.9,
    )]
}

/// A mounted ext4 over FUSE and a loop device, in memory.
///
/// # Panics
/// When something fails that shouldn't.
#[must_use]
pub fn fuse_rows(memory: &Path) -> Vec<Row> {
    let programs = ["fio", "gocryptfs", "losetup", "mkfs.ext4"];
    if !programs.iter().all(|p| is_there(p)) || cmkit_scratch::mount::check_permitted().is_err() {
        eprintln!("fio, gocryptfs, FUSE or root is missing: the rows over FUSE are missing");
        return Vec::new();
    }
    let subjects = [
        mounted("ephemeral", memory, encrypted),
        mounted("unencrypted", memory, plain),
        gocryptfs(memory),
    ];
    let sequential = measure(&subjects, &SEQUENTIAL);
    let mut rows = Vec::new();
    for ((rw, _), runs) in SEQUENTIAL.iter().zip(&sequential) {
        for (peer, target) in [(1, 0.85), (2, 2.0)] {
            let what = format!(
                "FUSE + loop + ext4, {rw} 1 MiB, ephemeral / {}",
                subjects[peer].name
            );
            rows.push(bandwidth_row(what, runs[0], runs[peer], target));
        }
    }
    rows
}

fn on_file(dir: &Path, engine: &[&str]) -> Vec<String> {
    let mut args = vec![
        format!("--filename={}", dir.join("file").display()),
        format!("--size={}", SIZE / 2),
    ];
    args.extend(engine.iter().map(ToString::to_string));
    args
}

fn mounted(
    name: &'static str,
    memory: &Path,
    device: impl FnOnce(FileBacking) -> Arc<dyn BlockDevice>,
) -> Subject {
    let dir = |kind: &str| {
        let dir = memory.join(format!("{name}-{kind}"));
        fs::create_dir(&dir).expect("a directory");
        dir
    };
    let backing = FileBacking::anonymous(memory, SIZE).expect("a file");
    let fuse = FuseMount::start(device(backing), &dir("fuse")).expect("FUSE");
    let device = LoopDevice::attach(&fuse.file()).expect("a loop device");
    FileSystem::Ext4
        .make(device.path(), Content::Zeros)
        .expect("ext4");
    let dir = dir("mnt");
    let mount = Mount::new(device.path(), &dir, FileSystem::Ext4).expect("a mount");
    Subject {
        name,
        args: on_file(&dir, &["--ioengine=libaio", "--direct=1"]),
        _server: Server::Disk(mount, device, Box::new(fuse)),
    }
}

fn gocryptfs(memory: &Path) -> Subject {
    let (cipher, dir) = (memory.join("gocryptfs"), memory.join("gocryptfs-mnt"));
    for dir in [&cipher, &dir] {
        fs::create_dir(dir).expect("a directory");
    }
    let run = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|s| s.success()), "gocryptfs");
    };
    let echo = format!("echo {PASSPHRASE}");
    run(Command::new("gocryptfs")
        .args(["-init", "-q", "-scryptn", "10", "-extpass", &echo])
        .arg(&cipher));
    run(Command::new("gocryptfs")
        .args(["-q", "-extpass", &echo])
        .arg(&cipher)
        .arg(&dir));
    Subject {
        name: "gocryptfs",
        // It takes no direct I/O on 6.x kernels everywhere; what was written is synced, what is read leaves the cache first.
        args: on_file(
            &dir,
            &[
                "--ioengine=psync",
                "--direct=0",
                "--end_fsync=1",
                "--invalidate=1",
            ],
        ),
        _server: Server::Mounted(dir),
    }
}

fn is_x86_with_avx512() -> bool {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.contains(" avx512f ")
}
