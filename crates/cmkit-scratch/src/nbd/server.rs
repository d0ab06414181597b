//! Clients, accepted and counted.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cmkit::{Error, Result};
use rustix::net::sockopt::socket_peercred;

use super::connection;
use super::export::{Export, count};

/// Clients beyond the limit that are being told so at once. Others are just closed.
const REFUSALS: usize = 8;
/// How long to wait when the system has no room for another client.
const NO_ROOM: Duration = Duration::from_millis(50);
/// How long clients have to take their last replies when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// What the server's threads share.
pub(super) struct Shared {
    pub(super) export: Export,
    pub(super) max_connections: usize,
    pub(super) uid: u32,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) broken: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    clients: HashMap<u64, Arc<UnixStream>>,
    refusals: usize,
    stopping: bool,
    stopped: bool,
    failed: Option<Error>,
}

impl Shared {
    pub(super) fn new(export: Export, max_connections: usize, uid: u32) -> Self {
        Self {
            export,
            max_connections,
            uid,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connections(&self) -> usize {
        let state = self.lock();
        state.clients.len() - state.refusals
    }

    /// Accepts clients until the server stops; returns when all are gone.
    pub(super) fn accept(self: &Arc<Self>, listener: &UnixListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let accepted = listener.accept();
            if self.lock().stopping {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            match accepted {
                Ok((stream, _)) => threads.extend(self.admit(stream)),
                Err(error) if is_passing(&error) => thread::sleep(NO_ROOM),
                Err(error) => {
                    self.lock().failed = Some(Error::Io {
                        operation: "accept NBD clients",
                        path: None,
                        source: Arc::new(error),
                    });
                    break;
                }
            }
        }
        for thread in threads {
            // What panicked there has been said, and concerned one client.
            let _ = thread.join();
        }
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Gives a client a thread.
    fn admit(self: &Arc<Self>, stream: UnixStream) -> Option<JoinHandle<()>> {
        let peer = socket_peercred(&stream).map(|peer| peer.uid);
        let allowed = peer.is_ok_and(|uid| uid.is_root() || uid.as_raw() == self.uid);
        if !allowed {
            count(&self.refused, 1);
            return None;
        }
        let stream = Arc::new(stream);
        let mut state = self.lock();
        if state.stopping {
            // Nobody would end it.
            return None;
        }
        let full = state.clients.len() - state.refusals >= self.max_connections;
        if full {
            count(&self.refused, 1);
            if state.refusals >= REFUSALS {
                return None;
            }
            state.refusals += 1;
        }
        let number = state.next;
        state.next += 1;
        state.clients.insert(number, Arc::clone(&stream));
        drop(state);
        let leave = Leave {
            shared: Arc::clone(self),
            number,
            full,
            stream,
        };
        let spawned = thread::Builder::new()
            .name("cmkit-nbd".to_owned())
            .spawn(move || leave.serve());
        if spawned.is_ok() && !full {
            count(&self.accepted, 1);
        }
        // Without a thread the client has been let go.
        spawned.ok()
    }

    /// Has the threads end: no more clients, no more requests, and after a while no more replies.
    pub(super) fn stop(&self, listener: &UnixListener) {
        let mut state = self.lock();
        state.stopping = true;
        // Wakes the thread that accepts.
        let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        close_all(&state, Shutdown::Read);
        let waited = self
            .changed
            .wait_timeout_while(state, GRACE, |state| !state.clients.is_empty());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        close_all(&state, Shutdown::Both);
    }

    /// Waits until the server has stopped.
    pub(super) fn wait(&self) -> Result<()> {
        let waited = self.changed.wait_while(self.lock(), |state| !state.stopped);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.failed.clone().map_or(Ok(()), Err)
    }
}

fn close_all(state: &State, how: Shutdown) {
    for stream in state.clients.values() {
        // The client may be gone.
        let _ = stream.shutdown(how);
    }
}

/// Whether accepting may succeed later: the client went away, or there is no room now.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
    ];
    let found = Errno::from_io_error(error);
    found.is_some_and(|errno| passing.contains(&errno))
}

/// A client's place, which it leaves also on panic.
struct Leave {
    shared: Arc<Shared>,
    number: u64,
    full: bool,
    stream: Arc<UnixStream>,
}

impl Leave {
    fn serve(self) {
        let export = &self.shared.export;
        if self.full {
            let why = format!(
                "the server has {} connections, which is its limit; try again later",
                self.shared.max_connections
            );
            // It knows now, or doesn't listen.
            let _ = connection::refuse(&self.stream, export, &why);
        } else if connection::serve(&self.stream, export).is_err() {
            count(&self.shared.broken, 1);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        // A forked child may hold the socket open: closing it wouldn't be enough.
        let _ = self.stream.shutdown(Shutdown::Both);
        let mut state = self.shared.lock();
        state.clients.remove(&self.number);
        state.refusals -= usize::from(self.full);
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// A counter's value.
pub(super) fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryBacking, PlainDevice};

    #[test]
    fn a_client_that_comes_during_a_stop_is_let_go() {
        let disk = Arc::new(PlainDevice::new(MemoryBacking::new(4096)));
        let uid = rustix::process::geteuid().as_raw();
        let export = Export::new(disk, String::new(), String::new());
        let shared = Arc::new(Shared::new(export, 1, uid));
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("nbd")).unwrap();
        // Accepted before, admitted after.
        let (_client, stream) = UnixStream::pair().unwrap();
        shared.stop(&listener);
        assert!(shared.admit(stream).is_none());
        assert_eq!(shared.connections(), 0);
    }
}
