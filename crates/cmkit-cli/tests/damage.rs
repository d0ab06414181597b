//! Envelopes that were changed, cut, mixed or never were any: exit code 3, nothing written.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::path::Path;

use common::{Place, noise};

/// A sealed 4 KiB document, and where its parts begin.
struct Sealed {
    place: Place,
    bytes: Vec<u8>,
    padding: std::ops::Range<usize>,
}

impl Sealed {
    fn new() -> Self {
        let place = Place::new();
        place.write("a", noise(4096));
        place.ok(&["encrypt", "a"]);
        let bytes = place.read("a.cmk");
        std::fs::remove_file(place.path("a")).unwrap();
        // The padding ends where the MAC begins.
        let end = 4096 - 32;
        let begin = end - bytes[..end].iter().rev().take_while(|b| **b == 0).count();
        assert!(end - begin > 3000);
        Self {
            place,
            bytes,
            padding: begin..end,
        }
    }

    /// Decrypts each variant to a file on its own; none may leave anything.
    fn all_refused(&self, variants: impl Iterator<Item = (String, Vec<u8>)> + Send) {
        let variants = std::sync::Mutex::new(variants);
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let (variants, place) = (&variants, &self.place);
                scope.spawn(move || {
                    let input = format!("{worker}.cmk");
                    loop {
                        let next = variants.lock().unwrap().next();
                        let Some((what, bytes)) = next else { break };
                        place.write(&input, bytes);
                        let ended = place.run(&["decrypt", &input]);
                        assert!(!place.path(&worker.to_string()).exists(), "{what}");
                        assert_eq!(ended.code, Some(3), "{what}: {}", ended.stderr);
                        ended.failed(3, &[&input]);
                    }
                    std::fs::remove_file(place.path(&input)).unwrap();
                });
            }
        });
        assert_eq!(self.place.names(), ["a.cmk"]);
    }
}

#[test]
fn a_flipped_bit_anywhere() {
    let sealed = Sealed::new();
    // A bit in the name of the provider or of the key makes it another one, which is refused as such.
    let named = |i: usize| {
        let begin = sealed.bytes.windows(5).position(|w| w == b"local").unwrap();
        let end = sealed
            .bytes
            .windows(14)
            .position(|w| w == b"local:default/")
            .unwrap()
            + 14
            + 32;
        (begin..end).contains(&i)
    };
    let flips = (0..sealed.bytes.len()).filter_map(|i| {
        // The core's tests flip all eight; of the zeros of the padding a few stand for all.
        if named(i) || (sealed.padding.contains(&i) && i % 97 != 0) {
            return None;
        }
        let mut bytes = sealed.bytes.clone();
        bytes[i] ^= 1 << (i % 8);
        Some((format!("byte {i}"), bytes))
    });
    sealed.all_refused(flips);

    for i in (0..sealed.bytes.len()).filter(|i| named(*i)) {
        sealed.place.write(
            "x.cmk",
            with(&sealed.bytes, i, sealed.bytes[i] ^ 1 << (i % 8)),
        );
        let ended = sealed.place.run(&["decrypt", "x.cmk"]);
        assert!(
            matches!(ended.code, Some(3 | 4)),
            "byte {i}: {}",
            ended.stderr
        );
        ended.said(&["x.cmk"]);
        assert!(!sealed.place.path("x").exists());
    }
}

#[test]
fn every_kind_of_cut() {
    let sealed = Sealed::new();
    let len = sealed.bytes.len();
    let lengths =
        (0..len).filter(|n| *n < 64 || n % 61 == 0 || *n > len - 64 || n.abs_diff(4096) < 64);
    sealed.all_refused(lengths.map(|n| (format!("{n} bytes"), sealed.bytes[..n].to_vec())));
}

#[test]
fn mixed_up_envelopes() {
    let sealed = Sealed::new();
    let place = &sealed.place;
    // Three full chunks and a short one.
    place.write("a", noise(3 * 16_384 + 5));
    place.ok(&["encrypt", "-o", "long.cmk", "a"]);
    place.ok(&["encrypt", "-o", "same.cmk", "a"]);
    let (long, same) = (place.read("long.cmk"), place.read("same.cmk"));
    for name in ["a", "long.cmk", "same.cmk"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    let start = 4096 + 56;
    let chunk = |n: usize| &long[start + 16_400 * n..long.len().min(start + 16_400 * (n + 1))];
    let head = &long[..start];
    let variants = [
        (
            "chunks swapped",
            [head, chunk(1), chunk(0), chunk(2), chunk(3)].concat(),
        ),
        (
            "a chunk repeated",
            [head, chunk(0), chunk(0), chunk(1), chunk(2), chunk(3)].concat(),
        ),
        (
            "a chunk left out",
            [head, chunk(0), chunk(2), chunk(3)].concat(),
        ),
        (
            "the last chunk left out",
            [head, chunk(0), chunk(1), chunk(2)].concat(),
        ),
        ("the last chunk alone", [head, chunk(3)].concat()),
        ("bytes appended", [&long[..], b"x"].concat()),
        ("itself appended", [&long[..], &long].concat()),
        (
            "another body",
            [&long[..4096], &same[4096..start], &long[start..]].concat(),
        ),
        (
            "another header",
            [&sealed.bytes[..4096], &long[4096..]].concat(),
        ),
        ("only a header", long[..4096].to_vec()),
        ("an empty file", Vec::new()),
        ("a plaintext file", noise(5000)),
        ("a text file", b"Dear reader,\n".repeat(500)),
        ("another version", with(&sealed.bytes, 8, 2)),
        ("a flag", with(&sealed.bytes, 9, 1)),
        ("another suite", with(&sealed.bytes, 11, 2)),
        (
            "a header of 64 KiB and more",
            with(&with(&sealed.bytes, 14, 0xff), 15, 0xff),
        ),
        ("no recipients", with(&sealed.bytes, 15, 0)),
        (
            "line ends converted",
            sealed.bytes[..6]
                .iter()
                .chain(&sealed.bytes[7..])
                .copied()
                .collect(),
        ),
    ];
    sealed.all_refused(
        variants
            .into_iter()
            .map(|(what, bytes)| (what.to_owned(), bytes)),
    );
}

fn with(bytes: &[u8], place: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] = value;
    bytes
}

#[test]
fn inspect_refuses_what_is_no_envelope() {
    let sealed = Sealed::new();
    let place = &sealed.place;
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"Dear reader,\n".to_vec()),
        ("half a header", sealed.bytes[..2000].to_vec()),
        ("version", with(&sealed.bytes, 8, 9)),
    ] {
        place.write("x", bytes);
        for args in [&["inspect", "x"][..], &["inspect", "--json", "x"]] {
            let ended = place.run(args);
            assert_eq!(ended.code, Some(3), "{what}");
            ended.failed(3, &["x: "]);
        }
    }
    // What is cut behind the header can be talked about, and is called cut.
    place.write("x", &sealed.bytes[..4100]);
    let ended = place.run(&["inspect", "x"]);
    assert_eq!(ended.code, Some(3));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("the end is missing"));
    ended.said(&["x: ", "cut short"]);
}

#[test]
fn inspect_says_what_can_be_said() {
    let sealed = Sealed::new();
    let place = &sealed.place;
    let human = place.ok(&["inspect", "a.cmk"]);
    for part in [
        "4096 bytes",
        "local:default/",
        "A256KW",
        "workspace  none",
        "authenticated",
    ] {
        assert!(human.contains(part), "{human}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&place.ok(&["inspect", "--json", "a.cmk"])).unwrap();
    let fields: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "authenticated",
        "body_length",
        "compact",
        "created",
        "dek_id",
        "file",
        "header_length",
        "padding_length",
        "plaintext_length",
        "purpose",
        "recipients",
        "suite",
        "suite_name",
        "version",
        "workspace",
    ];
    assert_eq!(fields, expected);
    assert_eq!(json["plaintext_length"], 4096);
    assert_eq!(json["header_length"], 4096);
    assert_eq!(json["authenticated"], false);
    let recipient = &json["recipients"][0];
    let fields: Vec<_> = recipient
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        fields,
        [
            "algorithm",
            "key_id",
            "provider",
            "wrapped_at",
            "wrapped_length"
        ]
    );
    assert_eq!(recipient["wrapped_length"], 80);

    // The guide documents each.
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/cli.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    for field in expected.iter().chain(&fields) {
        assert!(
            guide.contains(&format!("`{field}`")),
            "docs/guides/cli.md lacks {field}"
        );
    }
    // A pipe tells no lengths.
    let piped = place.pipe(&["inspect", "--json", "-"], &sealed.bytes);
    let json: serde_json::Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert!(json["plaintext_length"].is_null() && json["body_length"].is_null());
    assert_eq!(json["file"], "standard input");
}
