//! How fast a disk is over FUSE and a loop device. Run by hand, in a release build:
//! `cargo test --release -p cmkit-scratch --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use cmkit_scratch::mount::Lazily;
use cmkit_scratch::{BlockDevice, FuseMount, LoopDevice, PlainDevice};

use common::disk::{FileBacking, MIB, dirs, memory, soon};

const LEN: usize = 1024 * MIB;

#[test]
#[ignore = "takes a minute and a quiet machine"]
fn fio_over_fuse_and_loop() {
    assert!(common::need_root() && common::need("fio"));
    let room = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = FileBacking::create(&room.path().join("backing"), LEN as u64);
    measure("memory", memory(LEN));
    measure("file on tmpfs", Arc::new(PlainDevice::new(file)));
}

fn measure(name: &str, disk: Arc<dyn BlockDevice>) {
    let room = tempfile::tempdir().unwrap();
    let (dir, _) = dirs(&room);
    let mut fuse = FuseMount::start(disk, &dir).unwrap();
    let mut device = LoopDevice::attach(&fuse.file()).unwrap();
    for (pattern, block, unit) in [
        ("write", "1M", 7),
        ("read", "1M", 7),
        ("randwrite", "4k", 8),
        ("randread", "4k", 8),
    ] {
        let write = usize::from(pattern.contains("write"));
        let args = [
            "--name=x",
            "--minimal",
            "--direct=1",
            "--ioengine=libaio",
            "--iodepth=16",
            "--time_based",
            "--runtime=4",
            &format!("--rw={pattern}"),
            &format!("--bs={block}"),
            &format!("--filename={}", device.path().display()),
        ];
        let said = common::run_program("fio", &args).stdout;
        let said = String::from_utf8(said).unwrap();
        let fields: Vec<&str> = said.lines().last().unwrap().split(';').collect();
        // Of terse output, version 3: KiB/s and IOPS of reads are the 7th and 8th fields, those of writes 41 further on.
        let value: u64 = fields[unit - 1 + 41 * write].parse().unwrap();
        let (value, unit) = if unit == 7 {
            (value / 1024, "MiB/s")
        } else {
            (value, "IOPS")
        };
        println!("{name:16} {pattern:10} {block:>3} {value:8} {unit}");
    }
    device.detach(soon()).unwrap();
    fuse.unmount(Lazily::No).unwrap();
}
