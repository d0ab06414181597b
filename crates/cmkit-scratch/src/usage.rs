//! Who uses a file system or a device: for sentences that say whom to ask.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::mount::table::{self, Table};

/// No more are named.
const MOST: usize = 5;

/// Something that keeps a file system or device busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// A process, and what it does there.
    Process {
        pid: u32,
        command: String,
        how: &'static str,
    },
    /// Another file system, mounted below it or from it.
    Mount { dir: String },
    /// A loop device over a file in it.
    Loop { device: String },
    /// A mount namespace in which it is still mounted, by a process in it.
    Namespace { pid: u32, command: String },
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, command, how } => write!(f, "{command} (pid {pid}, {how})"),
            Self::Mount { dir } => write!(f, "what is mounted at {dir}"),
            Self::Loop { device } => write!(f, "the loop device {device}"),
            Self::Namespace { pid, command } => {
                write!(f, "the mount namespace of {command} (pid {pid})")
            }
        }
    }
}

/// A list for a sentence: the first few, and how many more there are.
pub(crate) fn list(users: &[User]) -> String {
    if users.is_empty() {
        return "something that can't be seen from here".into();
    }
    let mut named: Vec<String> = users.iter().take(MOST).map(User::to_string).collect();
    if users.len() > MOST {
        named.push(format!("{} more", users.len() - MOST));
    }
    named.join(", ")
}

/// Who uses the file system with this device number that is mounted at `dir`.
pub(crate) fn of_file_system(device: (u32, u32), dir: &Path, table: &Table) -> Vec<User> {
    let mut users: Vec<User> = processes(|stat| (stat.stx_dev_major, stat.stx_dev_minor) == device);
    users.extend(mapped(device));
    let below = table.below(dir).map(|entry| User::Mount {
        dir: entry.dir.display().to_string(),
    });
    users.extend(below);
    let loops = crate::loop_device::all().into_iter();
    let inside = loops.filter(|(_, backing)| backing.starts_with(dir));
    users.extend(inside.map(|(device, _)| User::Loop {
        device: device.display().to_string(),
    }));
    unique(users)
}

/// Who uses a block device: those who have it open, or have it mounted, in any mount namespace.
pub(crate) fn of_device(device: (u32, u32), table: &Table) -> Vec<User> {
    let mounts = table.of_device(device).map(|entry| User::Mount {
        dir: entry.dir.display().to_string(),
    });
    let mut users: Vec<User> = mounts.collect();
    let is_block = |mode: u16| rustix::fs::FileType::from_raw_mode(mode.into()).is_block_device();
    users.extend(processes(|stat| {
        is_block(stat.stx_mode) && (stat.stx_rdev_major, stat.stx_rdev_minor) == device
    }));
    if users.is_empty() {
        users.extend(namespaces(device));
    }
    unique(users)
}

/// Each process once: with its working directory rather than with one of its files.
fn unique(users: Vec<User>) -> Vec<User> {
    let mut kept: Vec<User> = Vec::new();
    for user in users {
        let again = kept.iter().any(|other| match (other, &user) {
            (User::Process { pid: a, .. }, User::Process { pid: b, .. }) => a == b,
            (a, b) => a == b,
        });
        if !again {
            kept.push(user);
        }
    }
    kept
}

/// The processes with a directory, program or open file that `matches`.
fn processes(matches: impl Fn(&rustix::fs::Statx) -> bool) -> Vec<User> {
    // Without asking a server: a file of a network that hangs would hang this as well.
    let is = |path: &Path| {
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE).is_ok_and(|stat| matches(&stat))
    };
    let mut users = Vec::new();
    for (pid, dir) in all_processes() {
        let links = [
            ("cwd", "works in it"),
            ("root", "is rooted in it"),
            ("exe", "runs from it"),
        ];
        let link = links.iter().find(|(link, _)| is(&dir.join(link)));
        let how = link.map(|(_, how)| *how).or_else(|| {
            let mut files = fs::read_dir(dir.join("fd")).ok()?.flatten();
            files
                .any(|file| is(&file.path()))
                .then_some("has a file open")
        });
        if let Some(how) = how {
            users.push(User::Process {
                pid,
                command: command(&dir),
                how,
            });
        }
    }
    users
}

/// The processes that have a file of a file system mapped, and perhaps not open.
fn mapped(device: (u32, u32)) -> Vec<User> {
    let device = format!("{:02x}:{:02x}", device.0, device.1);
    let maps = |dir: &Path| {
        // "start-end perms offset dev inode path"
        let text = fs::read(dir.join("maps")).unwrap_or_default();
        text.split(|b| *b == b'\n').any(|line| {
            line.split(|b| *b == b' ')
                .nth(3)
                .is_some_and(|field| field == device.as_bytes())
        })
    };
    let users = all_processes().filter(|(_, dir)| maps(dir));
    users
        .map(|(pid, dir)| User::Process {
            pid,
            command: command(&dir),
            how: "has a file mapped",
        })
        .collect()
}

/// The mount namespaces, other than this one, in which a device is mounted: one process of each.
fn namespaces(device: (u32, u32)) -> Vec<User> {
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let mut seen = vec![own];
    let mut users = Vec::new();
    for (pid, dir) in all_processes() {
        let Ok(namespace) = fs::read_link(dir.join("ns/mnt")) else {
            continue;
        };
        if seen.contains(&Some(namespace.clone())) {
            continue;
        }
        seen.push(Some(namespace));
        let table = Table::parse(&fs::read(dir.join("mountinfo")).unwrap_or_default());
        if table.of_device(device).next().is_some() {
            users.push(User::Namespace {
                pid,
                command: command(&dir),
            });
        }
    }
    users
}

fn all_processes() -> impl Iterator<Item = (u32, std::path::PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

/// A process's own name for itself, which may be anything: control characters are not repeated.
fn command(dir: &Path) -> String {
    let name = fs::read(dir.join("comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    name.trim()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// The swap areas in use (proc_swaps(5)).
pub(crate) fn swaps() -> Vec<std::path::PathBuf> {
    let text = fs::read("/proc/swaps").unwrap_or_default();
    let lines = text.split(|b| *b == b'\n').skip(1);
    lines
        .filter_map(|line| line.split(|b| *b == b' ' || *b == b'\t').next())
        .filter(|path| !path.is_empty())
        .map(table::unescape)
        .collect()
}

/// The name of a block device in `/sys`, by its number.
pub(crate) fn sys_dir(device: (u32, u32)) -> std::path::PathBuf {
    let number = format!("/sys/dev/block/{}:{}", device.0, device.1);
    Path::new(OsStr::from_bytes(number.as_bytes())).to_owned()
}
