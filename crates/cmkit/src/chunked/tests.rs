//! Vectors, boundaries, and what must not open.

mod inflate;
mod vectors;

pub(crate) use vectors::{Vector, cobblestone_256};

use proptest::prelude::*;

use super::*;

const KEY: [u8; KEY_LEN] = [7; KEY_LEN];
const SALT: [u8; SALT_LEN] = [9; SALT_LEN];

fn message() -> Message {
    Message::seal(&ExpandKey::new(&KEY), &SALT, b"context").0
}

/// Bytes of which no two chunks are alike.
pub(crate) fn sample(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| ((i * 31) ^ (i >> 8)).to_le_bytes()[0])
        .collect()
}

fn seal(plaintext: &[u8]) -> Vec<u8> {
    let mut slots = vec![0; usize::try_from(slots_len(plaintext.len() as u64).unwrap()).unwrap()];
    message().seal_chunks(0, plaintext, &mut slots, 1).unwrap();
    slots
}

/// Lengths around the boundaries of chunks, from one to enough that threads share the work.
fn lengths() -> impl Strategy<Value = usize> {
    let around = (0..200usize, -1..=1isize);
    around.prop_map(|(chunks, by)| (chunks * CHUNK_LEN).saturating_add_signed(by))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_way_of_sealing_gives_the_same(len in lengths(), threads in 1..5usize, start in 0..100usize) {
        let plaintext = sample(len);
        let sealed = seal(&plaintext);

        let mut slots = vec![0; sealed.len()];
        message().seal_chunks(0, &plaintext, &mut slots, threads).unwrap();
        prop_assert!(slots == sealed);

        let mut buffer = plaintext.clone();
        buffer.resize(start + sealed.len(), 0xEE);
        message().seal_in_place(&mut buffer, len, start, threads).unwrap();
        prop_assert!(buffer[start..] == sealed[..]);

        let first = len / CHUNK_LEN / 2;
        let (front, back) = slots.split_at_mut(first * SLOT_LEN);
        message().seal_chunks(0, &plaintext[..first * CHUNK_LEN], front, threads).unwrap();
        message().seal_chunks(first as u64, &plaintext[first * CHUNK_LEN..], back, threads).unwrap();
        prop_assert!(slots == sealed);
    }

    #[test]
    fn every_way_of_opening_gives_the_plaintext(len in lengths(), threads in 1..5usize, start in 0..100usize) {
        let plaintext = sample(len);
        let sealed = seal(&plaintext);

        let mut out = vec![0xEE; len];
        message().open_chunks(0, &sealed, &mut out, threads).unwrap();
        prop_assert!(out == plaintext);

        let mut buffer = vec![0xEE; start];
        buffer.extend_from_slice(&sealed);
        prop_assert_eq!(message().open_in_place(&mut buffer, start, threads).unwrap(), len);
        prop_assert!(buffer[..len] == plaintext[..]);
        prop_assert!(buffer[len..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_changed_byte_leaves_only_zeros(len in lengths(), threads in 1..5usize, place: prop::sample::Index) {
        let mut sealed = seal(&sample(len));
        let place = place.index(sealed.len());
        sealed[place] ^= 0x40;

        let mut out = vec![0xEE; len];
        let opened = message().open_chunks(0, &sealed, &mut out, threads);
        prop_assert!(matches!(opened, Err(Error::AuthenticationFailed)));
        prop_assert!(out.iter().all(|b| *b == 0));

        let opened = message().open_in_place(&mut sealed, 0, threads);
        prop_assert!(matches!(opened, Err(Error::AuthenticationFailed)));
        prop_assert!(sealed.iter().all(|b| *b == 0));
    }
}

#[test]
fn chunks_swapped_repeated_or_appended_do_not_open() {
    let sealed = seal(&sample(3 * CHUNK_LEN + 5));
    let slots: Vec<&[u8]> = sealed.chunks(SLOT_LEN).collect();
    for order in [
        &[1, 0, 2, 3][..],
        &[0, 2, 1, 3],
        &[0, 0, 1, 2, 3],
        &[0, 1, 2, 2, 3],
        &[0, 0, 2, 3],
        &[0, 1, 3],
        &[1, 2, 3],
        &[0, 1, 2, 0, 3],
    ] {
        let forged: Vec<u8> = order
            .iter()
            .flat_map(|n| slots[*n].iter().copied())
            .collect();
        let mut out = vec![0xEE; text_len(forged.len())];
        let opened = message().open_chunks(0, &forged, &mut out, 1);
        assert!(
            matches!(opened, Err(Error::AuthenticationFailed)),
            "{order:?}"
        );
        assert!(out.iter().all(|b| *b == 0));
    }
}

#[test]
fn the_commitment_comes_before_any_chunk() {
    let key = ExpandKey::new(&KEY);
    let (_, preamble) = Message::seal(&key, &SALT, b"context");
    assert!(Message::open(&key, &preamble, b"context").is_ok());
    assert!(Message::open(&key, &preamble, b"another").is_err());
    assert!(Message::open(&ExpandKey::new(&[8; KEY_LEN]), &preamble, b"context").is_err());
    for bit in 0..PREAMBLE_LEN * 8 {
        let mut changed = preamble;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(
            Message::open(&key, &changed, b"context"),
            Err(Error::AuthenticationFailed)
        ));
    }
}

#[test]
fn the_counter_ends_at_2_to_the_38() {
    let mut slot = [0; SLOT_LEN];
    message().seal_slots(MAX_CHUNKS - 1, &mut slot, 1).unwrap();
    message().open_slots(MAX_CHUNKS - 1, &mut slot, 1).unwrap();
    for first in [MAX_CHUNKS, u64::MAX] {
        assert!(matches!(
            message().seal_slots(first, &mut slot, 1),
            Err(Error::InvalidArgument { .. })
        ));
    }
    let mut two = vec![0; 2 * SLOT_LEN];
    assert!(message().seal_slots(MAX_CHUNKS - 1, &mut two, 1).is_err());
}

#[test]
fn a_slot_shorter_than_a_tag_is_a_cut() {
    for len in [1, 15, SLOT_LEN + 1, SLOT_LEN + 15] {
        let mut slots = vec![1; len];
        assert!(matches!(
            message().open_slots(0, &mut slots, 1),
            Err(Error::Truncated)
        ));
    }
}
