//! Greeting and options.

use std::sync::Arc;

use crate::client::{
    ACK, Client, ERR_INVALID, ERR_TOO_BIG, ERR_UNKNOWN, ERR_UNSUP, INFO, META_CONTEXT, SERVER,
    go_data, greeting, option_bytes, queries, served, string,
};
use crate::device::disk;

const SIZE: u64 = 1 << 20;

fn fresh() -> Client {
    served(Arc::new(disk(1 << 20))).0
}

fn kinds(replies: &[(u32, Vec<u8>)]) -> Vec<u32> {
    replies.iter().map(|reply| reply.0).collect()
}

#[test]
fn export_name_has_zeroes_unless_they_are_declined() {
    for (flags, zeroes) in [(1u32, 124), (3, 0), (0, 124), (2, 0)] {
        for name in ["", "disk"] {
            let mut client = fresh();
            assert_eq!(client.take(18), greeting());
            client.send(&flags.to_be_bytes());
            client.send(&option_bytes(1, name.as_bytes()));
            let reply = client.take(10 + zeroes);
            assert_eq!(reply[..8], SIZE.to_be_bytes());
            // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE, FAST_ZERO; no DF without structured replies.
            let all = 1 | 4 | 8 | 32 | 64 | 256 | 1024 | 2048u16;
            assert_eq!(reply[8..10], all.to_be_bytes());
            assert!(reply[10..].iter().all(|&byte| byte == 0));
            assert_eq!(client.read(0, 10), [0; 10]);
            client.disconnect();
        }
    }
}

#[test]
fn info_and_go_tell_what_was_asked() {
    let mut client = fresh().greeted();
    client.option(8, &[]);
    let flags = 1 | 4 | 8 | 32 | 64 | 128 | 256 | 1024 | 2048u16;
    let export = [&[0, 0], &SIZE.to_be_bytes()[..], &flags.to_be_bytes()].concat();
    let name = b"\0\x01disk".to_vec();
    let description = b"\0\x02for tests".to_vec();
    let block_size = [&[0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0][..]].concat();
    for option in [6, 7] {
        let replies = client.option(option, &go_data("disk", &[0, 1, 2, 3, 4, 999]));
        let expected = [
            (INFO, export.clone()),
            (INFO, name.clone()),
            (INFO, description.clone()),
            (INFO, block_size.clone()),
            (ACK, vec![]),
        ];
        assert_eq!(replies, expected);
        if option == 6 {
            let replies = client.option(6, &go_data("", &[]));
            assert_eq!(replies, [(INFO, export.clone()), (ACK, vec![])]);
        }
    }
    assert_eq!(client.read(5, 3), [0; 3]);
}

#[test]
fn a_name_that_isnt_served_is_an_error_and_haggling_goes_on() {
    let mut client = fresh().greeted();
    for option in [6, 7] {
        let replies = client.option(option, &go_data("disc", &[3]));
        assert_eq!(kinds(&replies), [ERR_UNKNOWN]);
        assert!(String::from_utf8_lossy(&replies[0].1).contains("\"disk\""));
    }
    client.option(8, &[]);
    assert_eq!(
        kinds(&client.option(10, &queries("x", &["base:allocation"]))),
        [ERR_UNKNOWN]
    );
    let long = "x".repeat(4097);
    assert_eq!(
        kinds(&client.option(7, &go_data(&long, &[]))),
        [ERR_TOO_BIG]
    );
    client.go();
    client.disconnect();
}

#[test]
fn a_wrong_export_name_ends_the_connection() {
    let long = "x".repeat(4097);
    for name in ["disc", "disk\0", &long] {
        let mut client = fresh().greeted();
        client.send(&option_bytes(1, name.as_bytes()));
        client.assert_closed();
    }
}

#[test]
fn the_export_is_listed() {
    let mut client = fresh().greeted();
    let listed = [&string("disk")[..], b"for tests"].concat();
    assert_eq!(client.option(3, &[]), [(SERVER, listed), (ACK, vec![])]);
    assert_eq!(kinds(&client.option(3, &[1])), [ERR_INVALID]);
    client.go();
}

#[test]
fn unknown_options_are_unsupported_and_parsing_goes_on() {
    let mut client = fresh().greeted();
    for option in [0, 4, 5, 11, 12, 255, 0x8000_0000, u32::MAX] {
        for len in [0, 1, 4096, 65536, 65537, 1 << 20] {
            let replies = client.option(option, &vec![0xff; len]);
            assert_eq!(kinds(&replies), [ERR_UNSUP], "{option} {len}");
        }
    }
    client.go();
    client.disconnect();
}

#[test]
fn oversized_options_are_skipped_up_to_a_limit() {
    let mut client = fresh().greeted();
    for option in [3, 6, 7, 8, 9, 10] {
        for len in [65537, 1 << 20] {
            assert_eq!(kinds(&client.option(option, &vec![0; len])), [ERR_TOO_BIG]);
        }
    }
    client.go();
    client.disconnect();
    for option in [2, 7, 77] {
        for len in [(1 << 20) + 1, u32::MAX] {
            let mut client = fresh().greeted();
            let head = option_bytes(option, &[]);
            client.send(&[&head[..12], &len.to_be_bytes()].concat());
            client.assert_closed();
        }
    }
}

#[test]
fn abort_is_acknowledged_whatever_it_brings() {
    for len in [0, 5, 65537] {
        let (client, thread) = served(Arc::new(disk(1 << 20)));
        let mut client = client.greeted();
        assert_eq!(client.option(2, &vec![1; len]), [(ACK, vec![])]);
        client.assert_closed();
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn structured_replies_have_no_data_and_allow_not_to_fragment() {
    let mut client = fresh().greeted();
    let df = |replies: &[(u32, Vec<u8>)]| replies[0].1[11] & 128 != 0;
    assert!(!df(&client.option(6, &go_data("", &[]))));
    assert_eq!(kinds(&client.option(8, &[0])), [ERR_INVALID]);
    assert!(!df(&client.option(6, &go_data("", &[]))));
    assert_eq!(client.option(8, &[]), [(ACK, vec![])]);
    assert_eq!(client.option(8, &[]), [(ACK, vec![])]);
    assert!(df(&client.option(6, &go_data("", &[]))));
}

#[test]
fn contexts_are_listed() {
    let mut client = fresh().greeted();
    assert_eq!(kinds(&client.option(9, &queries("", &[]))), [ERR_INVALID]);
    client.option(8, &[]);
    let allocation = (META_CONTEXT, [&[0; 4][..], b"base:allocation"].concat());
    for asked in [
        &[][..],
        &[""],
        &["base:"],
        &["base:allocation"],
        &["x:y", "base:", "base:"],
    ] {
        let replies = client.option(9, &queries("disk", asked));
        assert_eq!(replies, [allocation.clone(), (ACK, vec![])], "{asked:?}");
    }
    for asked in [
        &["x:"][..],
        &["base:alloc"],
        &["base"],
        &["base:allocation2"],
        &["qemu:dirty"],
    ] {
        assert_eq!(client.option(9, &queries("", asked)), [(ACK, vec![])]);
    }
}

#[test]
fn contexts_are_selected_by_the_last_option_only() {
    let selected = (
        META_CONTEXT,
        [&[0, 0, 0, 1][..], b"base:allocation"].concat(),
    );
    let both = [selected, (ACK, vec![])];
    let nothing = [(ACK, vec![])];
    let ways: [(&[&str], bool); 6] = [
        (&[], false),
        (&[""], false),
        (&["base:"], false),
        (&["x:y"], false),
        (&["base:allocation"], true),
        (&["x:y", "base:allocation", "base:allocation"], true),
    ];
    for (asked, works) in ways {
        let mut client = fresh().greeted();
        assert_eq!(
            kinds(&client.option(10, &queries("", asked))),
            [ERR_INVALID]
        );
        client.option(8, &[]);
        // What was selected before counts no more.
        assert_eq!(client.option(10, &queries("", &["base:allocation"])), both);
        let replies = client.option(10, &queries("disk", asked));
        assert_eq!(replies, if works { &both[..] } else { &nothing });
        client.go();
        client.request(crate::client::STATUS, 0, 1, 0, 4096);
        let reply = format!("{:?}", client.reply());
        assert_eq!(reply.contains("kind: 5"), works, "{reply}");
    }
    // Also when it fails.
    let mut client = fresh().greeted();
    client.option(8, &[]);
    client.option(10, &queries("", &["base:allocation"]));
    assert_eq!(
        kinds(&client.option(10, &queries("no", &["base:allocation"]))),
        [ERR_UNKNOWN]
    );
    client.go();
    client.request(crate::client::STATUS, 0, 1, 0, 4096);
    assert!(format!("{:?}", client.reply()).contains("kind: 32769"));
}

#[test]
fn lengths_that_lie_are_invalid_and_haggling_goes_on() {
    let mut client = fresh().greeted();
    client.option(8, &[]);
    let good = go_data("disk", &[0, 3]);
    for option in [6, 7] {
        for cut in 0..good.len() {
            assert_eq!(kinds(&client.option(option, &good[..cut])), [ERR_INVALID]);
        }
        let more = [&good[..], &[0]].concat();
        assert_eq!(kinds(&client.option(option, &more)), [ERR_INVALID]);
        let beyond = [&[0xff; 4][..], &good[4..]].concat();
        assert_eq!(kinds(&client.option(option, &beyond)), [ERR_INVALID]);
    }
    let good = queries("disk", &["base:allocation", "x:y"]);
    for option in [9, 10] {
        for cut in 0..good.len() {
            assert_eq!(kinds(&client.option(option, &good[..cut])), [ERR_INVALID]);
        }
        let more = [&good[..], &[0]].concat();
        assert_eq!(kinds(&client.option(option, &more)), [ERR_INVALID]);
        let mut many = good.clone();
        many[8..12].fill(0xff);
        assert_eq!(kinds(&client.option(option, &many)), [ERR_INVALID]);
    }
    client.go();
    client.disconnect();
}

#[test]
fn a_broken_handshake_ends_the_connection() {
    let flags = |flags: u32| flags.to_be_bytes().to_vec();
    let broken = [
        flags(4),
        flags(0xffff_ffff),
        [flags(3), b"IHAVEOPS\0\0\0\x03\0\0\0\0".to_vec()].concat(),
        [flags(3), vec![0; 16]].concat(),
        // An option of the fixed newstyle from a client that doesn't speak it.
        [flags(0), option_bytes(3, &[])].concat(),
        [flags(2), option_bytes(7, &go_data("", &[]))].concat(),
    ];
    for bytes in broken {
        let (mut client, thread) = served(Arc::new(disk(1 << 20)));
        assert_eq!(client.take(18), greeting());
        client.send(&bytes);
        client.assert_closed();
        let error = thread.join().unwrap().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot serve an NBD client: "),
            "{error}"
        );
    }
}

#[test]
fn endless_haggling_ends() {
    let mut client = fresh().greeted();
    for _ in 0..1024 {
        client.option(3, &[]);
    }
    client.assert_closed();
}
