//! Damage, and sources and destinations that fail.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::chunked::SLOT_LEN;
use crate::{Error, ErrorKind};

#[test]
fn every_flipped_bit_is_noticed() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(4096), &context()).unwrap();
    for bit in 0..envelope.len() * 8 {
        // All bits of a few bytes, one bit of each of the others.
        if bit % 8 != bit / 8 % 8 && (bit / 8) % 61 != 0 {
            continue;
        }
        let mut changed = envelope.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(decrypt(&f, &changed[..], 1000, 1).is_err(), "bit {bit}");
        assert!(f.reader(&changed[..], &context()).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(4096), &context()).unwrap();
    for len in 0..envelope.len() {
        assert!(decrypt(&f, &envelope[..len], 1000, 1).is_err(), "{len}");
        assert!(f.reader(&envelope[..len], &context()).is_err(), "{len}");
    }
}

#[test]
fn cuts_and_appendages_around_chunks() {
    let f = Fixture::new();
    let plaintext = sample(3 * CHUNK_LEN + 100);
    let envelope = f.encrypt(&plaintext, &context()).unwrap();
    let slots = envelope.len() - (3 * SLOT_LEN + 116);
    for chunks in 0..4 {
        for (by, kind) in [
            (0, ErrorKind::Truncated),
            (1, ErrorKind::Truncated),
            (15, ErrorKind::Truncated),
            (16, ErrorKind::Authentication),
            (17, ErrorKind::Authentication),
            (100, ErrorKind::Authentication),
        ] {
            let cut = &envelope[..slots + chunks * SLOT_LEN + by];
            for piece in [100, CHUNK_LEN, 1 << 20] {
                assert_eq!(
                    decrypt(&f, cut, piece, 1).unwrap_err().kind(),
                    kind,
                    "{chunks} {by}"
                );
            }
            assert_eq!(
                f.reader(cut, &context()).unwrap_err().kind(),
                kind,
                "{chunks} {by}"
            );
            assert_eq!(
                f.decrypt(cut, &context()).unwrap_err().kind(),
                kind,
                "{chunks} {by}"
            );
        }
    }
    for more in [&[0; 1][..], &[0; 16], &envelope[envelope.len() - 116..]] {
        let longer = [&envelope[..], more].concat();
        assert!(decrypt(&f, &longer[..], 1000, 1).is_err());
        assert!(f.reader(&longer[..], &context()).is_err());
    }
}

#[test]
fn chunks_in_another_order_do_not_come_out() {
    let f = Fixture::new();
    let plaintext = sample(3 * CHUNK_LEN + 100);
    let envelope = f.encrypt(&plaintext, &context()).unwrap();
    let start = envelope.len() - (3 * SLOT_LEN + 116);
    let slot = |n: usize| start + n * SLOT_LEN..start + (n + 1) * SLOT_LEN;
    let mut swapped = envelope.clone();
    swapped[slot(1)].copy_from_slice(&envelope[slot(2)]);
    swapped[slot(2)].copy_from_slice(&envelope[slot(1)]);

    let mut decryptor = f.decryptor(&swapped[..], &context()).unwrap();
    let mut out = vec![0xEE; CHUNK_LEN];
    decryptor.read_exact(&mut out).unwrap();
    assert!(
        out == plaintext[..CHUNK_LEN],
        "the first chunk is where it was"
    );
    out.fill(0xEE);
    let error = error_from_io(decryptor.read(&mut out).unwrap_err());
    assert!(matches!(error, Error::AuthenticationFailed));
    assert!(out.iter().all(|b| *b == 0));

    // The last chunk is in its place, so a reader opens; the damage is noticed where it is read.
    let reader = f.reader(&swapped[..], &context()).unwrap();
    for (offset, len, is_good) in [
        (0, CHUNK_LEN, true),
        (3 * CHUNK_LEN, 100, true),
        (CHUNK_LEN, 1, false),
        (0, 3 * CHUNK_LEN, false),
        (CHUNK_LEN - 1, 2, false),
        (2 * CHUNK_LEN, CHUNK_LEN, false),
        (0, CHUNK_LEN, true),
    ] {
        let mut out = vec![0xEE; len];
        let read = reader.read_at(&mut out, offset as u64);
        if is_good {
            assert!(out[..read.unwrap()] == plaintext[offset..offset + len]);
        } else {
            assert!(matches!(read, Err(Error::AuthenticationFailed)));
            assert!(out.iter().all(|b| *b == 0));
        }
    }
}

#[test]
fn a_stream_without_its_end_opens_nowhere() {
    let f = Fixture::new();
    for len in [0, 100, CHUNK_LEN, 2 * CHUNK_LEN + 5] {
        let mut written = Vec::new();
        let mut encryptor = f.encryptor(&mut written, &context()).unwrap();
        encryptor.write_all(&sample(len)).unwrap();
        encryptor.flush().unwrap();
        drop(encryptor);
        assert!(matches!(
            f.decrypt(&written, &context()),
            Err(Error::Truncated)
        ));
        assert!(matches!(
            f.reader(&written[..], &context()),
            Err(Error::Truncated)
        ));
        assert!(matches!(
            decrypt(&f, &written[..], 1000, 1),
            Err(Error::Truncated)
        ));
    }
}

/// Takes so many bytes and then fails, once; or panics.
struct Failing {
    room: usize,
    panics: bool,
    failed: bool,
}

impl Write for Failing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.room == 0 && !self.failed {
            self.failed = true;
            assert!(!self.panics, "as told");
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = data.len().min(self.room.max(1));
        self.room = self.room.saturating_sub(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_fails_fails_the_stream_for_good() {
    let f = Fixture::new();
    for (room, size) in [
        (1000, 20_000),
        (30_000, 20_000),
        (50_000, 1000),
        (300_000, 300_000),
    ] {
        let writer = Failing {
            room,
            panics: false,
            failed: false,
        };
        let options = StreamOptions::default().threads(1);
        let mut encryptor = f.encryptor_with(writer, &context(), options).unwrap();
        let data = sample(size);
        let error = loop {
            if let Err(e) = encryptor.write_all(&data).and_then(|()| encryptor.flush()) {
                break error_from_io(e);
            }
        };
        assert_eq!(error.io().unwrap().kind(), io::ErrorKind::StorageFull);
        let again = error_from_io(encryptor.write_all(b"x").unwrap_err());
        assert!(matches!(again, Error::InvalidState { .. }));
        assert!(encryptor.flush().is_err());
        assert!(matches!(
            encryptor.finish(),
            Err(Error::InvalidState { .. })
        ));
    }
    let writer = Failing {
        room: 10,
        panics: false,
        failed: false,
    };
    assert!(matches!(
        f.encryptor(writer, &context()),
        Err(Error::Io { .. })
    ));
}

#[test]
fn a_writer_that_panics_fails_the_stream_for_good() {
    let f = Fixture::new();
    let writer = Failing {
        room: 1000,
        panics: true,
        failed: false,
    };
    let mut encryptor = f.encryptor(writer, &context()).unwrap();
    let write = AssertUnwindSafe(|| encryptor.write_all(&sample(2 * CHUNK_LEN)));
    assert!(catch_unwind(write).is_err());
    assert!(matches!(
        encryptor.finish(),
        Err(Error::InvalidState { .. })
    ));
}

/// Fails at a place.
struct FailingReader<'a>(&'a [u8]);

impl Read for FailingReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.0.read(out)
    }
}

#[test]
fn a_reader_that_fails_is_no_end() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(40_000), &context()).unwrap();
    for len in [0, 10, 100, 400, 20_000, envelope.len()] {
        let error = decrypt(&f, FailingReader(&envelope[..len]), 1000, 1).unwrap_err();
        assert_eq!(
            error.io().unwrap().kind(),
            io::ErrorKind::ConnectionReset,
            "{len}"
        );
    }
}

#[test]
fn too_long_is_refused_and_not_counted_round() {
    let f = Fixture::new();
    let (message, _) = crate::chunked::Message::seal(
        f.sealing_key(crate::keyring::Form::Full)
            .unwrap()
            .body_key(),
        &[0; 24],
        b"",
    );
    let batch = StreamOptions::default().batch();
    let mut writer = super::super::sealing_writer::SealingWriter::new(io::sink(), message, batch);
    writer.pretend_written(crate::chunked::MAX_PLAINTEXT_LEN - 1);
    writer.write(b"x").unwrap();
    assert!(matches!(
        writer.write(b"x"),
        Err(Error::InvalidArgument { .. })
    ));
}

/// Says that it read a byte more than it was asked for.
struct Boastful<'a>(&'a [u8]);

impl Read for Boastful<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(out)? + 1)
    }
}

impl crate::ReadAt for Boastful<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.0.read_at(buf, offset)? + 1)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

#[test]
fn a_source_that_says_too_much_is_refused() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(40_000), &context()).unwrap();
    let error = decrypt(&f, Boastful(&envelope), 1000, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let error = f.reader(Boastful(&envelope), &context()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}
