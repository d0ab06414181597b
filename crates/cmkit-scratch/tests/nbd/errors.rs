//! Requests that fail, and bytes that are none.

use std::io;
use std::sync::Arc;

use cmkit::{Error, ProviderError, ProviderErrorKind};

use crate::client::{
    CACHE, Client, DF, FAST_ZERO, FLUSH, FUA, NO_HOLE, Outcome, READ, REQ_ONE, Reply, STATUS, TRIM,
    WRITE, ZEROES, request_bytes, served,
};
use crate::device::{both, disk};

const MIB: usize = 1 << 20;

fn errno(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Error(number, _) => number,
        Outcome::Data(_) => 0,
    }
}

fn clients() -> Vec<Client> {
    let devices = both(MIB);
    let simple = devices.clone().map(|device| served(device).0.simple());
    let structured = devices.map(|device| served(device).0.structured());
    simple.into_iter().chain(structured).collect()
}

#[test]
fn requests_beyond_the_end_are_refused() {
    for mut client in clients() {
        let ranges = [
            (1 << 20, 1),
            ((1 << 20) - 1, 2),
            (0, (1 << 20) + 1),
            (u64::MAX, 1),
            (u64::MAX - 4095, 4096),
            (1 << 63, 512),
        ];
        for (offset, len) in ranges {
            assert_eq!(errno(client.call(READ, 0, offset, len)), 22);
            assert_eq!(errno(client.call(TRIM, 0, offset, len)), 22);
            assert_eq!(errno(client.call(CACHE, 0, offset, len)), 22);
            assert_eq!(errno(client.call(ZEROES, 0, offset, len)), 28);
            assert_eq!(
                errno(client.write_with(0, offset, &vec![1; len as usize])),
                28
            );
            assert_eq!(errno(client.call(STATUS, 0, offset, len)), 22);
        }
        assert_eq!(
            client.read(0, 1 << 20),
            vec![0; MIB],
            "something was written"
        );
        client.disconnect();
    }
}

#[test]
fn flags_and_commands_that_dont_exist_are_refused() {
    for mut client in clients() {
        let known: [(u16, u16); 7] = [
            (READ, FUA | DF),
            (WRITE, FUA),
            (FLUSH, FUA),
            (TRIM, FUA),
            (CACHE, FUA),
            (ZEROES, FUA | NO_HOLE | FAST_ZERO),
            (STATUS, FUA | REQ_ONE),
        ];
        for (command, good) in known {
            for flag in (0..16).map(|bit| 1 << bit).filter(|flag| good & flag == 0) {
                let outcome = match command {
                    WRITE => client.write_with(flag, 0, &[1; 100]),
                    FLUSH => client.call(FLUSH, flag, 0, 0),
                    _ => client.call(command, flag, 0, 100),
                };
                assert_eq!(errno(outcome), 22, "{command} {flag:#x}");
            }
        }
        for command in [8, 9, 100, u16::MAX] {
            assert_eq!(errno(client.call(command, 0, 0, 0)), 22);
        }
        assert_eq!(errno(client.call(FLUSH, 0, 1, 0)), 22);
        assert_eq!(errno(client.call(FLUSH, 0, 0, 1)), 22);
        assert_eq!(errno(client.call(STATUS, 0, 0, 0)), 22);
        assert_eq!(client.read(0, 100), [0; 100]);
        client.disconnect();
    }
}

#[test]
fn what_wasnt_negotiated_is_refused() {
    let mut client = served(Arc::new(disk(MIB))).0.simple();
    assert_eq!(errno(client.call(READ, DF, 0, 100)), 22);
    assert_eq!(errno(client.call(STATUS, 0, 0, 100)), 22);
    let mut client = served(Arc::new(disk(MIB))).0.greeted();
    client.option(8, &[]);
    client.go();
    client.request(STATUS, 0, 3, 0, 4096);
    assert_eq!(client.take(8)[..8], [0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 1]);
}

#[test]
fn too_large_requests_are_refused() {
    let too_large = (64 << 20) + 1;
    for device in both(128 * MIB) {
        let mut simple = served(device.clone()).0.simple();
        assert_eq!(errno(simple.call(READ, 0, 0, too_large)), 22);
        let mut structured = served(device.clone()).0.structured();
        assert_eq!(errno(structured.call(READ, 0, 0, too_large)), 75);
        assert_eq!(errno(structured.call(READ, DF, 0, (32 << 20) + 1)), 75);
        for mut client in [simple, structured] {
            let outcome = client.write_with(0, 0, &vec![1; too_large as usize]);
            assert_eq!(errno(outcome), 22);
            assert_eq!(client.read(0, 512), [0; 512]);
            client.request(WRITE, 0, 1, 0, (256 << 20) + 1);
            client.assert_closed();
        }
    }
}

#[test]
fn a_read_only_disk_says_so() {
    for mut device in [disk(MIB), disk(MIB).blocking()] {
        device.geometry.read_only = true;
        let mut client = served(Arc::new(device)).0.greeted();
        client.option(8, &[]);
        let replies = client.option(6, &crate::client::go_data("", &[]));
        assert_eq!(replies[0].1[11] & 2, 2, "the flag READ_ONLY");
        client.go();
        assert_eq!(errno(client.write_with(0, 0, &[1; 100])), 1);
        assert_eq!(errno(client.write_with(0, 0, &vec![1; 100_000])), 1);
        assert_eq!(errno(client.call(TRIM, 0, 0, 100)), 1);
        assert_eq!(errno(client.call(ZEROES, 0, 0, 100)), 1);
        assert_eq!(errno(client.call(FLUSH, 0, 0, 0)), 0);
        assert_eq!(client.read(0, 100), [0; 100]);
    }
}

fn io_error(kind: io::ErrorKind) -> Error {
    Error::Io {
        operation: "write",
        path: Some("/disk".into()),
        source: Arc::new(kind.into()),
    }
}

#[test]
fn the_devices_errors_arrive_with_their_sentences() {
    let problem = || "no more".to_owned();
    let denied = ProviderError::new(ProviderErrorKind::Denied, "the key was taken away");
    let errors = [
        (Error::DamagedBlock { block: 0 }, 5),
        (
            Error::InvalidState {
                problem: "destroyed",
            },
            108,
        ),
        (Error::Provider(denied), 5),
        (Error::Policy { problem: problem() }, 1),
        (Error::NotPermitted { problem: problem() }, 1),
        (Error::InvalidArgument { problem: problem() }, 22),
        (Error::Internal { problem: "a fault" }, 5),
        (io_error(io::ErrorKind::Other), 5),
        (io_error(io::ErrorKind::UnexpectedEof), 5),
        (io_error(io::ErrorKind::StorageFull), 28),
        (io_error(io::ErrorKind::QuotaExceeded), 28),
        (io_error(io::ErrorKind::FileTooLarge), 28),
        (io_error(io::ErrorKind::PermissionDenied), 1),
        (io_error(io::ErrorKind::ReadOnlyFilesystem), 1),
        (io_error(io::ErrorKind::Other).in_file("/disk"), 5),
    ];
    for device in both(MIB) {
        let mut simple = served(device.clone()).0.simple();
        let mut structured = served(device.clone()).0.structured();
        for (error, number) in &errors {
            device.fail(50, error.clone());
            for (client, text) in [
                (&mut simple, String::new()),
                (&mut structured, error.to_string()),
            ] {
                let expected = || Outcome::Error(*number, text.clone());
                assert_eq!(client.call(READ, 0, 0, 100), expected());
                assert_eq!(client.write_with(0, 50, &[1]), expected());
                assert_eq!(client.write_with(0, 0, &vec![1; 500_000]), expected());
                assert_eq!(client.call(TRIM, 0, 0, 100), expected());
                assert_eq!(client.call(ZEROES, 0, 0, 100), expected());
                assert_eq!(client.read(51, 3), [0; 3], "goes on");
            }
        }
    }
}

#[test]
fn a_long_sentence_is_cut() {
    let device = Arc::new(disk(MIB));
    let problem = "é".repeat(5000);
    device.fail(0, Error::InvalidArgument { problem });
    let mut client = served(device).0.structured();
    assert_eq!(
        client.call(READ, 0, 0, 1),
        Outcome::Error(22, "é".repeat(2048))
    );
}

#[test]
fn a_read_that_fails_in_the_middle_says_where() {
    for device in both(4 * MIB) {
        device.fail(600_000, Error::DamagedBlock { block: 146 });
        let mut client = served(device).0.structured();
        client.request(READ, 0, 1, 0, 4 << 20);
        let mut got = 0;
        loop {
            let Reply::Chunk {
                done,
                kind,
                payload,
                ..
            } = client.reply()
            else {
                panic!("a simple reply");
            };
            if done {
                assert_eq!(kind, 0x8002);
                let at = u64::from_be_bytes(payload[payload.len() - 8..].try_into().unwrap());
                assert_eq!(at, got);
                assert!(at <= 600_000);
                break;
            }
            got += payload.len() as u64 - 8;
        }
        assert!(got > 0, "what came before the damage is there");
        assert_eq!(client.read(1 << 20, 10), [0; 10]);
    }
}

#[test]
fn a_wrong_magic_number_ends_the_connection() {
    let good = request_bytes(READ, 0, 1, 0, 512);
    for index in 0..4 {
        for mut client in clients() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            client.send(&bad);
            client.assert_closed();
        }
    }
}

#[test]
fn noise_ends_the_connection() {
    for seed in 0..50 {
        for (device, stage) in both(MIB).into_iter().zip([0, 1]) {
            let (client, thread) = served(device);
            let mut client = match stage {
                0 => client.greeted(),
                _ => client.simple(),
            };
            // What is sent after the end may be refused.
            let bytes = crate::common::noise(4096, seed);
            let _ = io::Write::write_all(&mut client.stream, &bytes);
            client.assert_closed();
            assert!(thread.join().unwrap().is_err());
        }
    }
}
