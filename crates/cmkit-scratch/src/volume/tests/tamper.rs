//! Whatever is done to the ciphertext is an error that names the block, and never data.

use cmkit::{BlockSize, Error};

use super::{Scene, VolumeMode, filled};

const BLOCKS: usize = 300;

/// What a block becomes under the hand of whoever holds the disk.
fn forgeries(
    scene: &Scene,
    victim: usize,
    older: &[u8],
    other: usize,
) -> Vec<(&'static str, Vec<u8>)> {
    let raw = scene.raw(victim);
    let flipped = |at: usize| {
        let mut data = raw.clone();
        data[at] ^= 1;
        data
    };
    let mut half = raw.clone();
    half[raw.len() / 2..].copy_from_slice(&older[raw.len() / 2..]);
    vec![
        ("its first bit flipped", flipped(0)),
        ("a middle bit flipped", flipped(raw.len() / 2)),
        ("its last bit flipped", flipped(raw.len() - 1)),
        ("rolled back", older.to_vec()),
        ("half rolled back", half),
        ("another block's", scene.raw(other)),
        ("zeroed", vec![0; raw.len()]),
    ]
}

#[test]
fn every_forgery_of_any_block_is_refused_and_harms_no_other() {
    for size in BlockSize::ALL {
        let blocks = if size == BlockSize::Kib4 { BLOCKS } else { 6 };
        let block = size.bytes() as usize;
        let scene = Scene::new(VolumeMode::Ephemeral(size), blocks * block);
        scene.write(0, &filled(blocks * block, 1)).unwrap();
        let old: Vec<_> = [0, blocks / 2, blocks - 1]
            .map(|b| (b, scene.raw(b)))
            .into();
        let text = filled(blocks * block, 2);
        scene.write(0, &text).unwrap();
        let mut damaged = 0;
        for (victim, older) in &old {
            let (victim, start) = (*victim, *victim * block);
            let genuine = scene.raw(victim);
            for (what, forged) in forgeries(&scene, victim, older, (victim + 1) % blocks) {
                scene.put_raw(victim, &forged);
                let refused = |offset: usize, len: usize| {
                    let error = scene.read(offset as u64, len).unwrap_err();
                    assert!(
                        matches!(error, Error::DamagedBlock { block } if block == victim as u64),
                        "{what}: {error}"
                    );
                };
                refused(start, block);
                refused(start + 1, 7);
                refused(start + block - 1, 1);
                refused(0, blocks * block);
                // A part of it can't be written either.
                let partial = scene.write(start as u64 + 5, &[1; 9]).unwrap_err();
                assert!(
                    matches!(partial, Error::DamagedBlock { .. }),
                    "{what}: {partial}"
                );
                damaged += 5;
                assert_eq!(scene.volume.stats().damaged, damaged, "{what}");
                let others = [
                    victim.checked_sub(1),
                    Some(victim + 1).filter(|b| *b < blocks),
                ];
                for other in others.into_iter().flatten() {
                    let read = scene.read(scene.place(other), block).unwrap();
                    assert_eq!(read, text[other * block..][..block], "{what}");
                }
                // Put back it is what it was.
                scene.put_raw(victim, &genuine);
                assert_eq!(
                    scene.read(start as u64, block).unwrap(),
                    text[start..][..block]
                );
            }
            // Written anew it is whole again, whatever was done to it.
            scene.put_raw(victim, &vec![9; block]);
            scene.write(start as u64, &text[start..][..block]).unwrap();
        }
        assert_eq!(scene.read(0, blocks * block).unwrap(), text);
        assert_eq!(scene.volume.stats().poisoned_blocks, 0);
    }
}

#[test]
fn blocks_that_change_places_are_refused() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 8 * 4096);
    scene.write(0, &vec![7; 8 * 4096]).unwrap();
    let (two, three) = (scene.raw(2), scene.raw(3));
    assert_ne!(two, three);
    scene.put_raw(2, &three);
    scene.put_raw(3, &two);
    for block in [2, 3] {
        let error = scene.read(scene.place(block), 4096).unwrap_err();
        assert!(matches!(error, Error::DamagedBlock { block: b } if b == block as u64));
    }
}

#[test]
fn unwritten_blocks_are_zeros_whatever_lies_there() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 600 * 4096);
    for block in 0..600 {
        scene.put_raw(block, &[0x5a; 4096]);
    }
    assert_eq!(scene.read(0, 600 * 4096).unwrap(), vec![0; 600 * 4096]);
    // Also beside written ones, and around a part that is written.
    scene.write(4096 * 3 + 10, &[1; 20]).unwrap();
    let mut expected = vec![0; 600 * 4096];
    expected[4096 * 3 + 10..][..20].fill(1);
    assert_eq!(scene.read(0, 600 * 4096).unwrap(), expected);
    assert_eq!(scene.volume.stats().damaged, 0);
}
