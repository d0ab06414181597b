//! The server's socket in the file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cmkit::{Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// Bytes in a socket's path: what the system's address has room for, without the zero at its end.
const PATH_MAX: usize = 107;
/// Clients that wait until they are accepted.
const BACKLOG: i32 = 128;
/// How long another server may take to start in the same directory.
const OTHERS_START: Duration = Duration::from_secs(5);

/// A listening socket, and how to know its file again.
pub(super) struct BoundSocket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    file: (u64, u64),
}

impl BoundSocket {
    /// Listens at `path`, for this user only. A socket that nobody listens on any more is replaced.
    pub(super) fn bind(path: &Path) -> Result<Self> {
        check_path(path)?;
        let failed = |operation, error: io::Error| Error::Io {
            operation,
            path: Some(path.to_owned()),
            source: Arc::new(error),
        };
        // Between bind and listen, our socket looks like one that nobody listens on: servers that start in one directory take turns.
        let turn = wait_for_turn(path)?;
        let socket = match open_at(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                check_stale(path)?;
                match fs::remove_file(path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("replace the old socket", e));
                    }
                    _ => open_at(path),
                }
            }
            other => other,
        };
        let socket = socket.map_err(|e| failed("make the socket", e))?;
        let found = fs::symlink_metadata(path).map_err(|e| failed("make the socket", e))?;
        listen(&socket, BACKLOG).map_err(|e| failed("listen on the socket", e.into()))?;
        drop(turn);
        Ok(Self {
            listener: socket.into(),
            path: path.to_owned(),
            file: (found.dev(), found.ino()),
        })
    }

    /// Removes the file, if it is still ours.
    pub(super) fn remove(&self) {
        let Ok(found) = fs::symlink_metadata(&self.path) else {
            return;
        };
        if (found.dev(), found.ino()) == self.file {
            // Whoever starts next replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn check_path(path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let problem = if bytes.is_empty() {
        "the socket's path is empty".to_owned()
    } else if bytes.contains(&0) {
        "the socket's path has a zero byte in it".to_owned()
    } else if bytes.len() > PATH_MAX {
        format!(
            "the socket's path has {} bytes and the system allows {PATH_MAX}: {}",
            bytes.len(),
            path.display()
        )
    } else {
        return Ok(());
    };
    Err(Error::InvalidArgument { problem })
}

/// A socket with a file. The mode of the former becomes that of the latter, so that at no time others can connect.
fn open_at(path: &Path) -> io::Result<OwnedFd> {
    let kind = SocketType::STREAM;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// That what is at `path` is a socket which nobody listens on.
fn check_stale(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::AlreadyExists {
                what: format!("{}, which is no socket,", path.display()),
            });
        }
        Ok(_) => {}
        Err(_) => return Ok(()),
    }
    let problem = match is_served(path) {
        Ok(true) => format!(
            "{}: somebody serves at this socket already; stop that server or choose another path",
            path.display()
        ),
        Ok(false) => return Ok(()),
        Err(error) => format!(
            "{}: there is a socket and it can't be told whether somebody serves there ({error}); remove it or choose another path",
            path.display()
        ),
    };
    Err(Error::Busy { problem })
}

/// Whether somebody listens at a socket. Never waits: not for one whose queue is full either.
fn is_served(path: &Path) -> Result<bool, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a socket that nobody listens on any more. Anything else: nothing.
pub(crate) fn remove_stale(path: &Path) -> Result<()> {
    let is_socket = |path| fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if !is_socket(path) {
        return Ok(());
    }
    // One that begins looks like one that has ended.
    let _turn = wait_for_turn(path)?;
    let cannot = |error: io::Error| crate::failure::io_at("remove", path, error);
    match is_served(path) {
        // Of another kind: not ours.
        Ok(true) | Err(Errno::PROTOTYPE) => Ok(()),
        Ok(false) if !is_socket(path) => Ok(()),
        Ok(false) => fs::remove_file(path).map_err(cannot),
        Err(error) => Err(cannot(error.into())),
    }
}

/// Waits for the turn to start a server in this directory; it ends when the file is closed. Where the directory can't be opened there are no turns.
fn wait_for_turn(path: &Path) -> Result<Option<File>> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or(0);
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(parent);
    let Ok(directory) = opened else {
        return Ok(None);
    };
    let deadline = Instant::now() + OTHERS_START;
    loop {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(directory)),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Busy {
                    problem: format!(
                        "{}: another process holds a lock on this directory, in which the socket is to be; choose another one",
                        parent.display()
                    ),
                });
            }
            // A file system without locks.
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name| dir.path().join(name);
        remove_stale(&at("none")).unwrap();
        fs::write(at("file"), "").unwrap();
        drop(UnixListener::bind(at("stale")).unwrap());
        let _served = UnixListener::bind(at("served")).unwrap();
        let _other = UnixDatagram::bind(at("datagrams")).unwrap();
        // Nobody accepts, and its queue is full: connecting would wait.
        let full = open_at(&at("full")).unwrap();
        listen(&full, 0).unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
                let socket = socket.unwrap();
                let _ = connect(&socket, &SocketAddrUnix::new(at("full")).unwrap());
                socket
            })
            .collect();
        for name in ["file", "stale", "served", "datagrams", "full"] {
            remove_stale(&at(name)).unwrap();
            assert_eq!(at(name).exists(), name != "stale", "{name}");
        }
        assert_eq!(
            check_stale(&at("full")).unwrap_err().kind(),
            cmkit::ErrorKind::Busy
        );
        drop(waiting);
    }
}
