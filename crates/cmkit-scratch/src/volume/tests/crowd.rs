//! Many threads on the same blocks.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cmkit::{BlockSize, ErrorKind};

use super::{MODES, Scene, Shared, VolumeMode};
use crate::backing::{Backing, MemoryBacking, Punched};
use crate::device::{BlockDevice as _, Durability, Zeroes};
use crate::{Volume, VolumeSpec};

/// Bytes at the start of each block that every writer leaves zero, so that the ciphertext there is the key stream.
const HEAD: usize = 16;

/// Remembers the key stream with which each block was ever encrypted: the same one twice is the same nonce twice.
struct KeyStreams {
    inner: MemoryBacking,
    seen: Mutex<HashSet<(u64, [u8; HEAD])>>,
    twice: AtomicBool,
}

impl Backing for KeyStreams {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        for (place, block) in (0..).zip(data.chunks(4096)) {
            let head = *block.first_chunk().unwrap();
            if !seen.insert((offset / 4096 + place, head)) {
                self.twice.store(true, Ordering::SeqCst);
            }
        }
        drop(seen);
        self.inner.write_at(data, offset)?;
        // Every third write fails, when all of it is there: its version is gone all the same.
        match data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) % 3 {
            0 => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<Punched> {
        Ok(Punched::Unsupported)
    }
}

#[test]
fn no_nonce_comes_twice() {
    let backing = std::sync::Arc::new(KeyStreams {
        inner: MemoryBacking::new(8 * 4096),
        seen: Mutex::default(),
        twice: AtomicBool::new(false),
    });
    let shared = Box::new(Shared(std::sync::Arc::clone(&backing)));
    let volume = Volume::create(shared, &VolumeSpec::default()).unwrap();
    thread::scope(|scope| {
        for id in 1..=4_u8 {
            let volume = &volume;
            scope.spawn(move || {
                for round in 0..400_u64 {
                    let (first, blocks) = ((round + u64::from(id)) % 6, 1 + round as usize % 2);
                    let mut text = vec![id; blocks * 4096];
                    text.chunks_mut(4096)
                        .for_each(|block| block[..HEAD].fill(0));
                    let _ = match round % 5 {
                        0 => volume.write_at(&[id; 50], first * 4096 + 100, Durability::Cached),
                        1 => volume.discard(first * 4096, 4096),
                        2 => volume.write_zeroes(
                            first * 4096,
                            4096,
                            Zeroes::KeepRoom,
                            Durability::Cached,
                        ),
                        3 => volume.write_at(&text, first * 4096, Durability::Cached),
                        _ => volume.write_from(&mut text, first * 4096, Durability::Cached),
                    };
                }
            });
        }
    });
    assert!(!backing.twice.load(Ordering::SeqCst));
    assert!(backing.seen.lock().unwrap().len() > 400);
    assert!(volume.stats().failed > 0);
}

#[test]
fn readers_see_whole_blocks_only() {
    for mode in MODES {
        let block = mode.block_bytes() as usize;
        let scene = Scene::new(mode, 4 * block);
        scene.write(0, &vec![1; 4 * block]).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (2..4_u8)
                .map(|id| {
                    let scene = &scene;
                    scope.spawn(move || {
                        for round in 0..300 {
                            let first = (round + usize::from(id)) % 3;
                            let mut text = vec![id; 2 * block];
                            if round % 2 == 0 {
                                scene.write(scene.place(first), &text).unwrap();
                            } else {
                                let place = scene.place(first);
                                let written =
                                    scene
                                        .volume
                                        .write_from(&mut text, place, Durability::Cached);
                                written.unwrap();
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        // Never a false error, never a mixture.
                        let read = scene.read(0, 4 * block).unwrap();
                        for block in read.chunks(block) {
                            assert!((1..4).contains(&block[0]));
                            assert!(block.iter().all(|byte| *byte == block[0]), "a mixture");
                        }
                    }
                });
            }
            let joined: Vec<_> = writers
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect();
            done.store(true, Ordering::SeqCst);
            joined.into_iter().for_each(|joined| joined.unwrap());
        });
    }
}

#[test]
fn two_writers_of_parts_of_one_block_undo_nothing_of_each_other() {
    for mode in MODES {
        let block = mode.block_bytes() as usize;
        let scene = Scene::new(mode, 2 * block);
        scene.write(0, &vec![0; 2 * block]).unwrap();
        thread::scope(|scope| {
            for id in 0..4_usize {
                let scene = &scene;
                scope.spawn(move || {
                    for round in 0..100_u8 {
                        for place in (id..2 * block).step_by(block / 4 + 4) {
                            scene.write(place as u64, &[round + 1]).unwrap();
                        }
                    }
                });
            }
        });
        let read = scene.read(0, 2 * block).unwrap();
        for id in 0..4 {
            for place in (id..2 * block).step_by(block / 4 + 4) {
                assert_eq!(read[place], 100, "{mode:?}");
            }
        }
    }
}

/// What a discard gives back isn't what a writer has just put there.
#[test]
fn discards_take_nothing_away_that_is_written_meanwhile() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 2 * 4096);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2000 {
                scene.volume.discard(0, 2 * 4096).unwrap();
            }
        });
        for id in 0..2_u8 {
            let scene = &scene;
            scope.spawn(move || {
                for _ in 0..2000 {
                    let place = u64::from(id) * 4096;
                    scene.write(place, &[id + 1; 4096]).unwrap();
                    let read = scene.read(place, 4096).unwrap();
                    assert!(read.iter().all(|byte| *byte == read[0]));
                    assert!(read[0] == 0 || read[0] == id + 1);
                }
            });
        }
    });
    assert_eq!(scene.volume.stats().damaged, 0);
}

/// What is written while a volume is reset, or after, is there or is gone; its room isn't taken from under it.
#[test]
fn resets_take_nothing_away_that_is_written_after() {
    let scene = Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 8 * 4096);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3_u8)
            .map(|id| {
                let (scene, done) = (&scene, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::SeqCst) {
                        let place = u64::from(id) * 2 * 4096;
                        let fine = |kind| kind == ErrorKind::InvalidState;
                        if let Err(error) = scene.write(place, &[id + 1; 2 * 4096]) {
                            assert!(fine(error.kind()), "{error}");
                        }
                        match scene.read(place, 2 * 4096) {
                            Ok(read) => {
                                assert!(read.iter().all(|byte| *byte == 0 || *byte == id + 1))
                            }
                            Err(error) => assert!(fine(error.kind()), "{error}"),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..300 {
            scene.volume.reset().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
    assert_eq!(scene.volume.stats().damaged, 0);
    assert_eq!(scene.volume.stats().poisoned_blocks, 0);
}
