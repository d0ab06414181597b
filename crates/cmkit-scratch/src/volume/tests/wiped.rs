//! No plaintext of a request stays in the buffers that it went through.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{MODES, Scene};
use crate::backing::{Call, Fault};
use crate::device::{BlockDevice as _, Durability};

const MASK: u8 = 0xa5;

/// How often a marker is in this process's writable memory, searched in pieces. It comes masked, so that the search doesn't find it.
fn count(masked: &[u8; 32]) -> usize {
    const CHUNK: usize = 1 << 20;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; CHUNK];
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (fields.next().unwrap(), fields.next().unwrap());
        if !permissions.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        let mut at = u64::from_str_radix(start, 16).unwrap();
        while at < end {
            let wanted = usize::try_from(end - at).unwrap().min(CHUNK);
            let Ok(len) = memory.read_at(&mut buffer[..wanted], at) else {
                break;
            };
            if len == 0 {
                break;
            }
            let own = buffer.as_ptr().addr() as u64;
            for (place, window) in buffer[..len].windows(32).enumerate() {
                let address = at + place as u64;
                let is_own = (own..own + CHUNK as u64).contains(&address);
                let same = |(masked, byte): (&u8, &u8)| masked ^ MASK == *byte;
                if window[0] == masked[0] ^ MASK && !is_own && masked.iter().zip(window).all(same) {
                    found += 1;
                }
            }
            at += if len == wanted && at + (len as u64) < end {
                (len - 31) as u64
            } else {
                len as u64
            };
        }
    }
    buffer.fill(0);
    found
}

#[test]
fn nothing_stays_in_the_buffers() {
    for (mode, salt) in MODES.into_iter().zip(1_u8..) {
        let block = mode.block_bytes() as usize;
        let scene = Scene::new(mode, 4 * block);
        scene.write(0, &vec![0; 4 * block]).unwrap();
        let masked: [u8; 32] =
            std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ salt.wrapping_mul(0x55));
        let marked = |len: usize| -> Vec<u8> {
            let marker = masked.iter().map(|byte| byte ^ MASK).cycle();
            marker.take(len).collect()
        };
        let mut text = marked(2 * block);
        assert!(count(&masked) > 0, "the search finds what is there");
        // Whole ones, parts, read back whole and in part, torn, and refused.
        scene.write(0, &text).unwrap();
        scene.write(scene.place(2) + 64, &text[..block]).unwrap();
        scene
            .volume
            .write_from(&mut text, block as u64 / 2, Durability::Cached)
            .unwrap();
        let mut read = scene.read(0, 4 * block).unwrap();
        read.fill(0);
        let mut part = scene.read(100, 96).unwrap();
        part.fill(0);
        for (call, fault) in [
            (
                Call::Write,
                Fault::Torn {
                    bytes: 600,
                    errno: 5,
                },
            ),
            (Call::Read, Fault::Error(5)),
        ] {
            let mut text = marked(block + 64);
            scene.faults.plan_all(call, fault);
            let _ = scene.write(32, &text);
            scene.faults.clear();
            // Which is wiped whether it works or not.
            scene.faults.plan_all(call, fault);
            let _ = scene.volume.write_from(&mut text, 0, Durability::Cached);
            scene.faults.clear();
        }
        std::hint::black_box((&text, &read, &part));
        assert_eq!(count(&masked), 0, "{mode:?}");
    }
}
