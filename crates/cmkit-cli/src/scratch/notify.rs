//! Telling systemd, for units of `Type=notify` (sd_notify(3)).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The disk can be used.
pub(super) fn ready() {
    tell("READY=1");
}

/// It is being erased.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

/// Nobody asked, mostly; and who did and doesn't listen misses nothing else.
fn tell(what: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&socket),
    };
    let told = UnixDatagram::unbound()
        .and_then(|datagram| datagram.send_to_addr(what.as_bytes(), &address?));
    drop(told);
}
