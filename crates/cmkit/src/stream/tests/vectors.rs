//! Wycheproof's vectors for Cobblestone-256, against streams.

use std::io::Write as _;

use super::super::opening_reader::OpeningReader;
use super::super::sealing_writer::SealingWriter;
use super::*;
use crate::chunked::tests::{Vector, cobblestone_256};

fn open_streaming(vector: &Vector, piece: usize, threads: usize) -> Result<Vec<u8>> {
    let (preamble, slots) = vector.body.split_first_chunk().ok_or(Error::Truncated)?;
    let batch = StreamOptions::default().threads(threads).batch();
    let mut reader = OpeningReader::new(slots, vector.open(preamble)?, batch);
    let mut out = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(out),
            n => out.extend_from_slice(&buffer[..n]),
        }
    }
}

fn open_at_random(vector: &Vector) -> Result<Vec<u8>> {
    let reader = Reader::behind_header(&vector.body[..], 0, |preamble| vector.open(preamble))?;
    let mut out = vec![0; usize::try_from(reader.len()).unwrap()];
    // From behind, in pieces that begin and end inside of chunks.
    for start in (0..out.len()).step_by(50_001).rev() {
        let end = out.len().min(start + 50_001);
        assert_eq!(
            reader.read_at(&mut out[start..end], start as u64)?,
            end - start
        );
    }
    Ok(out)
}

#[test]
fn streaming_and_random_access() {
    for vector in cobblestone_256().iter().filter(|v| v.input_key().is_some()) {
        for (piece, threads) in [(1000, 1), (16_384, 1), (5 << 20, 2), (100_000, 2)] {
            vector.check(open_streaming(vector, piece, threads));
        }
        vector.check(open_at_random(vector));
    }
}

#[test]
fn sealing_as_it_is_written() {
    for vector in cobblestone_256().iter().filter(|v| v.is_valid) {
        let plaintext = open_at_random(vector).unwrap();
        for (piece, threads) in [(1000, 1), (16_384, 1), (3 << 20, 2), (100_000, 2)] {
            let (message, preamble) = vector.message_to_seal();
            let mut body = Vec::new();
            body.write_all(&preamble).unwrap();
            let batch = StreamOptions::default().threads(threads).batch();
            let mut writer = SealingWriter::new(body, message, batch);
            for piece in plaintext.chunks(piece) {
                writer.write(piece).unwrap();
            }
            assert!(
                writer.finish().unwrap() == vector.body,
                "vector {}",
                vector.id
            );
        }
    }
}
