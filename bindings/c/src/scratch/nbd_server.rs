//! Serving a volume over NBD.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::Arc;

use cmkit_scratch::{BlockDevice, Durability, Extent, Geometry, NbdServer, Volume, Zeroes};

use super::reentry;
use super::volume::{cmk_volume, key_of};
use crate::arg::{self, Handle};
use crate::call::{Outcome, invalid, wrong_state};
use crate::error::{c_string, cmk_error};
use crate::result::cmk_result;
use crate::structure::Structure;

/// What a server tells its clients, and whom it lets in. Fill it with zeros, set struct_size, then the members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_nbd_options {
    /// sizeof(cmk_nbd_options).
    pub struct_size: usize,
    /// The export's name, 4096 bytes at most; NULL: empty. The empty name means this export, too.
    pub name: *const c_char,
    /// What people are told of the export, 4096 bytes at most, or NULL.
    pub description: *const c_char,
    /// How many clients may be connected at once. 0: 64.
    pub max_connections: u32,
    /// The user who may connect, besides root. 0: this process's effective one. Others need the socket's permissions, too, which are 0600.
    pub allowed_uid: u32,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL and 0.
unsafe impl Structure for cmk_nbd_options {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// What a server has done so far. Fill it with zeros and set struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_nbd_counters {
    /// sizeof(cmk_nbd_counters).
    pub struct_size: usize,
    /// Clients that are connected.
    pub connections: u64,
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
    pub bytes_read: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
}

// SAFETY: `repr(C)` with the size first; zeros are 0.
unsafe impl Structure for cmk_nbd_counters {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// A server for the network block device protocol on a Unix socket, with threads of its own, which have the signal mask of the thread that started it. Any number of threads may use it. It
/// belongs to the process that started it: in a forked child cmk_nbd_server_stop is CMK_ERR_INVALID_STATE, and cmk_nbd_server_free leaves the parent's socket alone.
pub struct cmk_nbd_server {
    server: NbdServer,
    socket: CString,
    volume: usize,
    process: u32,
}

impl Handle for cmk_nbd_server {
    /// A request's callback that ends the server would wait for itself.
    fn in_use(&self) -> bool {
        reentry::is_inside(self.volume)
    }
}

/// A volume whose callbacks, on a server's threads, can't call it either.
struct Served(Arc<Volume>);

impl Served {
    fn inside<T>(&self, call: impl FnOnce(&Volume) -> cmkit::Result<T>) -> cmkit::Result<T> {
        let _inside = reentry::enter_quietly(key_of(&self.0));
        call(&self.0)
    }
}

impl BlockDevice for Served {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> cmkit::Result<()> {
        self.inside(|volume| volume.read_at(data, offset))
    }

    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> cmkit::Result<()> {
        self.inside(|volume| volume.write_at(data, offset, durability))
    }

    fn write_from(
        &self,
        data: &mut [u8],
        offset: u64,
        durability: Durability,
    ) -> cmkit::Result<()> {
        self.inside(|volume| volume.write_from(data, offset, durability))
    }

    fn flush(&self) -> cmkit::Result<()> {
        self.inside(Volume::flush)
    }

    fn discard(&self, offset: u64, len: u64) -> cmkit::Result<()> {
        self.inside(|volume| volume.discard(offset, len))
    }

    fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
        durability: Durability,
    ) -> cmkit::Result<()> {
        self.inside(|volume| volume.write_zeroes(offset, len, zeroes, durability))
    }

    fn extents(
        &self,
        offset: u64,
        len: u64,
        found: &mut dyn FnMut(Extent) -> bool,
    ) -> cmkit::Result<()> {
        self.inside(|volume| volume.extents(offset, len, found))
    }
}

/// Serves a volume at `socket`, a path of 107 bytes at most. `options` may be NULL. The volume may be freed: it and its key then go with the server. A socket that nobody listens on any more is
/// replaced.
///
/// CMK_ERR_BUSY: somebody serves there already. CMK_ERR_ALREADY_EXISTS: something else is there. CMK_ERR_INVALID_ARGUMENT: the path or a name is too long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_nbd_server_start(
    volume: *const cmk_volume,
    socket: *const c_char,
    options: *const cmk_nbd_options,
    out: *mut *mut cmk_nbd_server,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); volume = shared(volume); socket = path(socket); options = optional_structure(options); => {
        volume.check_process()?;
        let key = key_of(&volume.volume);
        let mut builder = NbdServer::builder(Arc::new(Served(Arc::clone(&volume.volume))));
        if let Some(options) = options {
            // SAFETY: the header asks the caller that these are NULL or point to strings.
            let (name, description) = unsafe {
                (arg::optional_text("name", options.name)?, arg::optional_text("description", options.description)?)
            };
            builder = builder.name(name.unwrap_or_default()).description(description.unwrap_or_default());
            if options.max_connections > 0 {
                let most = usize::try_from(options.max_connections);
                builder = builder.max_connections(most.map_err(|_| invalid("max_connections is too large"))?);
            }
            if options.allowed_uid > 0 {
                builder = builder.allowed_uid(options.allowed_uid);
            }
        }
        let server = builder.start(socket)?;
        *out = Box::into_raw(Box::new(cmk_nbd_server {
            socket: c_string(server.socket().as_os_str().as_bytes()),
            server,
            volume: key,
            process: std::process::id(),
        }));
        Ok(())
    })
}

/// Where it listens. Lives as long as the server; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_nbd_server_socket(server: *const cmk_nbd_server) -> *const c_char {
    value!(ptr::null(); server = shared(server); => server.socket.as_ptr())
}

fn check_process(server: &cmk_nbd_server) -> Outcome {
    if std::process::id() == server.process {
        return Ok(());
    }
    Err(wrong_state(
        "this server runs in the process that forked this one",
    ))
}

/// What it has done so far, also when it has stopped. In a forked child CMK_ERR_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_nbd_server_stats(
    server: *const cmk_nbd_server,
    out: *mut cmk_nbd_counters,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = out_structure(out); server = shared(server); => {
        check_process(server)?;
        let stats = server.server.stats();
        out.set(&cmk_nbd_counters {
            struct_size: 0,
            connections: stats.connections as u64,
            accepted: stats.accepted,
            refused: stats.refused,
            broken: stats.broken,
            requests: stats.requests,
            failed: stats.failed,
            bytes_read: stats.read,
            bytes_written: stats.written,
        });
        Ok(())
    })
}

/// Accepts no more clients, answers the requests that have come in, ends all connections and removes the socket. A request that the volume's backing doesn't return from is waited for:
/// where that can happen, cmk_volume_destroy comes first. A second time it does nothing. From a callback of the volume's backing or keyring it is CMK_ERR_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_nbd_server_stop(
    server: *const cmk_nbd_server,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; server = shared(server); => {
        check_process(server)?;
        if server.in_use() {
            return Err(wrong_state("a callback of the volume can't stop its server, which would wait for itself"));
        }
        server.server.stop();
        Ok(())
    })
}

/// Stops it and ends the handle. In a forked child nothing outside of its memory changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_nbd_server_free(server: *mut cmk_nbd_server) {
    free!(server)
}
