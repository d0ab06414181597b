//! Clients that leave when nobody expects it.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cmkit::Error;
use cmkit_scratch::NbdServer;

use crate::client::{
    CACHE, Client, DISC, FLUSH, FUA, READ, STATUS, TRIM, WRITE, ZEROES, go_data, option_bytes,
    queries, request_bytes,
};
use crate::common::{noise, wait_until};
use crate::device::{PANIC, both, disk};

const MIB: usize = 1 << 20;

/// Everything that a client says from its first byte to its last, and writes only to the first half of the disk.
fn script() -> Vec<u8> {
    let mut bytes = 3u32.to_be_bytes().to_vec();
    for option in [
        option_bytes(3, &[]),
        option_bytes(99, &[1; 50]),
        option_bytes(8, &[]),
        option_bytes(9, &queries("", &[])),
        option_bytes(10, &queries("", &["base:allocation"])),
        option_bytes(6, &go_data("", &[0, 1, 2, 3])),
        option_bytes(7, &go_data("", &[3])),
        request_bytes(READ, 0, 1, 0, 1 << 19),
        request_bytes(WRITE, FUA, 2, 0, 600),
        vec![1; 600],
        request_bytes(ZEROES, 0, 3, 0, 4096),
        request_bytes(TRIM, 0, 4, 0, 4096),
        request_bytes(STATUS, 0, 5, 0, 4096),
        request_bytes(CACHE, 0, 6, 0, 4096),
        request_bytes(FLUSH, 0, 7, 0, 0),
        request_bytes(WRITE, 0, 8, 0, 100_000),
        vec![2; 300],
    ] {
        bytes.extend(option);
    }
    bytes
}

/// Sends a part of the script and leaves, in one of several ways.
fn leave(socket: &Path, said: &[u8], way: usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    // The server may have ended it.
    let _ = match way % 3 {
        0 => stream.write_all(said),
        1 => stream
            .write_all(said)
            .and_then(|()| stream.shutdown(Shutdown::Write)),
        _ => stream
            .shutdown(Shutdown::Read)
            .and_then(|()| stream.write_all(said)),
    };
}

#[test]
fn ten_thousand_clients_that_leave_harm_nobody() {
    for blocking in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("nbd");
        let mut device = disk(MIB);
        device.geometry.is_blocking = blocking;
        let builder = NbdServer::builder(Arc::new(device)).max_connections(10_000);
        let server = builder.start(&socket).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let steady = scope.spawn(|| {
                let mut client = Client::connect(&socket).structured();
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) || rounds < 10 {
                    let data = noise(70_000, rounds);
                    client.write(1 << 19, &data);
                    assert!(client.read(1 << 19, 70_000) == data);
                    rounds += 1;
                }
                client.disconnect();
            });
            let script = script();
            for turn in 0..5000 {
                let cut = turn * 7919 % (script.len() + 1);
                leave(&socket, &script[..cut], turn);
            }
            done.store(true, Ordering::Relaxed);
            steady.join().unwrap();
        });
        // Some of them had left before they were accepted.
        wait_until(|| server.stats().accepted == 5001);
        let stats = server.stats();
        assert_eq!(stats.refused, 0);
        assert!(stats.broken > 0);
        server.stop();
        assert_eq!(server.stats().connections, 0);
    }
}

#[test]
fn a_client_that_doesnt_read_its_replies_blocks_only_itself() {
    for blocking in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("nbd");
        let mut device = disk(MIB);
        device.geometry.is_blocking = blocking;
        let server = NbdServer::builder(Arc::new(device)).start(&socket).unwrap();
        let mut deaf = Client::connect(&socket).structured();
        for cookie in 0..200 {
            deaf.request(READ, 0, cookie, 0, 1 << 20);
        }
        let mut other = Client::connect(&socket).structured();
        other.write(0, &[1; 100]);
        assert_eq!(other.read(0, 100), [1; 100]);
        server.stop();
        drop(deaf);
    }
}

#[test]
fn a_write_that_isnt_whole_isnt_begun_up_to_64_kib() {
    for len in [1, 512, 4096, 65536] {
        let device = Arc::new(disk(MIB));
        let (client, thread) = crate::client::served(device.clone());
        let mut client = client.simple();
        client.request(WRITE, 0, 1, 0, len);
        client.send(&vec![1; len as usize - 1]);
        drop(client);
        assert!(thread.join().unwrap().is_err());
        assert_eq!(device.take_log(), [""; 0]);
    }
}

#[test]
fn leaving_between_requests_is_in_order() {
    for disconnect in [true, false] {
        let (client, thread) = crate::client::served(Arc::new(disk(MIB)));
        let mut client = client.simple();
        client.read(0, 10);
        if disconnect {
            client.send(&request_bytes(DISC, 0, 0, 0, 0));
        }
        drop(client);
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn a_device_that_panics_ends_one_connection() {
    for device in both(MIB) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("nbd");
        device.fail(0, Error::Internal { problem: PANIC });
        let server = NbdServer::builder(device).start(&socket).unwrap();
        let mut other = Client::connect(&socket).simple();
        for _ in 0..3 {
            let mut client = Client::connect(&socket).simple();
            client.request(READ, 0, 1, 0, 512);
            client.assert_closed();
            assert_eq!(other.read(1, 3), [0; 3]);
        }
        wait_until(|| server.stats().connections == 1);
    }
}
