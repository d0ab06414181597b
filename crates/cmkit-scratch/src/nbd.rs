//! A server for the network block device protocol on a Unix socket.

mod connection;
mod errno;
mod export;
mod handshake;
mod options;
mod pool;
mod protocol;
mod reply;
mod request;
mod server;
mod session;
mod socket;
mod wire;

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use cmkit::{Error, Result};

use self::export::Export;
use self::protocol::STRING_MAX;
use self::server::{Shared, value};
use self::socket::BoundSocket;
pub(crate) use self::socket::remove_stale;
use crate::device::BlockDevice;

const MAX_CONNECTIONS: usize = 64;

/// Serves a [`BlockDevice`] to NBD clients: qemu, libnbd, nbdkit, fio, and the kernel's `nbd-client`.
///
/// The protocol is the fixed newstyle with structured replies, block status (`base:allocation`) and several connections for a client. Requests may
/// begin and end at any byte, are best whole blocks, and have 32 MiB at most (what clients are told; up to 64 MiB are accepted).
///
/// Each connection has a thread, and one whose device [is blocking](crate::Geometry::is_blocking) up to 16 more. A connection that breaks the protocol, or
/// goes away in the middle of a request, ends; of a write larger than 64 KiB a part may have been written then. No other connection notices.
///
/// What clients get for a device's errors, with the error's sentence where they asked for structured replies:
///
/// | error | on the wire |
/// |---|---|
/// | [`InvalidArgument`](Error::InvalidArgument) | EINVAL; beyond the end ENOSPC for writes |
/// | [`InvalidState`](Error::InvalidState): the disk was destroyed | ESHUTDOWN |
/// | [`Policy`](Error::Policy), [`NotPermitted`](Error::NotPermitted), a read-only disk | EPERM |
/// | [`Io`](Error::Io) | ENOSPC where the medium or quota is full, EPERM where access is denied, else EIO |
/// | [`DamagedBlock`](Error::DamagedBlock), [`Provider`](Error::Provider) and all others | EIO |
///
/// Dropping it is [`stop`](Self::stop).
///
/// ```
/// use std::sync::Arc;
/// use cmkit_scratch::{MemoryBacking, NbdServer, PlainDevice};
///
/// let directory = tempfile::tempdir()?;
/// let disk = Arc::new(PlainDevice::new(MemoryBacking::new(1 << 20)));
/// let server = NbdServer::builder(disk).name("scratch").start(directory.path().join("nbd"))?;
/// // nbdinfo 'nbd+unix:///scratch?socket=…/nbd'
/// server.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NbdServer {
    shared: Arc<Shared>,
    socket: Arc<BoundSocket>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    process: u32,
}

impl NbdServer {
    /// What is served, and to whom.
    pub fn builder(device: Arc<dyn BlockDevice>) -> NbdServerBuilder {
        NbdServerBuilder {
            device,
            name: String::new(),
            description: String::new(),
            max_connections: MAX_CONNECTIONS,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket.path
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> NbdStats {
        let counters = &self.shared.export.counters;
        NbdStats {
            connections: self.shared.connections(),
            accepted: value(&self.shared.accepted),
            refused: value(&self.shared.refused),
            broken: value(&self.shared.broken),
            requests: value(&counters.requests),
            failed: value(&counters.failed),
            read: value(&counters.read),
            written: value(&counters.written),
        }
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// * [`Error::Io`]: it stopped because no clients can be accepted any more.
    /// * [`Error::InvalidState`]: this is a forked child, where it doesn't run.
    pub fn wait(&self) -> Result<()> {
        if self.is_child() {
            return Err(Error::InvalidState {
                problem: "the server runs in the process that started it, not in its forked child",
            });
        }
        self.shared.wait()
    }

    /// Accepts no more clients, answers the requests that have come in, ends all connections and removes the socket, if it is still this server's.
    ///
    /// Clients have a second to take their last replies. A request that the device doesn't return from is waited for. In a forked child nothing is done.
    pub fn stop(&self) {
        if self.is_child() {
            return;
        }
        let accepting = self.accepting.lock();
        let mut accepting = accepting.unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = accepting.take() {
            self.shared.stop(&self.socket.listener);
            // Before the wait for a device that may never answer.
            self.socket.remove();
            // What panicked there has been said.
            let _ = thread.join();
        }
    }

    fn is_child(&self) -> bool {
        process::id() != self.process
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for NbdServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NbdServer")
            .field("socket", &self.socket.path)
            .finish_non_exhaustive()
    }
}

/// What an [`NbdServer`] serves, and to whom.
#[must_use]
pub struct NbdServerBuilder {
    device: Arc<dyn BlockDevice>,
    name: String,
    description: String,
    max_connections: usize,
    uid: u32,
}

impl NbdServerBuilder {
    /// The export's name, 4096 bytes at most; empty if not set. The empty name means this export, too.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What people are told of the export, 4096 bytes at most.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// How many clients may be connected at once, at least 1; 64 if not set. A client beyond that is told so.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// The user who may connect, besides root; the process's effective one if not set. Others need the socket's permissions, too, which are 0600.
    pub fn allowed_uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// Listens at `socket`, 107 bytes at most, and serves on threads of its own. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the path, a name or the limit is out of range.
    /// * [`Error::Busy`]: somebody serves there already.
    /// * [`Error::AlreadyExists`]: something else is there.
    /// * [`Error::Io`]: the socket can't be made, or no thread started.
    pub fn start(self, socket: impl AsRef<Path>) -> Result<NbdServer> {
        if self.max_connections == 0 {
            return Err(Error::InvalidArgument {
                problem: "an NBD server needs at least one connection".to_owned(),
            });
        }
        let (uid, max_connections) = (self.uid, self.max_connections);
        let export = self.export()?;
        let socket = Arc::new(BoundSocket::bind(socket.as_ref())?);
        let shared = Arc::new(Shared::new(export, max_connections, uid));
        let (for_thread, listening) = (Arc::clone(&shared), Arc::clone(&socket));
        let spawned = thread::Builder::new()
            .name("cmkit-nbd-accept".to_owned())
            .spawn(move || for_thread.accept(&listening.listener));
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => {
                socket.remove();
                return Err(Error::Io {
                    operation: "start a thread for NBD clients",
                    path: None,
                    source: Arc::new(error),
                });
            }
        };
        Ok(NbdServer {
            shared,
            socket,
            accepting: Mutex::new(Some(thread)),
            process: process::id(),
        })
    }

    /// Serves one client on a connected stream socket, on this thread, until it leaves. Who it is isn't checked.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: a name is out of range.
    /// * [`Error::Io`]: the client broke the protocol, or went away in the middle of a request.
    pub fn serve_connection(self, stream: &UnixStream) -> Result<()> {
        let export = self.export()?;
        let served = connection::serve(stream, &export);
        // The client may be gone.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        served.map_err(|error| Error::Io {
            operation: "serve an NBD client",
            path: None,
            source: Arc::new(error),
        })
    }

    fn export(self) -> Result<Export> {
        for (what, text) in [("name", &self.name), ("description", &self.description)] {
            if text.len() > STRING_MAX || text.contains('\0') {
                return Err(Error::InvalidArgument {
                    problem: format!(
                        "an export's {what} has at most {STRING_MAX} bytes and none of them is zero"
                    ),
                });
            }
        }
        Ok(Export::new(self.device, self.name, self.description))
    }
}

/// What an [`NbdServer`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NbdStats {
    /// Clients that are connected.
    pub connections: usize,
    /// Clients that were connected, with these.
    pub accepted: u64,
    /// Clients that weren't let in: another user's, or beyond the limit.
    pub refused: u64,
    /// Connections that ended in the middle of a request or because the client broke the protocol.
    pub broken: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// Bytes that were asked for.
    pub read: u64,
    /// Bytes that were written.
    pub written: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryBacking, PlainDevice};

    #[test]
    fn a_forked_child_leaves_the_server_to_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nbd");
        let disk = Arc::new(PlainDevice::new(MemoryBacking::new(1 << 20)));
        let mut server = NbdServer::builder(disk).start(&path).unwrap();
        // As in a child, whose number is another.
        let parent = std::mem::replace(&mut server.process, 0);
        server.stop();
        let state = server.wait();
        assert!(
            matches!(state, Err(Error::InvalidState { .. })),
            "{state:?}"
        );
        UnixStream::connect(&path).unwrap();
        server.process = parent;
        drop(server);
        assert!(!path.exists());
    }
}
