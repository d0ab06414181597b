use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::{BlockKey, BlockSeal, BlockSize, SectorSize, VolumeLayout, XtsKey};
use crate::{
    EncryptionContext, Error, ErrorKind, KeyId, KeyRef, KeyType, Keyring, LocalKeyProvider, Rewrap,
};

const LEN: usize = 4096;

/// Longer than an answer of the keys is believed.
const A_WHILE: Duration = Duration::from_millis(1100);

fn filled(blocks: usize) -> Vec<u8> {
    let bytes = (0..=250_u8).cycle().take(blocks * LEN);
    bytes.collect()
}

fn sealed(key: &BlockKey, first: u64, blocks: usize) -> (Vec<u8>, Vec<BlockSeal>) {
    let mut data = filled(blocks);
    let mut seals = vec![BlockSeal::UNWRITTEN; blocks];
    key.encrypt_blocks(first, &mut data, &mut seals).unwrap();
    (data, seals)
}

struct World {
    _dir: tempfile::TempDir,
    keys: Arc<LocalKeyProvider>,
    keyring: Keyring,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let keys = Arc::new(LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap());
    for name in ["a", "b"] {
        keys.create_key(name, KeyType::Oct256).unwrap();
    }
    let keyring = Keyring::builder()
        .provider(Arc::clone(&keys) as _)
        .wrap_with(KeyRef::local("a").unwrap())
        .build()
        .unwrap();
    World {
        _dir: dir,
        keys,
        keyring,
    }
}

#[test]
fn there_and_back_in_every_size() {
    for size in BlockSize::ALL {
        let key = BlockKey::random(size).unwrap();
        let len = size.bytes() as usize;
        assert_eq!(BlockSize::from_bytes(size.bytes()).unwrap(), size);
        let mut data = vec![5; 3 * len];
        let mut seals = [BlockSeal::UNWRITTEN; 3];
        key.encrypt_blocks((1 << 48) - 3, &mut data, &mut seals)
            .unwrap();
        assert_eq!(seals.map(|s| s.version()), [1, 2, 3]);
        assert!(data.chunks(len).all(|block| block != vec![5; len]));
        // The seals, taken apart and put together.
        let seals = seals.map(|s| BlockSeal::from_bytes(s.to_bytes()));
        key.decrypt_blocks((1 << 48) - 3, &mut data, &seals)
            .unwrap();
        assert_eq!(data, vec![5; 3 * len]);
    }
    assert_eq!(
        BlockSize::from_bytes(512).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn the_nonce_is_block_and_version() {
    let dek = crate::secret::Dek::try_fill::<()>(|dek| {
        dek.fill(9);
        Ok(())
    })
    .unwrap();
    let derivation = super::derive::Derivation::new(super::derive::Mode::Ephemeral, 4096, [7; 32]);
    let expanded = derivation.expand::<32>(dek.expose());
    // docs/format.md, section 14, computed step by step.
    let info = [
        b"cmkit/v1/volume\0".as_slice(),
        &[0, 1, 1, 0, 0, 16, 0],
        &[7; 32],
    ]
    .concat();
    let mut expected = [0; 32];
    crate::crypto::ExpandKey::new(&[9; 32]).expand(&[&info], &mut expected);
    assert_eq!(**expanded, expected);

    let mut nonce = [0; 12];
    nonce[4..6].copy_from_slice(&[1, 2]);
    nonce[10..].copy_from_slice(&[3, 4]);
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    key.skip_versions_to(0x0304);
    let (_, seals) = sealed(&key, 0x0102, 1);
    assert_eq!(seals[0].nonce(0x0102), nonce);
}

#[test]
fn from_one_buffer_to_another() {
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    let (text, mut out) = (filled(3), vec![1; 3 * LEN]);
    let mut seals = [BlockSeal::UNWRITTEN; 3];
    key.encrypt_blocks_into(5, &text, &mut out, &mut seals)
        .unwrap();
    assert_eq!(text, filled(3));
    key.decrypt_blocks(5, &mut out, &seals).unwrap();
    assert_eq!(out, text);
    for (given, room) in [(2, 3), (3, 2), (4, 3)] {
        let mut out = vec![1; room * LEN];
        let refused = key.encrypt_blocks_into(5, &filled(given), &mut out, &mut seals);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(out, vec![0; room * LEN]);
        assert!(seals.iter().all(BlockSeal::is_unwritten));
    }
}

#[test]
fn unwritten_blocks_are_zeros() {
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    let (mut data, mut seals) = sealed(&key, 7, 3);
    seals[1] = BlockSeal::UNWRITTEN;
    key.decrypt_blocks(7, &mut data, &seals).unwrap();
    let mut expected = filled(3);
    expected[LEN..2 * LEN].fill(0);
    assert_eq!(data, expected);
}

#[test]
fn every_change_is_seen() {
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    let (data, seals) = sealed(&key, 10, 3);
    let refused = |first: u64, mut data: Vec<u8>, seals: &[BlockSeal], damaged: u64| {
        let error = key.decrypt_blocks(first, &mut data, seals).unwrap_err();
        assert!(
            matches!(error, Error::DamagedBlock { block } if block == damaged),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(data.iter().all(|byte| *byte == 0));
    };
    for bit in [0, 1, 8 * LEN - 1, 8 * LEN, 8 * 3 * LEN - 1] {
        let mut flipped = data.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(10, flipped, &seals, 10 + (bit / 8 / LEN) as u64);
    }
    for bit in 0..8 * BlockSeal::LEN {
        let mut bytes = seals[1].to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(
            10,
            data.clone(),
            &[seals[0], BlockSeal::from_bytes(bytes), seals[2]],
            11,
        );
    }
    // Swapped, with and without their seals.
    let swapped = [&data[LEN..2 * LEN], &data[..LEN], &data[2 * LEN..]].concat();
    refused(10, swapped.clone(), &seals, 10);
    refused(10, swapped, &[seals[1], seals[0], seals[2]], 10);
    refused(11, data.clone(), &seals, 11);
    // Rolled back: what was there before, under the newest seal.
    let (_, newer) = sealed(&key, 10, 3);
    refused(10, data.clone(), &newer, 10);
    // Zeroed, and another key's.
    refused(10, vec![0; 3 * LEN], &seals, 10);
    let (other, _) = sealed(&BlockKey::random(BlockSize::Kib4).unwrap(), 10, 3);
    refused(10, other, &seals, 10);
}

#[test]
fn versions_are_taken_once_also_by_failures() {
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    let taken = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let each = (0..200).flat_map(|i| sealed(&key, 5, 1 + i % 5).1);
                    each.map(|seal| seal.version()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len());

    let limit = (1 << 50) / 4096;
    key.skip_versions_to(limit);
    assert_eq!(sealed(&key, 0, 1).1[0].version(), limit);
    for count in [1, 2] {
        let mut data = filled(count);
        let mut seals = vec![BlockSeal::from_bytes([1; 22]); count];
        let error = key.encrypt_blocks(0, &mut data, &mut seals).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Policy);
        assert!(data.iter().all(|byte| *byte == 0));
        assert!(seals.iter().all(BlockSeal::is_unwritten));
    }
    key.skip_versions_to(limit);
    let mut two = filled(2);
    let refused = key.encrypt_blocks(0, &mut two, &mut [BlockSeal::UNWRITTEN; 2]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Policy);
}

#[test]
fn wrong_lengths_and_numbers_are_refused() {
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    for (first, bytes, seals) in [
        (0, LEN - 1, 1),
        (0, LEN, 0),
        (0, LEN, 2),
        (1 << 48, LEN, 1),
        (u64::MAX, LEN, 1),
        ((1 << 48) - 1, 2 * LEN, 2),
    ] {
        let mut seals = vec![BlockSeal::UNWRITTEN; seals];
        let refused = key.encrypt_blocks(first, &mut vec![1; bytes], &mut seals);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let refused = key.decrypt_blocks(first, &mut vec![1; bytes], &seals);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    key.encrypt_blocks(0, &mut [], &mut []).unwrap();

    let xts = XtsKey::random(SectorSize::B4096).unwrap();
    for (offset, len) in [(0, 100), (512, LEN), (1 << 48, LEN), (u64::MAX - 4095, LEN)] {
        let refused = xts.encrypt_sectors(offset, &mut vec![1; len]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let refused = xts.decrypt_sectors(offset, &mut vec![1; len]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let distinct: Vec<u8> = (0..64).collect();
    for (key, iv_offset) in [(&[1; 64][..], 0), (&distinct[..63], 0), (&distinct[..], 1)] {
        let refused = XtsKey::from_bytes(key, SectorSize::B4096, iv_offset);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_destroyed_key_does_nothing_more() {
    let key = BlockKey::random(BlockSize::Kib4).unwrap();
    let (mut data, seals) = sealed(&key, 0, 1);
    assert!(!key.is_destroyed());
    key.destroy();
    key.destroy();
    assert!(key.is_destroyed());
    let error = key.decrypt_blocks(0, &mut data, &seals).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert_eq!(data, vec![0; LEN]);
    assert_eq!(key.check().unwrap_err().kind(), ErrorKind::InvalidState);
}

#[test]
fn sectors_count_512_bytes_whatever_their_size() {
    let bytes: Vec<u8> = (0..64).collect();
    let key = |size, iv_offset| XtsKey::from_bytes(&bytes, size, iv_offset).unwrap();
    // The second sector of 4096 bytes has the number 8, and so has the first one after an offset of 8 units.
    let mut one = filled(2);
    key(SectorSize::B4096, 0)
        .encrypt_sectors(0, &mut one)
        .unwrap();
    let mut two = filled(2)[LEN..].to_vec();
    key(SectorSize::B4096, 8)
        .encrypt_sectors(0, &mut two)
        .unwrap();
    assert_eq!(two, one[LEN..]);
    let mut small = filled(2);
    key(SectorSize::B512, 0)
        .encrypt_sectors(0, &mut small)
        .unwrap();
    assert_eq!(small[..512], one[..512]);
    assert_ne!(small[512..1024], one[512..1024]);
    key(SectorSize::B4096, 0)
        .decrypt_sectors(0, &mut one)
        .unwrap();
    assert_eq!(one, filled(2));
}

#[test]
fn stops_when_its_key_is_taken_away_and_goes_on_when_it_is_back() {
    let world = world();
    let key = world.keyring.new_block_key(BlockSize::Kib4).unwrap();
    let version: KeyId = key.key_ids().pop().unwrap();
    let (data, seals) = sealed(&key, 3, 2);
    key.check().unwrap();

    world.keys.disable(&version).unwrap();
    thread::sleep(A_WHILE);
    assert_eq!(key.check().unwrap_err().kind(), ErrorKind::KeyDisabled);
    let error = key
        .decrypt_blocks(3, &mut data.clone(), &seals)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
    assert_eq!(key.check().unwrap_err().kind(), ErrorKind::KeyDisabled);

    world.keys.enable(&version).unwrap();
    key.check().unwrap();
    let mut again = data.clone();
    key.decrypt_blocks(3, &mut again, &seals).unwrap();
    assert_eq!(again, filled(2));
    // The count went on.
    assert_eq!(sealed(&key, 3, 1).1[0].version(), 3);

    key.destroy();
    thread::sleep(A_WHILE);
    assert_eq!(key.check().unwrap_err().kind(), ErrorKind::InvalidState);
}

#[test]
fn a_volume_file_opens_its_volume_again_and_moves_to_other_keys() {
    let World { keys, keyring, .. } = &world();
    let layout = VolumeLayout {
        sector_size: SectorSize::B512,
        iv_offset: 3,
        len: 1 << 20,
    };
    let (key, file) = keyring.create_xts_volume(&layout).unwrap();
    let mut data = filled(1);
    key.encrypt_sectors(512, &mut data).unwrap();
    let opened = |file: &[u8], keyring: &Keyring| {
        let (again, found) = keyring.open_xts_volume(file).unwrap();
        assert_eq!(found, layout);
        let mut plain = data.clone();
        again.decrypt_sectors(512, &mut plain).unwrap();
        assert_eq!(plain, filled(1));
        again
    };
    let again = opened(&file, keyring);
    assert_eq!(again.dek_id(), key.dek_id());

    // What a kernel gets is the same key.
    let raw = again.kernel_key().unwrap();
    let mut plain = data.clone();
    let raw = XtsKey::from_bytes(raw.expose(), layout.sector_size, layout.iv_offset).unwrap();
    raw.decrypt_sectors(512, &mut plain).unwrap();
    assert_eq!(plain, filled(1));
    assert_eq!(
        raw.kernel_key().err().unwrap().kind(),
        ErrorKind::InvalidState
    );

    let b = KeyRef::local("b").unwrap();
    let moved = keyring.rewrap(&file, &Rewrap::to(b.clone())).unwrap();
    let other = Keyring::builder()
        .provider(Arc::clone(keys) as _)
        .wrap_with(b)
        .build()
        .unwrap();
    opened(&moved, &other);
    assert_eq!(
        other.open_xts_volume(&file).unwrap_err().kind(),
        ErrorKind::KeyNotAllowed
    );

    // A volume's key is no document's, and the other way round.
    let context = EncryptionContext::default();
    assert_eq!(
        keyring.decrypt(&file, &context).unwrap_err().kind(),
        ErrorKind::Format
    );
    let document = keyring.encrypt(b"text", &context).unwrap();
    assert_eq!(
        keyring.open_xts_volume(&document).unwrap_err().kind(),
        ErrorKind::Format
    );
    for at in 0..file.len() {
        let mut forged = file.clone();
        forged[at] ^= 1;
        assert!(keyring.open_xts_volume(&forged).is_err(), "byte {at}");
    }
    for len in [0, 8, 100, 4096, file.len() - 1] {
        assert!(
            keyring.open_xts_volume(&file[..len]).is_err(),
            "{len} bytes"
        );
    }
}

#[test]
fn volumes_that_cannot_be_are_refused() {
    let World { keyring, .. } = &world();
    for (len, iv_offset) in [
        (0, 0),
        (4095, 0),
        ((1 << 48) + 4096, 0),
        (4096, 1),
        // No reader takes such a number.
        (4096, 1 << 63),
        (4096, u64::MAX - 7),
    ] {
        let layout = VolumeLayout {
            sector_size: SectorSize::B4096,
            iv_offset,
            len,
        };
        let refused = keyring.create_xts_volume(&layout).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{len}");
    }
}

#[test]
fn sector_numbers_do_not_begin_again() {
    let bytes: Vec<u8> = (0..64).collect();
    let last = XtsKey::from_bytes(&bytes, SectorSize::B4096, u64::MAX - 15).unwrap();
    last.encrypt_sectors(0, &mut vec![1; LEN]).unwrap();
    let refused = last.encrypt_sectors(LEN as u64, &mut vec![1; LEN]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_volume_file_is_a_file_like_others_for_rotations() {
    let World {
        keys,
        keyring,
        _dir,
    } = &world();
    let layout = VolumeLayout {
        sector_size: SectorSize::B4096,
        iv_offset: 0,
        len: 1 << 20,
    };
    let (key, file) = keyring.create_xts_volume(&layout).unwrap();
    let dek_id = key.dek_id().unwrap();
    let path = _dir.path().join("volume.cmk");
    std::fs::write(&path, &file).unwrap();
    let inspected = crate::inspect(&file).unwrap();
    assert_eq!(inspected.purpose, crate::Purpose::Volume);
    assert_eq!(inspected.purpose.name(), "volume");
    let opens = |keyring: &Keyring| {
        let (again, found) = keyring
            .open_xts_volume(&std::fs::read(&path).unwrap())
            .unwrap();
        assert_eq!((found, again.dek_id()), (layout, Some(dek_id)));
        again.key_ids()
    };
    let old = opens(keyring).remove(0);

    // To the newest version of the same key, in place: the length stays.
    let newer = keys.rotate("a").unwrap();
    keyring
        .rewrap_file(&path, &Rewrap::to(KeyRef::local("a").unwrap()))
        .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), file.len() as u64);
    assert!(opens(keyring).contains(&newer));
    let mut census = keyring.census();
    census.add_file(&path);
    assert_eq!(
        (census.headers(), census.rows(), census.unreadable_count()),
        (1, 0, 0)
    );
    assert!(census.version(&newer).is_some() && census.version(&old).is_none());

    // And to another one.
    let b = KeyRef::local("b").unwrap();
    keyring.rewrap_file(&path, &Rewrap::to(b.clone())).unwrap();
    let other = Keyring::builder().provider(Arc::clone(keys) as _);
    opens(&other.wrap_with(b).build().unwrap());
    assert!(
        keyring
            .open_xts_volume(&std::fs::read(&path).unwrap())
            .is_err()
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(first in 0..1_u64 << 40, blocks in 0..6_usize, byte: u8) {
        let key = BlockKey::random(BlockSize::Kib4).unwrap();
        let mut data = vec![byte; blocks * LEN];
        let mut seals = vec![BlockSeal::UNWRITTEN; blocks];
        key.encrypt_blocks(first, &mut data, &mut seals).unwrap();
        key.decrypt_blocks(first, &mut data, &seals).unwrap();
        prop_assert_eq!(data, vec![byte; blocks * LEN]);
    }
}
