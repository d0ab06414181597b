//! The NBD server with the clients that people use.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cmkit_scratch::{MemoryBacking, NbdServer, PlainDevice};
use tempfile::TempDir;

use crate::common::{need, noise, run, run_failing, wait_until};

const MIB: usize = 1 << 20;

/// A disk of 64 MiB, called "disk".
struct Served {
    directory: TempDir,
    server: NbdServer,
}

fn served() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(PlainDevice::new(MemoryBacking::new(64 * MIB)));
    let builder = NbdServer::builder(disk)
        .name("disk")
        .description("for tests");
    let server = builder.start(directory.path().join("nbd")).unwrap();
    Served { directory, server }
}

impl Served {
    fn uri(&self) -> String {
        uri(self.server.socket())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// That no client broke the protocol or was refused.
    fn assert_orderly(&self) {
        let stats = self.server.stats();
        assert_eq!((stats.broken, stats.refused), (0, 0), "{stats:?}");
        assert!(stats.requests > 0);
    }
}

fn uri(socket: &Path) -> String {
    format!("nbd+unix:///disk?socket={}", socket.display())
}

fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args);
    command
}

#[test]
fn nbdinfo_shows_it() {
    if !need("nbdinfo") {
        return;
    }
    let served = served();
    let uri = served.uri();
    let json = run(&mut program("nbdinfo", &["--json", &uri]));
    for fact in [
        r#""export-name": "disk""#,
        r#""description": "for tests""#,
        r#""structured": true"#,
        r#""export-size": 67108864"#,
        r#""block_size_minimum": 1"#,
        r#""block_size_preferred": 4096"#,
        r#""block_size_maximum": 33554432"#,
        r#""can_multi_conn": true"#,
        r#""is_read_only": false"#,
        r#""base:allocation""#,
    ] {
        assert!(json.contains(fact), "{fact}: {json}");
    }
    let map = run(&mut program("nbdinfo", &["--map", &uri]));
    let fields: Vec<_> = map.split_whitespace().collect();
    assert_eq!(fields, ["0", "67108864", "0", "data"]);
    let list = run(&mut program("nbdinfo", &["--list", &uri]));
    assert!(list.contains("export=\"disk\""), "{list}");
    let size = run(&mut program("nbdinfo", &["--size", &uri]));
    assert_eq!(size.trim(), "67108864");
    let wrong = uri.replace("///disk", "///other");
    let said = run_failing(&mut program("nbdinfo", &[&wrong]));
    assert!(said.contains("No such file or directory"), "{said}");
    served.assert_orderly();
}

#[test]
fn nbdcopy_copies_in_and_out() {
    if !need("nbdcopy") {
        return;
    }
    let served = served();
    let (from, to) = (served.file("from"), served.file("to"));
    let mut data = noise(64 * MIB, 1);
    data[MIB..20 * MIB].fill(0);
    std::fs::write(&from, &data).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    for connections in ["1", "4"] {
        let option = format!("--connections={connections}");
        run(&mut program(
            "nbdcopy",
            &["--flush", &option, from, &served.uri()],
        ));
        run(&mut program("nbdcopy", &[&option, &served.uri(), to]));
        assert!(std::fs::read(to).unwrap() == data);
    }
    run(&mut program(
        "nbdcopy",
        &["--synchronous", &served.uri(), to],
    ));
    assert!(std::fs::read(to).unwrap() == data);
    served.assert_orderly();
}

#[test]
fn qemu_img_converts_and_compares() {
    if !need("qemu-img") {
        return;
    }
    let served = served();
    let from = served.file("from");
    let mut data = noise(64 * MIB, 2);
    data[5 * MIB..40 * MIB].fill(0);
    std::fs::write(&from, &data).unwrap();
    let (from, uri) = (from.to_str().unwrap(), served.uri());
    let raw = |first: &str, rest: &[&str]| run(program("qemu-img", &[first]).args(rest));
    assert!(raw("info", &["--output=json", &uri]).contains("67108864"));
    raw("convert", &["-n", "-f", "raw", "-O", "raw", from, &uri]);
    raw("compare", &["-f", "raw", "-F", "raw", from, &uri]);
    let map = raw("map", &["--output=json", "-f", "raw", &uri]);
    assert!(map.contains("\"length\": 67108864"), "{map}");
    let back = served.file("back");
    raw(
        "convert",
        &["-f", "raw", "-O", "raw", &uri, back.to_str().unwrap()],
    );
    assert!(std::fs::read(back).unwrap() == data);
    for options in [&["-w"][..], &[], &["-w", "--flush-interval=100"]] {
        let ways = ["-f", "raw", "-c", "2000", "-d", "16", "-s", "4096"];
        run(program("qemu-img", &["bench"])
            .args(ways)
            .args(options)
            .arg(&uri));
    }
    served.assert_orderly();
}

#[test]
fn qemu_io_reads_what_it_wrote() {
    if !need("qemu-io") {
        return;
    }
    let served = served();
    let said = run(program("qemu-io", &["-f", "raw"])
        .args(["-c", "write -P 0x11 0 3M", "-c", "write -f -P 0x22 1M 64k"])
        .args([
            "-c",
            "write -z 2M 64k",
            "-c",
            "write -z -u 2200k 4k",
            "-c",
            "discard 10M 1M",
        ])
        .args([
            "-c",
            "flush",
            "-c",
            "read -P 0x11 0 1M",
            "-c",
            "read -P 0x22 1M 64k",
        ])
        .args([
            "-c",
            "read -P 0 2M 64k",
            "-c",
            "read -P 0 2200k 4k",
            "-c",
            "read -P 0x11 1100k 512",
        ])
        .args([
            "-c",
            "aio_write -P 0x33 20M 1M",
            "-c",
            "aio_write -P 0x44 22M 512",
        ])
        .args([
            "-c",
            "aio_flush",
            "-c",
            "read -P 0x33 20M 1M",
            "-c",
            "read -P 0x44 22M 512",
        ])
        .arg(served.uri()));
    assert!(!said.contains("failed"), "{said}");
    served.assert_orderly();
}

#[test]
fn libnbd_for_python_gets_all_it_asks_for() {
    if !need("/usr/bin/python3") {
        return;
    }
    let import = Command::new("/usr/bin/python3")
        .args(["-c", "import nbd"])
        .output();
    if !common::skip_unless(
        import.unwrap().status.success(),
        "python3-libnbd isn't installed",
    ) {
        return;
    }
    let served = served();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nbd_peers/libnbd.py");
    let said = run(Command::new("/usr/bin/python3")
        .arg(script)
        .arg(served.uri()));
    assert_eq!(said.trim(), "ok");
}

#[test]
fn fio_verifies_what_it_wrote() {
    if !need("fio") {
        return;
    }
    let served = served();
    let uri = format!("--uri={}", served.uri());
    let common = [
        "--ioengine=nbd",
        &uri,
        "--size=64M",
        "--iodepth=16",
        "--randseed=1",
    ];
    let verify = ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1"];
    for job in [
        &[
            "--name=mix",
            "--rw=randwrite",
            "--bsrange=512-1M",
            "--bs_unaligned=1",
        ][..],
        &["--name=small", "--rw=randwrite", "--bs=4k", "--io_size=32M"],
        &[
            "--name=split",
            "--rw=randrw",
            "--bssplit=512/20:4k/40:64k/20:256k/20",
            "--fsync=32",
        ],
        &["--name=large", "--rw=write", "--bs=1M"],
        &["--name=trim", "--rw=randtrimwrite", "--bs=64k"],
    ] {
        let mut command = program("fio", &common);
        command.args(job).current_dir(served.directory.path());
        if !job[0].contains("trim") {
            command.args(verify);
        }
        let said = run(&mut command);
        assert!(said.contains("err= 0"), "{said}");
    }
    served.assert_orderly();
}

/// nbdkit as a client of ours, and server of others.
struct Kit(Child);

impl Drop for Kit {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kit(served: &Served, socket: &Path, filters: &[&str], options: &[&str]) -> Kit {
    let mut command = program("nbdkit", &["-f", "-U"]);
    command.arg(socket).args(["-e", "disk"]);
    command.args(filters.iter().map(|filter| format!("--filter={filter}")));
    command
        .args(["nbd", &format!("uri={}", served.uri())])
        .args(options);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let kit = Kit(child.unwrap());
    wait_until(|| socket.exists());
    kit
}

#[test]
fn nbdkits_filters_pass_through() {
    if !need("nbdkit") || !need("nbdcopy") {
        return;
    }
    let served = served();
    let (from, to, log) = (served.file("from"), served.file("to"), served.file("stats"));
    let data = noise(64 * MIB, 3);
    std::fs::write(&from, &data).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let stats = format!("statsfile={}", log.display());
    let ways: [(&[&str], &[&str]); 3] = [
        (&["stats"], &[&stats]),
        (&["delay"], &["rdelay=1ms", "wdelay=1ms"]),
        (&["checkwrite"], &[]),
    ];
    for (number, (filters, options)) in ways.into_iter().enumerate() {
        let socket = served.file(&format!("kit{number}"));
        let kit = kit(&served, &socket, filters, options);
        let through = uri(&socket);
        // checkwrite compares what is written with what the first round left, so that it is read back.
        run(&mut program("nbdcopy", &["--flush", from, &through]));
        run(&mut program("nbdcopy", &[&through, to]));
        assert!(std::fs::read(to).unwrap() == data, "{filters:?}");
        drop(kit);
    }
    let socket = served.file("kit-error");
    let kit = kit(
        &served,
        &socket,
        &["error"],
        &["error=EIO", "error-rate=50%"],
    );
    run_failing(&mut program("nbdcopy", &[from, &uri(&socket)]));
    drop(kit);
    run(&mut program("nbdcopy", &[&served.uri(), to]));
    assert!(std::fs::read(to).unwrap() == data);
}
