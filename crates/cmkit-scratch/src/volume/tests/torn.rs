//! Writes that fail or tear at every point: a block is what it was, what it was to be, or an error.

use cmkit::{BlockSize, Error};

use super::{Scene, VolumeMode, filled};
use crate::backing::{Call, Fault};
use crate::device::{BlockDevice as _, Durability, Zeroes};

const EIO: i32 = 5;
const BLOCK: usize = 4096;

/// Every block is old or new as a whole, or refused as poisoned. How many are refused.
fn check_blocks(scene: &Scene, old: &[u8], new: &[u8], what: &str) -> u64 {
    let mut poisoned = 0;
    for (block, (old, new)) in old
        .chunks(scene.block)
        .zip(new.chunks(scene.block))
        .enumerate()
    {
        match scene.read(scene.place(block), scene.block) {
            Ok(read) => assert!(
                read == old || read == new,
                "{what}: block {block} is a mixture"
            ),
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{what}: {error}");
                assert!(
                    error.to_string().contains(&format!("block {block}")),
                    "{what}: {error}"
                );
                poisoned += 1;
            }
        }
    }
    assert_eq!(scene.volume.stats().poisoned_blocks, poisoned, "{what}");
    poisoned
}

/// Tears the `nth` write to the backing of a write of `range`, by both ways of writing; then heals.
fn tear(scene: &Scene, range: std::ops::Range<usize>, nth: u64, fault: Fault, owned: bool) -> bool {
    let blocks = scene.volume.len() as usize;
    let old = filled(blocks, 3);
    scene.write(0, &old).unwrap();
    let mut new = old.clone();
    let text = filled(range.len(), 0x77);
    new[range.clone()].copy_from_slice(&text);
    let what = format!("{range:?}, write {nth}, {fault:?}, owned {owned}");

    let failed = scene.volume.stats().failed;
    scene.faults.forget();
    scene.faults.plan(Call::Write, nth, fault);
    let result = if owned {
        let mut room = text.clone();
        let result = scene
            .volume
            .write_from(&mut room, range.start as u64, Durability::Cached);
        assert!(result.is_ok() || room.iter().all(|b| *b == 0), "{what}");
        assert!(room != text, "{what}: plaintext is left");
        result
    } else {
        scene.write(range.start as u64, &text)
    };
    scene.faults.clear();
    let was_hit = scene.faults.writes().len() as u64 >= nth;
    assert_eq!(result.is_err(), was_hit, "{what}");
    let poisoned = check_blocks(scene, &old, &new, &what);
    if was_hit {
        assert!(scene.volume.stats().failed > failed, "{what}");
        assert!(poisoned > 0, "{what}");
    } else {
        assert_eq!(scene.read(0, blocks).unwrap(), new, "{what}");
    }
    // A part of a poisoned block can't be written; all of it can, and heals it.
    for block in 0..blocks / scene.block {
        if scene.read(scene.place(block), 1).is_err() {
            assert!(scene.write(scene.place(block) + 1, &[1]).is_err(), "{what}");
            assert!(
                scene.write(scene.place(block + 1) - 1, &[1]).is_err(),
                "{what}"
            );
        }
    }
    scene.write(0, &new).unwrap();
    assert_eq!(check_blocks(scene, &new, &new, &what), 0);
    was_hit
}

#[test]
fn a_write_that_tears_at_any_byte() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 4 * BLOCK);
    let ends = [
        0, 1, 15, 16, 17, 511, 512, 513, 4095, 4096, 4097, 4608, 8191, 8192, 8193,
    ];
    for owned in [false, true] {
        for bytes in ends.into_iter().chain((0..3 * BLOCK).step_by(997)) {
            let fault = Fault::Torn { bytes, errno: EIO };
            for range in [BLOCK..4 * BLOCK, 100..200, BLOCK..2 * BLOCK] {
                assert!(tear(&scene, range, 1, fault, owned));
            }
        }
    }
}

#[test]
fn any_write_of_a_request_over_several_shards_fails() {
    // Three locks' blocks, of which the request begins and ends within a block: head, whole ones in pieces, tail.
    let len = 600 * BLOCK;
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), len);
    for owned in [false, true] {
        for fault in [
            Fault::Error(28),
            Fault::Torn {
                bytes: 5000,
                errno: EIO,
            },
        ] {
            for (range, writes) in [(0..len, 3), (300..len - 300, 5)] {
                let hit = (1..).take_while(|nth| tear(&scene, range.clone(), *nth, fault, owned));
                assert!(hit.count() >= writes);
            }
        }
    }
}

#[test]
fn larger_blocks_tear_alike() {
    for size in [BlockSize::Kib16, BlockSize::Kib64] {
        let block = size.bytes() as usize;
        let scene = Scene::new(VolumeMode::Ephemeral(size), 4 * block);
        for bytes in [0, 1, 4096, block - 1, block, block + 512] {
            let fault = Fault::Torn { bytes, errno: EIO };
            for range in [block..3 * block, 10..20, block + 1..3 * block - 1] {
                assert!(tear(&scene, range, 1, fault, false));
            }
        }
    }
}

#[test]
fn what_a_lying_disk_lost_is_an_error_and_no_old_data() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 4 * BLOCK);
    for fault in [
        Fault::Lost,
        Fault::SilentlyTorn { bytes: BLOCK + 1 },
        Fault::Flipped { byte: 77 },
    ] {
        scene.write(0, &filled(4 * BLOCK, 1)).unwrap();
        scene.faults.plan(Call::Write, 1, fault);
        scene.write(0, &filled(4 * BLOCK, 2)).unwrap();
        let damaged = (0..4)
            .filter(|b| scene.read(scene.place(*b), BLOCK).is_err())
            .count();
        assert!(damaged >= 1, "{fault:?}");
        for block in 0..4 {
            if let Ok(read) = scene.read(scene.place(block), BLOCK) {
                assert_eq!(
                    read,
                    filled(4 * BLOCK, 2)[block * BLOCK..][..BLOCK],
                    "{fault:?}"
                );
            }
        }
    }
    assert!(scene.volume.stats().damaged > 0);
}

#[test]
fn failing_reads_change_nothing() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 4 * BLOCK);
    let text = filled(4 * BLOCK, 1);
    scene.write(0, &text).unwrap();
    scene.faults.plan_all(Call::Read, Fault::Error(EIO));
    assert!(matches!(
        scene.read(0, 4 * BLOCK).unwrap_err(),
        Error::Io { .. }
    ));
    // The block has to be read to write a part of it.
    assert!(scene.write(10, &[9; 10]).is_err());
    let zeroed = scene
        .volume
        .write_zeroes(10, 10, Zeroes::MayPunch, Durability::Cached);
    assert!(zeroed.is_err());
    scene.faults.clear();
    scene.faults.shorten(3 * BLOCK as u64);
    assert!(scene.read(0, 4 * BLOCK).is_err());
    assert_eq!(scene.read(0, BLOCK).unwrap(), text[..BLOCK]);
    scene.faults.clear();
    assert_eq!(scene.read(0, 4 * BLOCK).unwrap(), text);
    assert_eq!(scene.volume.stats().poisoned_blocks, 0);
}

#[test]
fn poisoned_blocks_are_discarded_and_zeroed_as_others_are() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 4 * BLOCK);
    let poison = || {
        scene.faults.plan(Call::Write, 1, Fault::Error(EIO));
        assert!(scene.write(0, &filled(2 * BLOCK, 1)).is_err());
        assert_eq!(scene.volume.stats().poisoned_blocks, 2);
    };
    poison();
    // Not of a part.
    scene.volume.discard(1, BLOCK as u64).unwrap();
    assert!(scene.read(0, 1).is_err());
    scene.volume.discard(0, 2 * BLOCK as u64).unwrap();
    assert_eq!(scene.read(0, 4 * BLOCK).unwrap(), vec![0; 4 * BLOCK]);
    for zeroes in [Zeroes::MayPunch, Zeroes::KeepRoom] {
        poison();
        let zero = |len| {
            scene
                .volume
                .write_zeroes(0, len, zeroes, Durability::Cached)
        };
        assert!(zero(100).is_err());
        zero(2 * BLOCK as u64).unwrap();
        assert_eq!(scene.read(0, 4 * BLOCK).unwrap(), vec![0; 4 * BLOCK]);
        assert_eq!(scene.volume.stats().poisoned_blocks, 0);
    }
    poison();
    scene.volume.reset().unwrap();
    assert_eq!(scene.volume.stats().poisoned_blocks, 0);
    assert_eq!(scene.read(0, 4 * BLOCK).unwrap(), vec![0; 4 * BLOCK]);
}

#[test]
fn punches_and_flushes_that_fail() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 4 * BLOCK);
    scene.write(0, &filled(4 * BLOCK, 1)).unwrap();
    // Advice: the blocks are unwritten all the same.
    for fault in [Fault::Error(EIO), Fault::Unsupported, Fault::Lost] {
        scene.write(0, &filled(BLOCK, 1)).unwrap();
        scene.faults.plan(Call::Punch, 1, fault);
        scene.volume.discard(0, BLOCK as u64).unwrap();
        assert_eq!(scene.read(0, BLOCK).unwrap(), vec![0; BLOCK]);
    }
    scene.faults.plan_all(Call::Flush, Fault::Error(EIO));
    assert!(scene.volume.flush().is_err());
    let durable = scene.volume.write_at(&[4; BLOCK], 0, Durability::Durable);
    assert!(matches!(durable.unwrap_err(), Error::Io { .. }));
    assert_eq!(scene.read(0, BLOCK).unwrap(), [4; BLOCK]);
    scene.faults.clear();
    // A reset whose room stays is one: nothing is left, and it works.
    scene.faults.plan(Call::Punch, 1, Fault::Error(EIO));
    assert!(matches!(
        scene.volume.reset().unwrap_err(),
        Error::Io { .. }
    ));
    assert_eq!(scene.read(0, 4 * BLOCK).unwrap(), vec![0; 4 * BLOCK]);
    scene.write(0, &[5; BLOCK]).unwrap();
    assert_eq!(scene.read(0, BLOCK).unwrap(), [5; BLOCK]);
}
