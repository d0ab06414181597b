//! Installs what the other pieces need on a Debian machine that has Rust, a C compiler and Python.
//! Everything but the Debian packages goes into the target directory. Quick when all is there.

use std::fs;
use std::path::Path;

use crate::work::{self, Result, Work, no_args, output, succeeds};

/// Programs that the pieces start, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("c++", "g++"),
    ("make", "make"),
    ("cmake", "cmake"),
    ("git", "git"),
    ("pkg-config", "pkg-config"),
    ("valgrind", "valgrind"),
    ("python3", "python3"),
    // What scratch disks are made with, and what tries them.
    ("blkid", "util-linux"),
    ("losetup", "mount"),
    ("sfdisk", "fdisk"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("fusermount3", "fuse3"),
    ("cryptsetup", "cryptsetup-bin"),
    ("fio", "fio"),
    ("stress-ng", "stress-ng"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdkit", "nbdkit"),
    ("qemu-img", "qemu-utils"),
    ("gocryptfs", "gocryptfs"),
];

/// Modules of the system's Python, and the Debian packages that have them.
const MODULES: &[(&str, &str)] = &[("nbd", "python3-libnbd")];

/// Where those modules are: not in the `python3` that the `PATH` may have before it.
const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// The tools of `xtask/tools.txt`: program, crate, version.
const TOOLS: &[(&str, &str, &str)] = &[
    ("typos", "typos-cli", "1.52.0"),
    ("cargo-deny", "cargo-deny", "0.20.2"),
    ("cargo-fuzz", "cargo-fuzz", "0.13.2"),
];

/// Tools that have to be compiled everywhere: program, crate, version.
const COMPILED: &[(&str, &str, &str)] = &[("fsx", "fsx", "0.3.2")];

const REQUIREMENTS: &str = "tests/requirements.txt";
const TOOL_LIST: &str = "xtask/tools.txt";

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    debian_packages(work)?;
    python(work)?;
    tools(work)?;
    compiled(work)
}

fn debian_packages(work: &Work) -> Result {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    // Debian splits the module that makes virtual environments from Python itself.
    let venv = "import ensurepip, venv";
    if !succeeds(work.command("python3").args(["-c", venv])) {
        packages.push("python3-venv");
    }
    for (module, package) in MODULES {
        let import = format!("import {module}");
        if !succeeds(work.command(SYSTEM_PYTHON).args(["-c", &import])) {
            packages.push(package);
        }
    }
    if packages.is_empty() {
        eprintln!("Debian packages: all there");
        return Ok(());
    }
    if !on_path("apt-get") {
        let list = packages.join(", ");
        return Err(format!("please install what Debian calls: {list}").into());
    }
    apt_get(work, &["update", "-qq"])?;
    let mut install = vec!["install", "-qq", "--yes", "--no-install-recommends"];
    install.extend(packages);
    apt_get(work, &install)
}

fn apt_get(work: &Work, args: &[&str]) -> Result {
    let mut command = if output(work.command("id").arg("-u"))?.trim() == "0" {
        work.command("apt-get")
    } else {
        let mut sudo = work.command("sudo");
        sudo.args(["--non-interactive", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
    work::run(&mut command)
}

/// The virtual environment with the packages of `tests/requirements.txt`.
fn python(work: &Work) -> Result {
    let facts = "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or later is needed'; \
                 print(sys.version, sys.executable)";
    let python = output(work.command("python3").args(["-c", facts]))?;
    let wanted = python + &fs::read_to_string(work.existing(REQUIREMENTS)?)?;
    let stamp = work.venv().join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        eprintln!("Python packages: all there");
        return Ok(());
    }
    let mut venv = work.command("python3");
    work::run(venv.args(["-m", "venv", "--clear"]).arg(work.venv()))?;
    let mut pip = work.tool("pip")?;
    work::run(pip.args(["install", "--quiet", "--requirement", REQUIREMENTS]))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// The tools: prebuilt where there is a wheel for this machine, else compiled.
fn tools(work: &Work) -> Result {
    let wanted = fs::read_to_string(work.existing(TOOL_LIST)?)?;
    let stamp = work.venv().join("tools.txt");
    let all_there = TOOLS
        .iter()
        .all(|(program, ..)| work.find_tool(program).is_some());
    if all_there && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        eprintln!("tools: all there");
        return Ok(());
    }
    let mut pip = work.tool("pip")?;
    pip.args([
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]);
    if work::run(pip.args(["--requirement", TOOL_LIST])).is_err() {
        eprintln!("no prebuilt tools for this machine: compiling them");
        for (_, package, version) in TOOLS {
            compile(work, package, version, "release")?;
        }
    }
    fs::write(stamp, wanted)?;
    Ok(())
}

fn compiled(work: &Work) -> Result {
    for (program, package, version) in COMPILED {
        if work.find_tool(program).is_none() {
            // It does little but wait for disks: half the time to compile.
            compile(work, package, version, "dev")?;
        }
    }
    Ok(())
}

fn compile(work: &Work, package: &str, version: &str, profile: &str) -> Result {
    let mut install = work.cargo(["install", "--locked", "--version", version, package]);
    install.args(["--profile", profile]);
    work::run(install.arg("--root").arg(work.tools()))
}

fn on_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    // A user's `PATH` is without those for root's programs.
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let mut dirs = std::env::split_paths(&paths).chain(system);
    dirs.any(|dir| is_file(&dir.join(program)))
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}
