//! No copy of a key is left in memory once it was used.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize as _, Zeroizing};

use super::*;

/// Byte `i` of the key. It is computed wherever it is needed, so that the test has no copy of the key either.
fn key_byte(i: usize) -> u8 {
    let i = u8::try_from(i).unwrap();
    i.wrapping_mul(73) ^ i.rotate_left(3) ^ std::hint::black_box(0x9D)
}

/// How often the bytes that `byte` gives stand in what this process may write to.
fn copies(len: usize, byte: &dyn Fn(usize) -> u8) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut parts = line.split_whitespace();
        let (range, mode) = (parts.next().unwrap(), parts.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        if !mode.starts_with("rw") || end - start > 1 << 28 {
            continue;
        }
        let mut content = Zeroizing::new(vec![0; usize::try_from(end - start).unwrap()]);
        // Another thread may have unmapped it.
        if memory.read_exact_at(&mut content, start).is_ok() {
            let first = [byte(0), byte(1), byte(2), byte(3)];
            found += content
                .windows(len)
                .filter(|w| w[..4] == first && w.iter().enumerate().all(|(i, b)| *b == byte(i)))
                .count();
        }
        content.zeroize();
    }
    found
}

fn jwk() -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new([0; 32]);
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = key_byte(i);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(1024));
    text.extend_from_slice(b"{\"kty\":\"oct\",\"k\":\"");
    let start = text.len();
    text.resize(start + 43, 0);
    URL_SAFE_NO_PAD
        .encode_slice(&key[..], &mut text[start..])
        .unwrap();
    text.extend_from_slice(b"\"}");
    text
}

/// Byte `i` of the key's base64url.
fn text_byte(i: usize) -> u8 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: u32 = (0..3).map(|j| i / 4 * 3 + j).fold(0, |bits, at| {
        bits << 8 | if at < 32 { u32::from(key_byte(at)) } else { 0 }
    });
    ALPHABET[(bits >> (18 - 6 * (i % 4)) & 63) as usize]
}

#[test]
fn keys_are_wiped() {
    let f = Fixture::new();
    let text = jwk();
    let before = copies(43, &text_byte);
    assert!(before >= 1, "the search finds what is there");
    let id = f.provider.import(&name("k"), &text).unwrap();
    drop(text);
    let wrapped = wrap(&f.provider, &id).unwrap();
    assert_opens(&f.provider, &wrapped);
    f.provider.list().unwrap();
    drop(f.provider.export(&id).unwrap());
    assert_eq!(
        (copies(32, &key_byte), copies(43, &text_byte)),
        (0, 0),
        "as bytes, as text"
    );
}
