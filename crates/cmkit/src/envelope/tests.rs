//! Headers, in and out.

use proptest::prelude::*;

use super::*;
use crate::key_id::KeyId;
use crate::provider::{WrapAlgorithm, WrappedKey};

fn core() -> impl Strategy<Value = Core> {
    let purpose = prop_oneof![
        Just(Purpose::Data),
        Just(Purpose::Volume),
        Just(Purpose::KeyStore)
    ];
    let workspace = proptest::option::of("\\PC{1,40}");
    (any::<[u8; 16]>(), purpose, workspace, 0..1u64 << 63).prop_map(
        |(id, purpose, workspace, created)| Core {
            dek_id: DekId(id),
            purpose,
            workspace,
            created,
        },
    )
}

fn wrapped_key() -> impl Strategy<Value = WrappedKey> {
    let id = "(local|test|x-1):[0-9A-Za-z-]{1,40}/[0-9a-f]{32}|https://[a-z0-9]{1,9}\\.net/keys/[0-9A-Za-z-]{1,40}/[0-9a-f]{32}";
    let algorithm = prop_oneof![Just(WrapAlgorithm::A256Kw), Just(WrapAlgorithm::RsaOaep256)];
    let wrapped = proptest::collection::vec(any::<u8>(), 1..=1024);
    (id, algorithm, wrapped).prop_map(|(id, algorithm, wrapped)| WrappedKey {
        key: KeyId::parse(&id).unwrap(),
        algorithm,
        wrapped,
    })
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![
        Just(Padding::None),
        Just(Padding::FileBlock),
        (0..9000usize).prop_map(Padding::Exactly)
    ]
}

fn encode(keys: &[WrappedKey]) -> Vec<Vec<u8>> {
    (1000..)
        .zip(keys)
        .map(|(at, key)| encode_recipient("a provider", key, at).unwrap())
        .collect()
}

/// The header of these parts; the MAC is no MAC.
fn header(core: &Core, keys: &[WrappedKey], padding: Padding) -> Option<Vec<u8>> {
    build(&core.encode(), &encode(keys), padding, |_| [9; MAC_LEN]).unwrap()
}

/// Every parse of these bytes, however it ends, agrees with what the others say.
fn consistent(bytes: &[u8]) {
    let parsed = Header::parse(bytes);
    let len = header_len(bytes);
    assert_eq!(crate::inspect(bytes).is_ok(), parsed.is_ok());
    let Ok(header) = parsed else { return };
    assert_eq!(len.unwrap(), header.bytes.len());
    assert!(is_envelope(bytes));
    // What parses is deterministic: encoding it again gives the same bytes.
    assert_eq!(header.core.encode(), header.core_bytes);
    let padding = match header.padding {
        None => Padding::None,
        Some(_) => Padding::Exactly(header.bytes.len()),
    };
    let mac = header.bytes.last_chunk().copied().unwrap();
    let again = build(header.core_bytes, &header.recipients, padding, |_| mac)
        .unwrap()
        .unwrap();
    assert_eq!(again, header.bytes);
    for recipient in &header.recipients {
        let wrapped = WrappedKey {
            key: recipient.key_id.clone(),
            algorithm: recipient.algorithm,
            wrapped: recipient.wrapped.to_vec(),
        };
        let again = encode_recipient(recipient.provider, &wrapped, recipient.wrapped_at).unwrap();
        assert_eq!(again, recipient.encoded);
    }
}

proptest! {
    #[test]
    fn what_is_built_parses(
        core in core(),
        keys in proptest::collection::vec(wrapped_key(), 0..5),
        padding in padding(),
        behind in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let Some(bytes) = header(&core, &keys, padding) else { return Ok(()) };
        let followed = [&bytes[..], &behind].concat();
        let parsed = Header::parse(&followed).unwrap();
        prop_assert_eq!(parsed.bytes, &bytes[..]);
        prop_assert_eq!(&parsed.core, &core);
        prop_assert_eq!(parsed.recipients.len(), keys.len());
        for (place, (recipient, key)) in parsed.recipients.iter().zip(&keys).enumerate() {
            prop_assert_eq!(recipient.provider, "a provider");
            prop_assert_eq!(&recipient.key_id, &key.key);
            prop_assert_eq!(recipient.algorithm, key.algorithm);
            prop_assert_eq!(recipient.wrapped, &key.wrapped[..]);
            prop_assert_eq!(recipient.wrapped_at, 1000 + place as u64);
        }
        match padding {
            Padding::None => prop_assert_eq!(parsed.padding, None),
            Padding::FileBlock => prop_assert_eq!(bytes.len() % FILE_BLOCK, 0),
            Padding::Exactly(len) => prop_assert_eq!(bytes.len(), len),
        }
        consistent(&followed);
    }

    #[test]
    fn a_changed_header_parses_consistently(
        core in core(),
        keys in proptest::collection::vec(wrapped_key(), 0..4),
        padding in prop_oneof![Just(Padding::None), Just(Padding::FileBlock)],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = header(&core, &keys, padding).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        consistent(&bytes);
    }

    #[test]
    fn any_bytes_parse_consistently(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        consistent(&bytes);
        let mut front = [&MAGIC[..], &[VERSION, 0, 0, 1]].concat();
        front.extend_from_slice(&bytes);
        consistent(&front);
    }

    #[test]
    fn a_dek_id_is_32_hex_digits(id: [u8; 16]) {
        let id = DekId(id);
        prop_assert_eq!(id.to_string().parse::<DekId>().unwrap(), id);
        prop_assert!(id.to_string().to_uppercase().parse::<DekId>().is_err() || id.to_string().bytes().all(|b| b.is_ascii_digit()));
    }
}

fn some_core() -> Core {
    Core {
        dek_id: DekId([1; 16]),
        purpose: Purpose::Data,
        workspace: None,
        created: 1,
    }
}

fn some_key(wrapped: usize) -> WrappedKey {
    WrappedKey {
        key: KeyId::parse(&format!("local:k/{:032x}", wrapped)).unwrap(),
        algorithm: WrapAlgorithm::A256Kw,
        wrapped: vec![1; wrapped],
    }
}

#[test]
fn padding_reaches_every_length_but_two() {
    let bare = header(&some_core(), &[some_key(80)], Padding::None)
        .unwrap()
        .len();
    for add in 0..600 {
        let padded = header(&some_core(), &[some_key(80)], Padding::Exactly(bare + add));
        assert_eq!(padded.is_some(), add != 25 && add != 258, "{add}");
        if let Some(padded) = padded {
            assert_eq!(padded.len(), bare + add);
            consistent(&padded);
        }
    }
    for less in 1..=bare {
        assert!(header(&some_core(), &[some_key(80)], Padding::Exactly(bare - less)).is_none());
    }
}

#[test]
fn file_blocks_are_filled_around_the_two_lengths() {
    for wrapped in 1..=1024 {
        let keys: Vec<_> = (0..4).map(|n| some_key(wrapped.max(5) - n)).collect();
        let padded = header(&some_core(), &keys, Padding::FileBlock).unwrap();
        assert_eq!(padded.len() % FILE_BLOCK, 0);
        consistent(&padded);
    }
}

#[test]
fn the_longest_header_has_65536_bytes() {
    let keys: Vec<_> = (0..16).map(|n| some_key(1024 - n)).collect();
    let full = header(&some_core(), &keys, Padding::FileBlock).unwrap();
    consistent(&full);
    let longest = MAX_HEADER_LEN;
    let padded = build(
        &some_core().encode(),
        &encode(&keys),
        Padding::Exactly(longest),
        |_| [0; 32],
    );
    // RECIPIENTS has a two-byte length: together with the rest the longest header is out of its reach, or just within it.
    if let Ok(Some(bytes)) = padded {
        assert_eq!(bytes.len(), longest);
        consistent(&bytes);
    }
    let beyond = build(
        &some_core().encode(),
        &encode(&keys),
        Padding::Exactly(longest + 1),
        |_| [0; 32],
    );
    assert!(beyond.is_err() || beyond.is_ok_and(|header| header.is_none()));
}

#[test]
fn text_files_and_mangled_transfers_are_no_envelopes() {
    let bytes = header(&some_core(), &[some_key(80)], Padding::None).unwrap();
    assert!(is_envelope(&bytes) && is_envelope(&bytes[..9]));
    let without_cr: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'\r').collect();
    let seven_bit: Vec<u8> = bytes.iter().map(|b| b & 0x7F).collect();
    for not in [
        &b""[..],
        b"\x89",
        b"\x89CMK\r\n\x1a\n",
        b"hello",
        &without_cr,
        &seven_bit,
        &bytes[1..],
    ] {
        assert!(!is_envelope(not));
    }
}
