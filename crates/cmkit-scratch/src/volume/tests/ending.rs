//! The end of a volume's data: destroyed at once whatever the disk does, and empty again after a reset.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cmkit::{BlockSize, ErrorKind};

use super::{MODES, Scene, VolumeMode, filled};
use crate::backing::{Call, Fault};
use crate::device::{BlockDevice as _, Durability, Zeroes};

const BLOCK: usize = 4096;

fn scene() -> Scene {
    Scene::new(VolumeMode::Ephemeral(BlockSize::Kib4), 600 * BLOCK)
}

#[test]
fn a_destroyed_volume_does_nothing_more() {
    for mode in MODES {
        let scene = Scene::new(mode, 4 * mode.block_bytes() as usize);
        scene.write(0, &vec![1; 4 * scene.block]).unwrap();
        scene.volume.destroy();
        scene.volume.destroy();
        assert!(scene.volume.is_destroyed());
        let volume = &scene.volume;
        let refused = [
            scene.read(0, 512).map(drop),
            // Also what was never written.
            scene.read(scene.place(3), 1).map(drop),
            scene.write(0, &[1; 512]),
            volume.write_from(&mut [1; 512], 0, Durability::Cached),
            volume.flush(),
            volume.discard(0, 512),
            volume.write_zeroes(0, 512, Zeroes::MayPunch, Durability::Cached),
            volume.extents(0, 512, &mut |_| panic!("nothing is there")),
            volume.check(),
        ];
        for (place, refused) in refused.into_iter().enumerate() {
            assert_eq!(
                refused.unwrap_err().kind(),
                ErrorKind::InvalidState,
                "{mode:?}: {place}"
            );
        }
        volume.discard_backing().unwrap();
        assert_eq!(scene.raw(0), vec![0; scene.block]);
    }
}

#[test]
fn room_is_not_given_back_while_there_is_a_key() {
    for mode in MODES {
        let scene = Scene::new(mode, 4 * mode.block_bytes() as usize);
        scene.write(0, &vec![1; 4 * scene.block]).unwrap();
        let refused = scene.volume.discard_backing().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidState);
        assert_eq!(scene.read(0, 512).unwrap(), [1; 512]);
    }
}

#[test]
fn a_hung_disk_keeps_no_key_from_being_destroyed() {
    for call in [Call::Read, Call::Write] {
        let scene = scene();
        let text = filled(BLOCK, 7);
        scene.write(0, &text).unwrap();
        let secret = scene.raw(0);
        scene.faults.plan_all(call, Fault::Hung);
        thread::scope(|scope| {
            let hung = scope.spawn(|| match call {
                Call::Read => scene.read(0, BLOCK).map(drop),
                _ => scene.write(10, &[1; 100]),
            });
            scene.faults.wait_for_hung(1);
            // All of this comes back while the disk hangs; else the test would.
            scene.volume.destroy();
            assert!(scene.volume.is_destroyed());
            assert_eq!(
                scene.read(BLOCK as u64, 1).unwrap_err().kind(),
                ErrorKind::InvalidState
            );
            assert_eq!(
                scene.write(BLOCK as u64, &[1]).unwrap_err().kind(),
                ErrorKind::InvalidState
            );
            let _ = scene.volume.stats();
            scene.faults.clear();
            scene.faults.release();
            let ended = hung.join().unwrap();
            if call == Call::Read {
                assert_eq!(ended.unwrap_err().kind(), ErrorKind::InvalidState);
            }
        });
        assert!(scene.read(0, BLOCK).is_err());
        if call == Call::Read {
            assert_eq!(scene.raw(0), secret);
        }
    }
}

#[test]
fn a_reset_waits_for_requests_and_a_destroy_meanwhile_stays() {
    for destroyed_meanwhile in [false, true] {
        let scene = scene();
        scene.write(0, &filled(2 * BLOCK, 1)).unwrap();
        scene.faults.plan(Call::Write, 1, Fault::Hung);
        let is_reset = AtomicBool::new(false);
        thread::scope(|scope| {
            let hung = scope.spawn(|| scene.write(0, &filled(BLOCK, 2)));
            scene.faults.wait_for_hung(1);
            let reset = scope.spawn(|| {
                let reset = scene.volume.reset();
                is_reset.store(true, Ordering::SeqCst);
                reset
            });
            while !scene.volume.is_destroyed() {
                thread::yield_now();
            }
            // The old key is gone already, nobody hangs, and the reset isn't done.
            assert!(scene.read(0, 1).is_err());
            assert!(scene.volume.stats().metadata_bytes > 0);
            if destroyed_meanwhile {
                scene.volume.destroy();
            }
            assert!(!is_reset.load(Ordering::SeqCst));
            scene.faults.release();
            let _ = hung.join().unwrap();
            let reset = reset.join().unwrap();
            assert_eq!(reset.is_err(), destroyed_meanwhile);
        });
        assert_eq!(scene.volume.is_destroyed(), destroyed_meanwhile);
        if destroyed_meanwhile {
            assert!(scene.read(0, 1).is_err());
            // And begins again when it is told to.
            scene.volume.reset().unwrap();
        }
        assert_eq!(scene.read(0, 600 * BLOCK).unwrap(), vec![0; 600 * BLOCK]);
        assert_eq!(scene.volume.stats().metadata_bytes, 0);
    }
}

#[test]
fn nothing_from_before_a_reset_comes_back() {
    let scene = scene();
    scene.write(0, &filled(4 * BLOCK, 1)).unwrap();
    let old: Vec<_> = (0..4).map(|block| scene.raw(block)).collect();
    scene.volume.reset().unwrap();
    // The room was given back.
    assert_eq!(scene.raw(0), vec![0; BLOCK]);
    for (block, old) in old.iter().enumerate() {
        scene.put_raw(block, old);
    }
    assert_eq!(scene.read(0, 4 * BLOCK).unwrap(), vec![0; 4 * BLOCK]);
    scene.write(0, &filled(4 * BLOCK, 1)).unwrap();
    for (block, old) in old.iter().enumerate() {
        assert_ne!(*old, scene.raw(block));
        scene.put_raw(block, old);
        let error = scene.read(scene.place(block), BLOCK).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
    }
}

#[test]
fn a_volume_in_xts_mode_is_not_reset() {
    let scene = Scene::new(MODES[4], 4 * BLOCK);
    scene.write(0, &[1; BLOCK]).unwrap();
    assert_eq!(
        scene.volume.reset().unwrap_err().kind(),
        ErrorKind::InvalidState
    );
    assert_eq!(scene.read(0, BLOCK).unwrap(), [1; BLOCK]);
}

#[test]
fn destroyed_reset_and_read_by_many_at_once() {
    let scene = scene();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let _ = scene.write(0, &[1; 3 * BLOCK]);
                    if let Ok(read) = scene.read(0, 3 * BLOCK) {
                        assert!(read.iter().all(|byte| *byte < 2));
                    }
                }
            });
        }
        let resets = scope.spawn(|| {
            for _ in 0..200 {
                let _ = scene.volume.reset();
            }
        });
        for _ in 0..200 {
            scene.volume.destroy();
            thread::yield_now();
        }
        resets.join().unwrap();
        scene.volume.destroy();
        assert!(scene.volume.is_destroyed());
        done.store(true, Ordering::SeqCst);
    });
    assert!(scene.read(0, 1).is_err());
    scene.volume.reset().unwrap();
    assert_eq!(scene.read(0, 1).unwrap(), [0]);
    assert_eq!(scene.volume.stats().damaged, 0);
}
