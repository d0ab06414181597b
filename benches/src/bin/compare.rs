//! Measures cmkit side by side with what it is made of and with its peers, and prints a table and JSON.
//!
//! `cargo run --release -p cmkit-bench --bin compare [-- --only SUBJECT] [--quick] [--json FILE]`; subjects: body, document, c, seek, vault, blocks,
//! command, disk, nbd, fuse, cold; `--quick` leaves out the last five. Needs `taskset`, a C compiler for the C call, the `cmkit` command in the same target
//! directory (built here when missing); and for the rows of peers `age`, OpenSSL's headers, fio, nbdkit, qemu-utils, gocryptfs and root.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use cmkit_bench::cases::{Row, blocks, body, c_call, command, document, key_vault, seek, served};
use cmkit_bench::machine;
use serde_json::json;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.iter().any(|a| a == "--body-times") {
        body::print_times();
        return ExitCode::SUCCESS;
    }
    let value = |flag: &str| {
        args.iter()
            .position(|a| a == flag)
            .and_then(|i| args.get(i + 1))
    };
    let only = value("--only").map(String::as_str);
    let quick = args.iter().any(|a| a == "--quick");
    let slow = ["command", "disk", "nbd", "fuse", "cold"];
    let wanted = |subject: &str| only.map_or(!(quick && slow.contains(&subject)), |o| o == subject);

    let target = env::current_exe()
        .expect("own path")
        .parent()
        .expect("a folder")
        .to_owned();
    let memory = temporary("/dev/shm");
    let disk = temporary("/var/tmp");
    let mut rows: Vec<Row> = Vec::new();
    if wanted("body") {
        rows.extend(body::rows());
    }
    if wanted("document") {
        rows.extend(document::rows());
    }
    if wanted("c") {
        rows.extend(c_call::rows(&build_c_program(memory.path())));
    }
    if wanted("seek") {
        rows.extend(seek::rows(memory.path()));
    }
    if wanted("vault") {
        rows.extend(key_vault::rows());
    }
    if wanted("blocks") {
        let openssl = build_xts_program(memory.path());
        rows.extend(blocks::rows(openssl.as_deref(), memory.path()));
    }
    if wanted("nbd") {
        rows.extend(served::nbd_rows(temporary("/dev/shm").path()));
    }
    if wanted("fuse") {
        rows.extend(served::fuse_rows(temporary("/dev/shm").path()));
    }
    if wanted("cold") {
        rows.extend(served::cold_rows(disk.path()));
    }
    if wanted("command") || wanted("disk") {
        cargo(&["build", "--release", "-p", "cmkit-cli"]);
    }
    if wanted("command") {
        rows.extend(command::rows(memory.path(), false, &target.join("cmkit")));
    }
    if wanted("disk") {
        rows.extend(command::rows(disk.path(), true, &target.join("cmkit")));
    }

    let machine = machine::describe();
    println!("{machine}\n");
    println!("| what | cmkit | peer | figure | target | |\n|---|---|---|---|---|---|");
    for r in &rows {
        let verdict = if r.reached() { "reached" } else { "MISSED" };
        println!(
            "| {} | {} | {} | {:.2} | {} | {verdict} |",
            r.what,
            r.ours,
            r.peer,
            r.figure,
            r.target_text()
        );
    }
    let report =
        json!({ "machine": machine, "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>() });
    match value("--json") {
        Some(path) => std::fs::write(path, format!("{report:#}\n")).expect("the JSON file"),
        None => println!("\n{report:#}"),
    }
    ExitCode::SUCCESS
}

fn temporary(parent: &str) -> tempfile::TempDir {
    tempfile::tempdir_in(parent)
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory")
}

fn cargo(args: &[&str]) {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    assert!(
        Command::new(cargo)
            .args(args)
            .status()
            .is_ok_and(|s| s.success()),
        "cargo {args:?}"
    );
}

/// `benches/c/call.c`, compiled against the library of the same profile.
fn build_c_program(dir: &Path) -> PathBuf {
    cargo(&["build", "--release", "-p", "cmkit-c"]);
    let target = env::current_exe()
        .expect("own path")
        .parent()
        .expect("a folder")
        .to_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = dir.join("call");
    // The loader looks for the SONAME, which is not what Cargo calls the file.
    let library = target.join("libcmkit_c.so");
    std::os::unix::fs::symlink(library, dir.join("libcmkit.so.0.1")).expect("a link");
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(root.join("c/call.c"))
        .arg("-I")
        .arg(root.join("../include"))
        .arg(target.join("libcmkit_c.so"))
        .arg(format!("-Wl,-rpath,{}", dir.display()))
        .status();
    assert!(status.is_ok_and(|s| s.success()), "cc");
    program
}

/// `benches/c/xts.c`, where OpenSSL's headers are.
fn build_xts_program(dir: &Path) -> Option<PathBuf> {
    let program = dir.join("xts");
    let built = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("c/xts.c"))
        .arg("-lcrypto")
        .status();
    if built.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    eprintln!(
        "OpenSSL can't be compiled against: its rows are missing (apt-get install libssl-dev)"
    );
    None
}
