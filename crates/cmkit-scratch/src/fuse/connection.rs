//! A connection to the kernel's FUSE, mounted on a directory.
//!
//! Not by fuser: that unmounts whatever is on the directory when a session is dropped, though its own file system has left long ago.

use std::fs::OpenOptions;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use cmkit::{Error, Result};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::failure::io_at;
use crate::program;

const DEVICE: &str = "/dev/fuse";

/// Mounts a FUSE file system that waits for its server on a directory, under this name in the mount table.
pub(super) fn mount(dir: &Path, source: &str, read_only: bool) -> Result<OwnedFd> {
    match directly(dir, source, read_only) {
        // Others may through the program that is root.
        Err(Errno::PERM) => through_program(dir, source, read_only),
        other => other.map_err(|errno| cannot_mount(dir, errno.into())),
    }
}

fn directly(dir: &Path, source: &str, read_only: bool) -> Result<OwnedFd, Errno> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    let device = device.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let mut flags =
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    // mount.fuse(8); the root is a directory.
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions\0",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    let data = std::ffi::CStr::from_bytes_with_nul(data.as_bytes()).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, dir, "fuse", flags, data)?;
    Ok(device.into())
}

/// `fusermount3` mounts, and sends the connection through the socket that it is told of.
fn through_program(dir: &Path, source: &str, read_only: bool) -> Result<OwnedFd> {
    let (ours, its) = UnixStream::pair().map_err(|e| io_at("mount", dir, e))?;
    let access = if read_only { "ro" } else { "rw" };
    let options =
        format!("fsname={source},default_permissions,nodev,nosuid,noexec,noatime,{access}");
    let args = [b"-o", options.as_bytes(), b"--", dir.as_os_str().as_bytes()];
    let args = args.map(std::ffi::OsStr::from_bytes);
    // Its standard input is the one descriptor that it can be given by safe means.
    let variable = ("_FUSE_COMMFD", "0");
    program::run_with("fusermount3", &args, its.into(), variable, dir)
        .map_err(|error| explained(dir, &error))?;
    received(&ours)
        .map_err(|e| io_at("mount", dir, e.into()))?
        .ok_or_else(|| explained(dir, &"fusermount3 sent no connection"))
}

fn received(socket: &UnixStream) -> Result<Option<OwnedFd>, Errno> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let into = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// A sentence for the system's error.
pub(super) fn cannot_mount(dir: &Path, error: io::Error) -> Error {
    if std::fs::metadata(DEVICE).is_err() {
        return explained(
            dir,
            &"this system has no /dev/fuse (load the kernel's module `fuse`, or give the device to the container)",
        );
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => explained(dir, &error),
        _ => io_at("mount", dir, error),
    }
}

fn explained(dir: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::NotPermitted {
        problem: format!(
            "{}: can't mount a disk's file: {why}; be root, or install Debian's package fuse3; or serve the disk over NBD, which needs neither",
            dir.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gives_a_connection_too() {
        if !crate::mount::may_administrate() || !Path::new("/usr/bin/fusermount3").exists() {
            assert!(std::env::var_os("CI").is_none());
            eprintln!("skipped: needs root and fusermount3");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let connection = through_program(dir.path(), "cmkit-scratch-x", true).unwrap();
        let source = Path::new("cmkit-scratch-x");
        let table = crate::mount::table::read().unwrap();
        assert_eq!(table.on_top(dir.path()).unwrap().source, source);
        drop(connection);
        crate::mount::unmount_path_lazily(dir.path(), source).unwrap();

        let error = through_program(&dir.path().join("none"), "x", false).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
