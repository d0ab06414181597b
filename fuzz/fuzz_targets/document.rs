//! What decrypts is what was encrypted, however the envelope was changed; and every way to decrypt says the same.

#![no_main]

use std::sync::{Arc, OnceLock};

use cmkit::{AllowEntry, EncryptionContext, KeyRef, Keyring};
use cmkit_fuzz::{Input, Keks, Vector, remac, vectors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (vectors, _) = vectors();
    let mut input = Input::new(data);
    let which = usize::from(input.byte());
    let Some(vector) = vectors.get(which % (vectors.len() + 1)) else {
        // Not made of a vector at all.
        decrypt(&vectors[0], input.rest());
        return;
    };
    let mut envelope = vector.envelope.clone();
    let options = input.byte();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        change(&mut envelope, &mut input);
    }
    // With a right MAC, what lies behind it is reached.
    if options & 1 == 1 {
        remac(&mut envelope, &vector.dek);
    }
    if options & 2 == 2 {
        // What was seen must not help.
        decrypt(vector, &vector.envelope);
    }
    decrypt(vector, &envelope);
});

/// One of the things that happen to bytes. Most of them near the front, where the header is.
fn change(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.byte();
    let at = if kind & 0x80 == 0 {
        input.below(bytes.len().min(600))
    } else {
        input.below(bytes.len())
    };
    match kind & 7 {
        0 | 1 => {
            let value = input.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (kind >> 3 & 7);
            }
        }
        3 => bytes.truncate(at),
        4 => {
            let len = usize::from(input.byte());
            bytes.splice(at..at, input.bytes(len).iter().copied());
        }
        5 => {
            let end = bytes.len().min(at + usize::from(input.byte()));
            bytes.drain(at..end);
        }
        6 => {
            let from = input.below(bytes.len());
            let end = bytes.len().min(from + input.len());
            let copy = bytes[from..end].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            // A CORE or RECIPIENTS of another length, with a prefix that says so.
            let len = usize::from(input.byte());
            let insert = input.bytes(len);
            let field = if kind & 8 == 0 { 12 } else { 14 };
            let Some([high, low]) = bytes.get(field..field + 2) else {
                return;
            };
            let old = u16::from_be_bytes([*high, *low]);
            let new = old.wrapping_add(insert.len() as u16);
            bytes[field..field + 2].copy_from_slice(&new.to_be_bytes());
            bytes.splice(at..at, insert.iter().copied());
        }
    }
}

fn keyring(workspace: Option<&str>) -> Keyring {
    let allow = |name: &str| AllowEntry::Key(KeyRef::parse(name).expect("a key"));
    let builder = Keyring::builder()
        .provider(Arc::new(Keks::golden()))
        .allow(allow("local:golden"));
    match workspace {
        Some(workspace) => builder.workspace(workspace),
        None => builder,
    }
    .build()
    .expect("a keyring")
}

fn decrypt(vector: &Vector, envelope: &[u8]) {
    static PLAIN: OnceLock<Keyring> = OnceLock::new();
    let keyring = match &vector.workspace {
        None => PLAIN.get_or_init(|| keyring(None)).clone(),
        some => keyring(some.as_deref()),
    };
    let context = EncryptionContext::new(vector.context.clone()).expect("a context");
    let opened = keyring.decrypt(envelope, &context);
    if let Ok(opened) = &opened {
        assert!(*opened == vector.plaintext, "something else came out");
    }
    let kind = opened.as_ref().map(drop).map_err(cmkit::Error::kind);

    let mut out = vec![0xAA; vector.plaintext.len() + 1000];
    let into = keyring.decrypt_into(envelope, &context, &mut out);
    if into
        .as_ref()
        .is_err_and(|e| e.kind() == cmkit::ErrorKind::BufferTooSmall)
    {
        assert!(kind.is_err());
    } else {
        assert_eq!(into.as_ref().map(drop).map_err(cmkit::Error::kind), kind);
    }
    check(vector, into, &out, 0xAA);
    let mut buffer = envelope.to_vec();
    let in_place = keyring.decrypt_in_place(&mut buffer, &context);
    assert_eq!(
        in_place.as_ref().map(drop).map_err(cmkit::Error::kind),
        kind
    );
    check(vector, in_place, &buffer, 0);
}

fn check(vector: &Vector, result: cmkit::Result<usize>, out: &[u8], rest: u8) {
    match result {
        Ok(len) => {
            assert!(out[..len] == vector.plaintext);
            assert!(out[len..].iter().all(|b| *b == rest));
        }
        Err(_) => assert!(out.iter().all(|b| *b == 0), "a failure left something"),
    }
}
