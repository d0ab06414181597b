//! The socket, who may connect, and the server's end.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use cmkit::Error;
use cmkit_scratch::{NbdServer, NbdServerBuilder};

use crate::client::{Client, ERR_POLICY, FLUSH, READ, Reply, go_data};
use crate::common::{need, need_root, run_failing, wait_until};
use crate::device::disk;

const MIB: usize = 1 << 20;

fn builder() -> NbdServerBuilder {
    NbdServer::builder(Arc::new(disk(MIB)))
}

#[test]
fn the_socket_is_for_its_user_only_and_goes_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let server = builder().start(&socket).unwrap();
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(server.socket(), socket);
    drop(server);
    assert!(!socket.exists());
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_socket_in_use_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let server = builder().start(&socket).unwrap();
    let error = builder().start(&socket).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(error.to_string().contains("serves at this socket already"));
    Client::connect(&socket).simple().disconnect();
    drop(server);
    builder().start(&socket).unwrap();
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let server = builder().start(&socket).unwrap();
    Client::connect(&socket).simple().disconnect();
    drop(server);
}

#[test]
fn of_servers_that_start_at_one_path_one_does() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    for _ in 0..20 {
        drop(UnixListener::bind(&socket).unwrap());
        let started: Vec<_> = thread::scope(|scope| {
            let start = || builder().start(&socket);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let (good, bad): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
        assert_eq!(good.len(), 1);
        for error in bad {
            assert!(matches!(error, Err(Error::Busy { .. })), "{error:?}");
        }
        Client::connect(&socket).simple().disconnect();
    }
}

#[test]
fn other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [&file, directory.path()] {
        let error = builder().start(path).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn paths_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let left = 107 - directory.path().as_os_str().len() - 1;
    let fits = directory.path().join("x".repeat(left));
    drop(builder().start(&fits).unwrap());
    let long = directory.path().join("x".repeat(left + 1));
    let error = builder().start(&long).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    assert!(error.to_string().contains("107"), "{error}");
    for path in ["", "a\0b"] {
        let error = builder().start(path).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    }
    let error = builder()
        .start(directory.path().join("no/nbd"))
        .unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("no/nbd"), "{error}");
}

#[test]
fn names_and_limits_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    for wrong in [
        builder().name("x".repeat(4097)),
        builder().name("a\0"),
        builder().description("x".repeat(4097)),
        builder().max_connections(0),
    ] {
        let error = wrong.start(&socket).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(!socket.exists());
    }
    let longest = "x".repeat(4096);
    let server = builder()
        .name(&longest)
        .description(&longest)
        .start(&socket);
    let server = server.unwrap();
    let mut client = Client::connect(&socket).greeted();
    assert_eq!(client.option(3, &[])[0].1.len(), 4 + 2 * 4096);
    assert_eq!(client.option(7, &go_data(&longest, &[1, 2])).len(), 4);
    client.disconnect();
    drop(server);
}

#[test]
fn a_socket_that_another_server_made_meanwhile_stays() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let first = builder().start(&socket).unwrap();
    fs::remove_file(&socket).unwrap();
    let second = builder().start(&socket).unwrap();
    let file = fs::symlink_metadata(&socket).unwrap().ino();
    drop(first);
    assert_eq!(fs::symlink_metadata(&socket).unwrap().ino(), file);
    Client::connect(&socket).simple().disconnect();
    drop(second);
    assert!(!socket.exists());
}

#[test]
fn clients_beyond_the_limit_are_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let server = builder().max_connections(3).start(&socket).unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&socket).simple()).collect();
    for _ in 0..5 {
        let mut client = Client::connect(&socket).greeted();
        for option in [3, 7, 8] {
            let replies = client.option(option, &[]);
            assert_eq!(replies[0].0, ERR_POLICY);
            let text = String::from_utf8_lossy(&replies[0].1).into_owned();
            assert!(text.contains("3 connections"), "{text}");
        }
        assert_eq!(client.option(2, &[])[0].0, 1);
        client.assert_closed();
    }
    assert_eq!(server.stats().refused, 5);
    assert_eq!(server.stats().connections, 3);
    // Those who keep silent about it don't become many.
    let silent: Vec<_> = (0..100)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    let mut greeted = 0;
    for mut stream in silent {
        greeted += usize::from(stream.read(&mut [0; 18]).is_ok_and(|got| got > 0));
    }
    assert!(greeted <= 20, "{greeted}");
    clients.pop().unwrap().disconnect();
    wait_until(|| server.stats().connections == 2);
    let mut next = Client::connect(&socket).simple();
    for client in clients.iter_mut().chain([&mut next]) {
        assert_eq!(client.read(0, 3), [0; 3]);
    }
}

#[test]
fn many_clients_work_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let server = builder().start(&socket).unwrap();
    thread::scope(|scope| {
        for number in 0..16u8 {
            let socket = &socket;
            scope.spawn(move || {
                let mut client = Client::connect(socket).structured();
                let at = u64::from(number) * 65536;
                for round in 0..50 {
                    let data = vec![number ^ round; 65536];
                    client.write(at, &data);
                    assert!(client.read(at, 65536) == data);
                }
                client.disconnect();
            });
        }
    });
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.refused, stats.broken), (16, 0, 0));
    assert_eq!((stats.requests, stats.failed), (1600, 0));
    assert_eq!(
        (stats.read, stats.written),
        (16 * 50 * 65536, 16 * 50 * 65536)
    );
}

#[test]
fn another_user_is_refused() {
    if !need_root() || !need("setpriv") || !need("nbdinfo") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let info = |socket: &Path| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "nbdinfo",
        ]);
        command.arg(format!("nbd+unix:///?socket={}", socket.display()));
        command
    };
    let server = builder().start(&socket).unwrap();
    let everybody = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(directory.path(), everybody(0o755)).unwrap();
    let said = run_failing(&mut info(&socket));
    assert!(said.contains("Permission denied"), "{said}");
    assert_eq!(server.stats().refused, 0);
    // Also where the file would let everybody in.
    fs::set_permissions(&socket, everybody(0o666)).unwrap();
    run_failing(&mut info(&socket));
    wait_until(|| server.stats().refused == 1);
    drop(server);
    let server = builder().allowed_uid(65534).start(&socket).unwrap();
    fs::set_permissions(&socket, everybody(0o666)).unwrap();
    crate::common::run(&mut info(&socket));
    Client::connect(&socket).simple().disconnect();
    assert_eq!(server.stats().refused, 0);
}

#[test]
fn stopping_ends_all_clients() {
    let directory = tempfile::tempdir().unwrap();
    for blocking in [false, true] {
        let socket = directory.path().join("nbd");
        let mut device = disk(MIB);
        device.geometry.is_blocking = blocking;
        let server = NbdServer::builder(Arc::new(device)).start(&socket).unwrap();
        let idle = Client::connect(&socket).structured();
        let greeted = Client::connect(&socket).greeted();
        let mut silent = UnixStream::connect(&socket).unwrap();
        let mut half = Client::connect(&socket).structured();
        half.send(&[0x25, 0x60]);
        // What was asked before is answered.
        let mut busy = Client::connect(&socket).structured();
        busy.request(READ, 0, 1, 0, 4096);
        busy.request(FLUSH, 0, 2, 0, 0);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| server.wait());
            server.stop();
            waiting.join().unwrap().unwrap();
        });
        let answers = [busy.reply(), busy.reply()];
        let flushed = Reply::Simple {
            error: 0,
            cookie: 2,
            data: vec![],
        };
        assert!(answers.contains(&flushed), "{answers:?}");
        for client in [idle, greeted, half, busy] {
            client.assert_closed();
        }
        let mut rest = Vec::new();
        // Closed before or after the greeting.
        let _ = silent.read_to_end(&mut rest);
        assert!(UnixStream::connect(&socket).is_err());
        assert!(!socket.exists());
        server.stop();
        server.wait().unwrap();
    }
}
