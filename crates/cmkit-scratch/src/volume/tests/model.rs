//! A volume and a plain vector stay equal under whatever is done to both.

use cmkit::{BlockSize, ErrorKind};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{MODES, Scene, VolumeMode};
use crate::device::{BlockDevice as _, Durability, ExtentKind, Zeroes};

/// Operations of the long run, all modes together: about 15 seconds on two cores. `CMKIT_CHURN_OPS` says otherwise; a million stand for a day of a
/// disk that does a dozen requests a second.
const CHURN_OPS: usize = 15_000;

/// A range, made to fit the volume: places are multiples of a grain.
#[derive(Clone, Debug)]
struct Place {
    grain: Grain,
    at: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
enum Grain {
    Byte,
    Sector,
    Block,
    Lock,
}

#[derive(Clone, Debug)]
enum Op {
    Read(Place),
    Write(Place, u8, Durability),
    WriteFrom(Place, u8),
    Discard(Place),
    Zero(Place, Zeroes, Durability),
    Extents(Place),
    Flush,
    Reset,
}

fn place() -> impl Strategy<Value = Place> {
    let grain = prop_oneof![
        3 => Just(Grain::Byte),
        2 => Just(Grain::Sector),
        4 => Just(Grain::Block),
        1 => Just(Grain::Lock),
    ];
    (grain, any::<u32>(), any::<u32>()).prop_map(|(grain, at, len)| Place { grain, at, len })
}

fn op() -> impl Strategy<Value = Op> {
    let durability = || prop_oneof![9 => Just(Durability::Cached), 1 => Just(Durability::Durable)];
    let zeroes = prop_oneof![Just(Zeroes::MayPunch), Just(Zeroes::KeepRoom)];
    prop_oneof![
        300 => place().prop_map(Op::Read),
        250 => (place(), any::<u8>(), durability()).prop_map(|(p, seed, d)| Op::Write(p, seed, d)),
        200 => (place(), any::<u8>()).prop_map(|(p, seed)| Op::WriteFrom(p, seed)),
        80 => place().prop_map(Op::Discard),
        100 => (place(), zeroes, durability()).prop_map(|(p, z, d)| Op::Zero(p, z, d)),
        60 => place().prop_map(Op::Extents),
        9 => Just(Op::Flush),
        1 => Just(Op::Reset),
    ]
}

struct Model {
    scene: Scene,
    ephemeral: bool,
    bytes: Vec<u8>,
    /// Blocks that take room, in the ephemeral mode.
    written: Vec<bool>,
}

impl Model {
    fn new(mode: VolumeMode) -> Self {
        let block = mode.block_bytes() as usize;
        let ephemeral = matches!(mode, VolumeMode::Ephemeral(_));
        // Two locks' blocks, and some.
        let blocks = match mode {
            VolumeMode::Ephemeral(BlockSize::Kib64) => 260,
            VolumeMode::Ephemeral(_) => 530,
            VolumeMode::Xts(_) => 600_000 / block,
        };
        let scene = Scene::new(mode, blocks * block);
        if !ephemeral {
            // What was never written is garbage there.
            scene.write(0, &vec![0; blocks * block]).unwrap();
        }
        Self {
            scene,
            ephemeral,
            bytes: vec![0; blocks * block],
            written: vec![false; blocks],
        }
    }

    fn range(&self, place: &Place) -> std::ops::Range<usize> {
        let block = self.scene.block;
        let (grain, longest) = match place.grain {
            Grain::Byte => (1, 3 * block),
            Grain::Sector => (512, 20 * 512),
            Grain::Block => (block, 5 * block),
            Grain::Lock => (block, 256 * block + 1),
        };
        let size = self.bytes.len();
        let start = place.at as usize % (size / grain + 1) * grain;
        let len = place.len as usize % (longest / grain + 1) * grain;
        start..(start + len).min(size)
    }

    fn wrote(&mut self, range: &std::ops::Range<usize>, text: &[u8]) {
        self.bytes[range.clone()].copy_from_slice(text);
        let block = self.scene.block;
        if !range.is_empty() {
            self.written[range.start / block..range.end.div_ceil(block)].fill(true);
        }
    }

    /// The whole blocks of a range.
    fn whole(&self, range: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let block = self.scene.block;
        let (first, end) = (range.start.div_ceil(block), range.end / block);
        first..end.max(first)
    }

    fn unwrite(&mut self, range: &std::ops::Range<usize>) {
        let (block, whole) = (self.scene.block, self.whole(range));
        self.bytes[whole.start * block..whole.end * block].fill(0);
        self.written[whole].fill(false);
    }

    fn apply(&mut self, op: &Op) {
        let text = |len: usize, seed: u8| -> Vec<u8> { super::filled(len, seed) };
        match op {
            Op::Read(place) => {
                let range = self.range(place);
                let read = self.scene.read(range.start as u64, range.len()).unwrap();
                assert!(read == self.bytes[range.clone()], "{range:?}");
            }
            Op::Write(place, seed, durability) => {
                let range = self.range(place);
                let text = text(range.len(), *seed);
                let volume = &self.scene.volume;
                volume
                    .write_at(&text, range.start as u64, *durability)
                    .unwrap();
                self.wrote(&range, &text);
            }
            Op::WriteFrom(place, seed) => {
                let range = self.range(place);
                let text = text(range.len(), *seed);
                let mut room = text.clone();
                let volume = &self.scene.volume;
                volume
                    .write_from(&mut room, range.start as u64, Durability::Cached)
                    .unwrap();
                assert!(room.len() < 16 || room != text, "plaintext is left");
                self.wrote(&range, &text);
            }
            Op::Discard(place) if self.ephemeral => {
                let range = self.range(place);
                self.scene
                    .volume
                    .discard(range.start as u64, range.len() as u64)
                    .unwrap();
                self.unwrite(&range);
            }
            Op::Discard(_) => {}
            Op::Zero(place, zeroes, durability) => {
                let range = self.range(place);
                let (start, len) = (range.start as u64, range.len() as u64);
                self.scene
                    .volume
                    .write_zeroes(start, len, *zeroes, *durability)
                    .unwrap();
                match zeroes {
                    Zeroes::MayPunch if self.ephemeral => {
                        self.bytes[range.clone()].fill(0);
                        self.unwrite(&range);
                    }
                    _ => self.wrote(&range, &vec![0; range.len()]),
                }
            }
            Op::Extents(place) => self.check_extents(&self.range(place)),
            Op::Flush => self.scene.volume.flush().unwrap(),
            Op::Reset if self.ephemeral => {
                self.scene.volume.reset().unwrap();
                self.bytes.fill(0);
                self.written.fill(false);
            }
            Op::Reset => {
                let refused = self.scene.volume.reset().unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::InvalidState);
            }
        }
    }

    fn check_extents(&self, range: &std::ops::Range<usize>) {
        let (mut at, mut last) = (range.start, None);
        let (start, len) = (range.start as u64, range.len() as u64);
        let mut calls = 0;
        let all = &mut |extent: crate::Extent| {
            calls += 1;
            assert!(extent.len > 0);
            assert_ne!(
                last.replace(extent.kind),
                Some(extent.kind),
                "two that could be one"
            );
            let end = at + extent.len as usize;
            assert!(end <= range.end);
            let is_data = extent.kind == ExtentKind::Data;
            let blocks = at / self.scene.block..end.div_ceil(self.scene.block);
            if self.ephemeral {
                assert!(
                    self.written[blocks]
                        .iter()
                        .all(|written| *written == is_data)
                );
            } else {
                assert!(is_data);
            }
            assert!(is_data || self.bytes[at..end].iter().all(|byte| *byte == 0));
            at = end;
            true
        };
        self.scene.volume.extents(start, len, all).unwrap();
        assert_eq!(at, range.end);
        // Who has seen enough gets no more.
        let mut seen = 0;
        self.scene
            .volume
            .extents(start, len, &mut |_| {
                seen += 1;
                seen < 2
            })
            .unwrap();
        assert_eq!(seen, calls.min(2));
    }

    fn check_all(&self) {
        let read = self.scene.read(0, self.bytes.len()).unwrap();
        assert!(read == self.bytes);
        self.check_extents(&(0..self.bytes.len()));
        let stats = self.scene.volume.stats();
        assert_eq!(
            (stats.damaged, stats.failed, stats.poisoned_blocks),
            (0, 0, 0)
        );
        // What is punched whole gives its memory back.
        if self.ephemeral {
            let shards = self.written.chunks(256);
            let used = shards.filter(|shard| shard.contains(&true)).count() as u64;
            assert!(stats.metadata_bytes >= used * 256 * 22);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn a_volume_is_what_was_written(mode in 0..MODES.len(), ops in prop::collection::vec(op(), 1..30)) {
        let mut model = Model::new(MODES[mode]);
        for op in &ops {
            model.apply(op);
        }
        model.check_all();
    }
}

#[test]
fn a_long_life() {
    let ops = std::env::var("CMKIT_CHURN_OPS").ok();
    let ops = ops.map_or(CHURN_OPS, |ops| {
        ops.parse().expect("CMKIT_CHURN_OPS is a number")
    });
    let mut runner = TestRunner::deterministic();
    for mode in MODES {
        let mut model = Model::new(mode);
        for number in 0..ops / MODES.len() {
            model.apply(&op().new_tree(&mut runner).unwrap().current());
            if number % 1000 == 999 {
                model.check_all();
            }
        }
        model.check_all();
    }
}
