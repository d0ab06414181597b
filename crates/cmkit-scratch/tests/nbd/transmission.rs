//! Requests that work.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cmkit_scratch::{ExtentKind, Geometry};

use crate::client::{
    CACHE, DF, FAST_ZERO, FLUSH, FUA, NO_HOLE, Outcome, READ, REQ_ONE, Reply, TRIM, WRITE, ZEROES,
    request_bytes, served,
};
use crate::common::noise;
use crate::device::{both, disk};

const MIB: usize = 1 << 20;
const NOTHING: Outcome = Outcome::Data(vec![]);

#[test]
fn what_was_written_is_read() {
    let sizes = [
        1, 511, 512, 4095, 4096, 4097, 65535, 65536, 65537, 262_143, 262_144, 262_145, 1_000_003,
        4_194_305,
    ];
    for device in both(8 * MIB) {
        let simple = served(device.clone()).0.simple();
        let structured = served(device.clone()).0.structured();
        let mut model = vec![0; 8 * MIB];
        for (turn, mut client) in [(0, simple), (1, structured)] {
            for (index, &size) in sizes.iter().enumerate() {
                for offset in [0usize, 1, 4096, 200_000, 8 * MIB - size] {
                    let data = noise(size, (turn * 1000 + index * 10 + offset) as u64);
                    client.write(offset as u64, &data);
                    model[offset..offset + size].copy_from_slice(&data);
                    let read = client.read(offset as u64, u32::try_from(size).unwrap());
                    assert!(read == data, "{size} bytes at {offset}");
                }
            }
            let whole = client.read(0, u32::try_from(8 * MIB).unwrap());
            assert!(whole == model);
            let whole = client.call(READ, FUA, 0, u32::try_from(8 * MIB).unwrap());
            assert!(whole == Outcome::Data(model.clone()));
            client.disconnect();
        }
    }
}

#[test]
fn the_largest_requests_work() {
    for device in both(65 * MIB) {
        let data = noise(64 * MIB, 3);
        let mut client = served(device.clone()).0.simple();
        client.write(5, &data);
        assert!(client.read(5, 64 << 20) == data);
        client.disconnect();
        let mut client = served(device).0.structured();
        assert!(client.read(5, 64 << 20) == data);
        let whole = client.call(READ, DF, 5, 32 << 20);
        assert!(whole == Outcome::Data(data[..32 * MIB].to_vec()));
        client.disconnect();
    }
}

#[test]
fn requests_in_one_piece_are_all_answered() {
    for device in both(MIB) {
        let mut client = served(device).0.structured();
        let data = noise(512, 1);
        let mut bytes = Vec::new();
        for cookie in 0..1000 {
            bytes.extend(request_bytes(WRITE, 0, cookie, cookie * 512, 512));
            bytes.extend(&data);
        }
        // While nobody reads, replies fill the socket, and the server waits with what comes in.
        let mut other_end = client.stream.try_clone().unwrap();
        let sending = thread::spawn(move || other_end.write_all(&bytes));
        let mut seen = vec![false; 1000];
        for _ in 0..1000 {
            let Reply::Simple {
                error: 0, cookie, ..
            } = client.reply()
            else {
                panic!("a write failed");
            };
            assert!(!std::mem::replace(
                &mut seen[usize::try_from(cookie).unwrap()],
                true
            ));
        }
        sending.join().unwrap().unwrap();
        let reads = (0..1000).map(|at| request_bytes(READ, 0, at << 40, at * 512, 512));
        client.send(&reads.collect::<Vec<_>>().concat());
        let mut seen = HashMap::new();
        for _ in 0..1000 {
            let Reply::Chunk {
                done: true,
                kind: 1,
                cookie,
                payload,
            } = client.reply()
            else {
                panic!("a read failed");
            };
            assert_eq!(payload[8..], data);
            assert_eq!(seen.insert(cookie, ()), None);
        }
        client.disconnect();
    }
}

#[test]
fn requests_that_come_byte_by_byte_work() {
    for device in both(MIB) {
        let mut client = served(device).0.simple();
        let mut bytes = request_bytes(WRITE, 0, 1, 100, 10);
        bytes.extend([9; 10]);
        bytes.extend(request_bytes(FLUSH, 0, 2, 0, 0));
        for byte in bytes {
            client.send(&[byte]);
        }
        for _ in 0..2 {
            assert!(matches!(client.reply(), Reply::Simple { error: 0, .. }));
        }
        assert_eq!(client.read(99, 12), [&[0][..], &[9; 10], &[0]].concat());
    }
}

#[test]
fn each_request_reaches_the_device_as_it_was_meant() {
    for device in both(4 * MIB) {
        let mut client = served(device.clone()).0.simple();
        device.take_log();
        assert_eq!(client.write_with(FUA, 7, &[1; 10]), NOTHING);
        assert_eq!(client.write_with(0, 7, &[1; 10]), NOTHING);
        assert_eq!(client.call(FLUSH, 0, 0, 0), NOTHING);
        assert_eq!(client.call(FLUSH, FUA, 0, 0), NOTHING);
        assert_eq!(client.call(TRIM, 0, 1, 99), NOTHING);
        assert_eq!(client.call(TRIM, FUA, 1, 98), NOTHING);
        assert_eq!(client.call(ZEROES, 0, 2, 50), NOTHING);
        assert_eq!(client.call(ZEROES, FUA | NO_HOLE, 2, 51), NOTHING);
        assert_eq!(client.call(CACHE, 0, 2, 51), NOTHING);
        assert_eq!(client.call(ZEROES, 0, 0, 4 << 20), NOTHING);
        let expected = [
            "write 7 10 Durable",
            "write 7 10 Cached",
            "flush",
            "flush",
            "discard 1 99",
            "discard 1 98",
            "flush",
            "zeroes 2 50 MayPunch Cached",
            "zeroes 2 51 KeepRoom Durable",
            "zeroes 0 4194304 MayPunch Cached",
        ];
        assert_eq!(device.take_log(), expected);
    }
}

#[test]
fn a_large_durable_write_is_durable_when_it_is_answered() {
    for device in both(4 * MIB) {
        let mut client = served(device.clone()).0.simple();
        device.take_log();
        assert_eq!(client.write_with(FUA, 100, &vec![1; MIB]), NOTHING);
        let log = device.take_log();
        let last = log.last().unwrap();
        let whole = log.len() == 1 && last == "write 100 1048576 Durable";
        assert!(whole || last == "flush", "{log:?}");
    }
}

#[test]
fn pieces_end_where_blocks_do() {
    let device = Arc::new(disk(4 * MIB));
    let mut client = served(device.clone()).0.structured();
    client.write(100, &vec![1; MIB]);
    client.read(100, 1 << 20);
    let log = device.take_log();
    for kind in ["read", "write"] {
        let pieces: Vec<u64> = log
            .iter()
            .filter(|line| line.starts_with(kind))
            .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(pieces[0], 100);
        assert!(
            pieces.len() > 1 && pieces[1..].iter().all(|at| at % 65536 == 0),
            "{log:?}"
        );
    }
}

#[test]
fn nothing_long_is_no_error() {
    for device in both(MIB) {
        for mut client in [
            served(device.clone()).0.simple(),
            served(device.clone()).0.structured(),
        ] {
            for offset in [0, 5, 1 << 20] {
                assert_eq!(client.call(READ, 0, offset, 0), NOTHING);
                assert_eq!(client.write_with(0, offset, &[]), NOTHING);
                assert_eq!(client.call(TRIM, 0, offset, 0), NOTHING);
                assert_eq!(client.call(ZEROES, 0, offset, 0), NOTHING);
                assert_eq!(client.call(CACHE, 0, offset, 0), NOTHING);
            }
        }
    }
}

#[test]
fn holes_are_told_where_they_may_be() {
    let hole = 512 << 10;
    let mut device = disk(2 * MIB);
    device.extents = vec![(100_000, ExtentKind::Data), (hole, ExtentKind::Zero)];
    let device = Arc::new(device);
    let mut client = served(device).0.structured();
    let chunks = |client: &mut crate::client::Client, flags, offset, len| {
        client.request(READ, flags, 1, offset, len);
        let mut kinds = Vec::new();
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
            kinds.push((kind, payload.len()));
            if done {
                return kinds;
            }
        }
    };
    let in_hole = 100_000 + 5;
    assert_eq!(chunks(&mut client, 0, in_hole, 65536), [(2, 12)]);
    assert_eq!(chunks(&mut client, DF, in_hole, 65536), [(2, 12)]);
    // Too few bytes to look.
    assert_eq!(chunks(&mut client, 0, in_hole, 4096), [(1, 4104)]);
    let mixed = chunks(&mut client, 0, 0, 1 << 20);
    assert_eq!(mixed[..2], [(1, 100_008), (2, 12)]);
    assert_eq!(chunks(&mut client, DF, 0, 1 << 20), [(1, MIB + 8)]);
    assert_eq!(client.read(0, 2 << 20), vec![0; 2 * MIB]);
}

#[test]
fn extents_are_told() {
    let mut device = disk(4 * MIB);
    let (data, zero) = (ExtentKind::Data, ExtentKind::Zero);
    device.extents = vec![
        (4096, data),
        (8192, zero),
        (4096, zero),
        (512, data),
        (1024, zero),
    ];
    let mut client = served(Arc::new(device)).0.structured();
    let all = [
        (4096, 0),
        (12288, 3),
        (512, 0),
        (1024, 3),
        ((4 << 20) - 17920, 0),
    ];
    assert_eq!(client.status(0, 0, 4 << 20), all);
    assert_eq!(client.status(REQ_ONE, 0, 4 << 20), all[..1]);
    assert_eq!(client.status(REQ_ONE, 4096, 100_000), [(12288, 3)]);
    assert_eq!(client.status(REQ_ONE | FUA, 4097, 4096), [(4096, 3)]);
    assert_eq!(client.status(0, 4095, 3), [(1, 0), (2, 3)]);
    assert_eq!(client.status(0, (4 << 20) - 1, 1), [(1, 0)]);
}

#[test]
fn very_many_extents_are_told_in_several_replies() {
    let mut device = disk(64 * MIB);
    let pair = [(512, ExtentKind::Data), (512, ExtentKind::Zero)];
    device.extents = pair.into_iter().cycle().take(65536).collect();
    let mut client = served(Arc::new(device)).0.structured();
    let mut at = 0;
    let mut replies = 0;
    while at < 32 << 20 {
        let extents = client.status(0, at, (32 << 20) - u32::try_from(at).unwrap());
        for (len, state) in extents {
            assert_eq!((len, state), (512, if at % 1024 == 0 { 0 } else { 3 }));
            at += 512;
        }
        replies += 1;
    }
    assert!(replies > 1);
}

#[test]
fn zeros_are_fast_only_where_the_device_says_so() {
    let mut device = disk(MIB);
    device.geometry = Geometry::new(65536);
    let mut slow = served(Arc::new(device)).0.structured();
    let mut device = disk(MIB);
    device.geometry.fast_zeroes = true;
    let mut fast = served(Arc::new(device)).0.structured();
    assert_eq!(fast.call(ZEROES, FAST_ZERO, 0, 4096), NOTHING);
    for (is_slow, flags) in [(true, 0), (true, NO_HOLE), (false, NO_HOLE)] {
        let client = if is_slow { &mut slow } else { &mut fast };
        let Outcome::Error(95, text) = client.call(ZEROES, FAST_ZERO | flags, 0, 4096) else {
            panic!("not ENOTSUP");
        };
        assert!(text.contains("no faster"));
        assert_eq!(client.call(ZEROES, flags, 0, 4096), NOTHING);
    }
}

#[test]
fn a_slow_device_works_on_several_requests_at_once() {
    let mut device = disk(MIB).blocking();
    device.slow = Some(Duration::from_millis(100));
    let mut client = served(Arc::new(device)).0.simple();
    let start = std::time::Instant::now();
    for cookie in 0..160 {
        client.request(READ, 0, cookie, 0, 512);
    }
    for _ in 0..160 {
        client.reply();
    }
    // One after the other it would take 16 seconds.
    assert!(start.elapsed() < Duration::from_secs(12));
}
