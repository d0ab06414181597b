//! Streams in pieces of any length, and reads at any place, agree with the call that takes all at once.

#![no_main]

use std::io::{Read, Seek, SeekFrom, Write as _};
use std::sync::{Arc, OnceLock};

use cmkit::{
    EncryptionContext, Error, ErrorKind, HeaderPadding, KeyId, KeyRef, Keyring, StreamOptions,
    error_from_io,
};
use cmkit_fuzz::{Input, Keks, plaintext};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    let keyring = KEYRING.get_or_init(keyring);
    let mut input = Input::new(data);
    let context = EncryptionContext::empty();
    let text = plaintext(input.len());
    let options = input.byte();
    let mut envelope = seal(keyring, &text, options, &mut input);
    assert_eq!(cmkit::decrypted_len(&envelope).unwrap(), text.len() as u64);

    match options >> 4 & 3 {
        0 | 1 => {}
        2 => {
            let cut = input.len().min(envelope.len());
            envelope.truncate(envelope.len() - cut);
        }
        _ => {
            let at = input.len() % envelope.len();
            envelope[at] ^= 1 << (options & 7);
        }
    }
    let opened = keyring.decrypt(&envelope, &context);
    if let Ok(opened) = &opened {
        assert!(*opened == text);
    }
    let outcome = opened.map(drop).map_err(|e| e.kind());
    let threads = StreamOptions::default().threads(1 + usize::from(options & 1));
    read_in_pieces(keyring, &envelope, &text, threads, &mut input, outcome);
    read_anywhere(keyring, &envelope, &text, &mut input, outcome);
});

fn keyring() -> Keyring {
    let id = KeyId::parse("local:fuzz/00000000000000000000000000000001").expect("an id");
    let mut keks = Keks::default();
    keks.add(id.clone(), [7; 32]);
    let builder = Keyring::builder()
        .provider(Arc::new(keks))
        .wrap_with(KeyRef::from(id));
    builder.build().expect("a keyring")
}

fn seal(keyring: &Keyring, text: &[u8], options: u8, input: &mut Input<'_>) -> Vec<u8> {
    let context = EncryptionContext::empty();
    if options & 8 == 8 {
        return keyring.encrypt(text, &context).unwrap();
    }
    let padding = if options & 4 == 4 {
        HeaderPadding::FileBlock
    } else {
        HeaderPadding::None
    };
    let stream = StreamOptions::default()
        .padded_header(padding)
        .threads(1 + usize::from(options & 1));
    let mut stream = keyring
        .encryptor_with(Vec::new(), &context, stream)
        .unwrap();
    let mut rest = text;
    while !rest.is_empty() {
        // Pieces come to an end with the input; the rest is one.
        let len = if input.is_empty() {
            rest.len()
        } else {
            input.len().min(rest.len())
        };
        let (piece, behind) = rest.split_at(len);
        stream.write_all(piece).unwrap();
        rest = behind;
        if options & 2 == 2 {
            stream.flush().unwrap();
        }
    }
    stream.finish().unwrap()
}

/// Gives few bytes at a time, as many as the input says.
struct Slow<'a, 'b> {
    rest: &'a [u8],
    input: &'a mut Input<'b>,
}

impl Read for Slow<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let most = if self.input.is_empty() {
            usize::MAX
        } else {
            self.input.len().max(1)
        };
        let len = most.min(buf.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(len);
        buf[..len].copy_from_slice(piece);
        self.rest = rest;
        Ok(len)
    }
}

fn read_in_pieces(
    keyring: &Keyring,
    envelope: &[u8],
    text: &[u8],
    options: StreamOptions,
    input: &mut Input<'_>,
    outcome: Result<(), ErrorKind>,
) {
    let context = EncryptionContext::empty();
    let piece = input.len().clamp(1, 70_000);
    let source = Slow {
        rest: envelope,
        input,
    };
    let mut opened = Vec::new();
    let read = || -> Result<(), Error> {
        let mut stream = keyring.decryptor_with(source, &context, options)?;
        let mut buf = vec![0; piece];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(n) => opened.extend_from_slice(&buf[..n]),
                Err(e) => {
                    let error = error_from_io(e);
                    // A stream that failed stays failed.
                    assert!(stream.read(&mut buf).is_err());
                    return Err(error);
                }
            }
        }
    };
    let streamed = read().map_err(|e| e.kind());
    assert_eq!(streamed, outcome);
    // What was released before a fault was seen is authentic.
    assert!(text.starts_with(&opened));
    assert!(streamed.is_err() || opened.len() == text.len());
}

fn read_anywhere(
    keyring: &Keyring,
    envelope: &[u8],
    text: &[u8],
    input: &mut Input<'_>,
    outcome: Result<(), ErrorKind>,
) {
    let reader = keyring.reader(envelope, &EncryptionContext::empty());
    let Ok(mut reader) = reader else {
        assert!(outcome.is_err());
        return;
    };
    // The length is authentic from the start.
    assert_eq!(reader.len(), text.len() as u64);
    let mut buf = vec![0; 40_000];
    for _ in 0..8 {
        let (at, len) = (input.len(), input.len().min(buf.len()));
        let from_end = input.byte() & 1 == 1;
        let seek = if from_end {
            SeekFrom::End(-(at as i64))
        } else {
            SeekFrom::Start(at as u64)
        };
        let Ok(at) = reader.seek(seek) else {
            assert!(from_end && at > text.len());
            continue;
        };
        let at = usize::try_from(at).unwrap();
        let there = text.get(at..).unwrap_or_default();
        for read in [
            reader.read_at(&mut buf[..len], at as u64).ok(),
            reader.read(&mut buf[..len]).ok(),
        ] {
            match read {
                Some(n) => {
                    assert!(n <= there.len() && buf[..n] == there[..n]);
                    assert!(n > 0 || len == 0 || there.is_empty());
                }
                None => assert!(outcome.is_err()),
            }
        }
    }
    // All of it; a fault anywhere shows.
    reader.rewind().unwrap();
    let mut all = Vec::new();
    let read = reader
        .read_to_end(&mut all)
        .map(drop)
        .map_err(|e| error_from_io(e).kind());
    assert_eq!(read, outcome);
    assert!(text.starts_with(&all));
}
