//! Streams against documents, against each other, and against readers and writers that misbehave.

mod faults;
mod random_access;
mod vectors;

use std::io::{self, Read, Write as _};

use proptest::prelude::*;

use super::*;
use crate::Keyring;
use crate::chunked::CHUNK_LEN;
use crate::chunked::tests::sample;
use crate::document::tests::{Fixture, context};

fn encrypt(keyring: &Keyring, plaintext: &[u8], piece: usize, threads: usize) -> Vec<u8> {
    let options = StreamOptions::default().threads(threads);
    let mut encryptor = keyring
        .encryptor_with(Vec::new(), &context(), options)
        .unwrap();
    for piece in plaintext.chunks(piece) {
        encryptor.write_all(piece).unwrap();
    }
    assert_eq!(encryptor.written(), plaintext.len() as u64);
    encryptor.finish().unwrap()
}

/// All of the plaintext, read `piece` bytes at a time.
fn decrypt(
    keyring: &Keyring,
    envelope: impl Read,
    piece: usize,
    threads: usize,
) -> Result<Vec<u8>> {
    let options = StreamOptions::default().threads(threads);
    let mut decryptor = keyring.decryptor_with(envelope, &context(), options)?;
    let mut buffer = vec![0xEE; piece];
    let mut out = Vec::new();
    loop {
        match decryptor.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => out.extend_from_slice(&buffer[..n]),
            Err(e) => {
                let error = error_from_io(e);
                let again = decryptor.read(&mut buffer).map_err(error_from_io);
                assert_eq!(again.unwrap_err().kind(), error.kind(), "it stays failed");
                return Err(error);
            }
        }
    }
    assert_eq!(decryptor.read(&mut buffer).unwrap(), 0);
    Ok(out)
}

/// Gives a few bytes at a time, now and then interrupted.
struct Short<'a> {
    data: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Short<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        let size = self.sizes[self.turn % self.sizes.len()];
        if size == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = out.len().min(size).min(self.data.len());
        out[..len].copy_from_slice(&self.data[..len]);
        self.data = &self.data[len..];
        Ok(len)
    }
}

fn near_boundary() -> impl Strategy<Value = usize> {
    (0..90usize, -1..=1isize)
        .prop_map(|(chunks, by)| (chunks * CHUNK_LEN).saturating_add_signed(by))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn documents_and_streams_open_each_other(
        len in near_boundary(),
        write in 1..100_000usize,
        read in 1..100_000usize,
        threads in 1..4usize,
    ) {
        let f = Fixture::new();
        let plaintext = sample(len);
        let streamed = encrypt(&f, &plaintext, write, threads);
        prop_assert_eq!(streamed.len() as u64, f.encrypted_len(len as u64).unwrap());
        prop_assert!(f.decrypt(&streamed, &context()).unwrap() == plaintext);
        let whole = f.encrypt(&plaintext, &context()).unwrap();
        prop_assert!(decrypt(&f, &whole[..], read, threads).unwrap() == plaintext);
        prop_assert!(decrypt(&f, &streamed[..], read, threads).unwrap() == plaintext);
    }

    #[test]
    fn short_and_interrupted_reads(
        len in 0..40_000usize,
        sizes in prop::collection::vec(0..5000usize, 1..20),
        read in 1..40_000usize,
    ) {
        prop_assume!(sizes.iter().any(|n| *n > 0));
        let f = Fixture::new();
        let plaintext = sample(len);
        let envelope = f.encrypt(&plaintext, &context()).unwrap();
        let source = Short { data: &envelope, sizes, turn: 0 };
        prop_assert!(decrypt(&f, source, read, 1).unwrap() == plaintext);
    }
}

#[test]
fn large_writes_and_reads_pass_the_buffer_by() {
    let f = Fixture::new();
    let plaintext = sample(9 << 20);
    for (threads, write, read) in [
        (1, 9 << 20, 9 << 20),
        (2, 9 << 20, 10 << 20),
        (2, (5 << 20) + 1, (5 << 20) + 1),
        (3, 1 << 20, 100_000),
        (2, 100_000, 5 << 20),
        (1, CHUNK_LEN, CHUNK_LEN),
        (1, CHUNK_LEN + 1, CHUNK_LEN - 1),
    ] {
        let envelope = encrypt(&f, &plaintext, write, threads);
        assert!(decrypt(&f, &envelope[..], read, threads).unwrap() == plaintext);
    }
}

#[test]
fn one_byte_at_a_time() {
    let f = Fixture::new();
    let plaintext = sample(2 * CHUNK_LEN);
    let envelope = encrypt(&f, &plaintext, 1, 2);
    let source = Short {
        data: &envelope,
        sizes: vec![1],
        turn: 0,
    };
    assert!(decrypt(&f, source, 1, 2).unwrap() == plaintext);
}

#[test]
fn flush_writes_on_what_is_whole() {
    let f = Fixture::new();
    let plaintext = sample(3 * CHUNK_LEN + 7);
    let mut encryptor = f.encryptor(Vec::new(), &context()).unwrap();
    let start = encryptor.get_ref().len();
    for piece in plaintext.chunks(CHUNK_LEN + 1) {
        encryptor.write_all(piece).unwrap();
        encryptor.flush().unwrap();
    }
    assert_eq!(encryptor.get_ref().len(), start + 3 * (CHUNK_LEN + 16));
    let envelope = encryptor.finish().unwrap();
    assert!(f.decrypt(&envelope, &context()).unwrap() == plaintext);
}

#[test]
fn padded_headers_fill_file_blocks() {
    let f = Fixture::new();
    let options = StreamOptions::default().padded_header(HeaderPadding::FileBlock);
    let envelope = f
        .encryptor_with(Vec::new(), &context(), options)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(envelope.len(), 4096 + 56 + 16);
    assert_eq!(crate::header_len(&envelope).unwrap(), 4096);
    assert_eq!(f.decrypt(&envelope, &context()).unwrap(), b"");
    assert_eq!(decrypt(&f, &envelope[..], 10, 1).unwrap(), b"");
}

#[test]
fn compact_envelopes_can_be_streamed_from() {
    let f = Fixture::new();
    let envelope = f.encrypt_compact(b"attack at dawn", &context()).unwrap();
    assert_eq!(
        decrypt(&f, &envelope[..], 100, 1).unwrap(),
        b"attack at dawn"
    );
}

#[test]
fn nothing_secret_is_shown() {
    let f = Fixture::new();
    let mut encryptor = f.encryptor(Vec::new(), &context()).unwrap();
    encryptor.write_all(b"attack at dawn").unwrap();
    assert_eq!(
        format!("{encryptor:?}"),
        "Encryptor { written: 14, failed: false, .. }"
    );
    let envelope = encryptor.finish().unwrap();
    let decryptor = f.decryptor(&envelope[..], &context()).unwrap();
    assert_eq!(format!("{decryptor:?}"), "Decryptor { failed: None, .. }");
    let reader = f.reader(&envelope[..], &context()).unwrap();
    assert_eq!(format!("{reader:?}"), "Reader { len: 14, position: 0, .. }");
}
