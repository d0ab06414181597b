//! XTS-AES-256 (IEEE 1619, NIST SP 800-38E): the cipher of `aes-xts-plain64`, without integrity. One implementation
//! for both backends.
//!
//! AWS-LC has the mode too, but its safe Rust interface doesn't. The rounds are the `aes` crate's, in as many blocks at
//! once as the processor takes; around them, each batch gets its tweaks and both XORs while it is in the first cache.

use aes::cipher::array::{Array, ArraySize};
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt as _, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt as _, BlockSizeUser, KeyInit as _,
};
use aes::{Aes256, Aes256Enc, Block};
use subtle::ConstantTimeEq as _;

use super::{AES_STACK_LEN, CryptoError, KEY_LEN, with_wiped_stack};

/// Bytes in a key: two of AES-256.
pub(crate) const XTS_KEY_LEN: usize = 2 * KEY_LEN;

const BLOCK_LEN: usize = 16;
/// Data units whose first tweaks are computed together: they are blocks for AES too.
const MAX_UNITS: usize = 64;

/// For the widest rounds, the batch's tweaks and the units' first ones; more without optimisation.
const XTS_STACK_LEN: usize = if cfg!(debug_assertions) {
    AES_STACK_LEN
} else {
    8192
};

/// The key schedules of XTS-AES-256, wiped on drop.
///
/// Boxed because moving them would leave copies that no drop wipes.
pub(crate) struct Xts {
    data: Box<Aes256>,
    tweak: Box<Aes256Enc>,
}

impl Xts {
    /// The first half of `key` encrypts the data, the second half the tweak. Halves that are equal are refused, as SP
    /// 800-38E (through FIPS 140's guidance, C.I) asks.
    pub(crate) fn new(key: &[u8; XTS_KEY_LEN]) -> Result<Self, CryptoError> {
        let [data, tweak]: &[[u8; KEY_LEN]; 2] =
            key.as_chunks().0.try_into().map_err(|_| CryptoError)?;
        if data.ct_eq(tweak).into() {
            return Err(CryptoError);
        }
        Ok(with_wiped_stack::<AES_STACK_LEN, _>(|| Self {
            data: Box::new(Aes256::new(data.into())),
            tweak: Box::new(Aes256Enc::new(tweak.into())),
        }))
    }

    /// Encrypts `data` in place: a whole number of data units of `unit_len` bytes, a multiple of 16.
    ///
    /// The tweak of the first unit is the number `first`, that of each following one is `step` more.
    pub(crate) fn encrypt(&self, first: u128, step: u128, unit_len: usize, data: &mut [u8]) {
        self.each_pass(first, step, unit_len, data, |pass| {
            self.data.encrypt_with_backend(pass);
        });
    }

    /// Decrypts what [`Xts::encrypt`] made with the same numbers.
    pub(crate) fn decrypt(&self, first: u128, step: u128, unit_len: usize, data: &mut [u8]) {
        self.each_pass(first, step, unit_len, data, |pass| {
            self.data.decrypt_with_backend(pass);
        });
    }

    fn each_pass(
        &self,
        first: u128,
        step: u128,
        unit_len: usize,
        data: &mut [u8],
        run: impl Fn(Pass<'_>),
    ) {
        let unit_blocks = unit_len / BLOCK_LEN;
        assert!(
            unit_blocks > 0
                && unit_len.is_multiple_of(BLOCK_LEN)
                && data.len().is_multiple_of(unit_len),
            "whole data units of whole blocks"
        );
        let (blocks, _) = Block::slice_as_chunks_mut(data);
        with_wiped_stack::<XTS_STACK_LEN, _>(|| {
            let mut number = first;
            for blocks in blocks.chunks_mut(unit_blocks.saturating_mul(MAX_UNITS)) {
                let mut starts = [Block::default(); MAX_UNITS];
                let starts = &mut starts[..blocks.len() / unit_blocks];
                for start in &mut *starts {
                    *start = number.to_le_bytes().into();
                    number = number.wrapping_add(step);
                }
                self.tweak.encrypt_with_backend(Starts(starts));
                run(Pass {
                    starts,
                    unit_blocks,
                    blocks,
                });
            }
        });
    }
}

/// AES in one direction, one block or many at once.
pub(super) trait Rounds {
    type Width: ArraySize;
    fn one(&self, block: &mut Block);
    fn wide(&self, blocks: &mut Array<Block, Self::Width>);
}

struct Encrypting<'a, B>(&'a B);

impl<B: BlockCipherEncBackend<BlockSize = <Aes256 as BlockSizeUser>::BlockSize>> Rounds
    for Encrypting<'_, B>
{
    type Width = B::ParBlocksSize;

    #[inline(always)]
    fn one(&self, block: &mut Block) {
        self.0.encrypt_block_inplace(block);
    }

    #[inline(always)]
    fn wide(&self, blocks: &mut Array<Block, Self::Width>) {
        self.0.encrypt_par_blocks_inplace(blocks);
    }
}

struct Decrypting<'a, B>(&'a B);

impl<B: BlockCipherDecBackend<BlockSize = <Aes256 as BlockSizeUser>::BlockSize>> Rounds
    for Decrypting<'_, B>
{
    type Width = B::ParBlocksSize;

    #[inline(always)]
    fn one(&self, block: &mut Block) {
        self.0.decrypt_block_inplace(block);
    }

    #[inline(always)]
    fn wide(&self, blocks: &mut Array<Block, Self::Width>) {
        self.0.decrypt_par_blocks_inplace(blocks);
    }
}

/// Units' numbers, to become the tweaks of their first blocks.
struct Starts<'a>(&'a mut [Block]);

impl BlockSizeUser for Starts<'_> {
    type BlockSize = <Aes256 as BlockSizeUser>::BlockSize;
}

impl BlockCipherEncClosure for Starts<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = Self::BlockSize>>(self, backend: &B) {
        let rounds = Encrypting(backend);
        let (batches, rest) = Array::slice_as_chunks_mut(self.0);
        for batch in batches {
            rounds.wide(batch);
        }
        rest_of(&rounds, rest);
    }
}

/// Some units' data and their first tweaks.
pub(super) struct Pass<'a> {
    pub(super) starts: &'a [Block],
    pub(super) unit_blocks: usize,
    pub(super) blocks: &'a mut [Block],
}

impl BlockSizeUser for Pass<'_> {
    type BlockSize = <Aes256 as BlockSizeUser>::BlockSize;
}

impl BlockCipherEncClosure for Pass<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = Self::BlockSize>>(self, backend: &B) {
        self.run(&Encrypting(backend));
    }
}

impl BlockCipherDecClosure for Pass<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = Self::BlockSize>>(self, backend: &B) {
        self.run(&Decrypting(backend));
    }
}

impl Pass<'_> {
    #[inline(always)]
    pub(super) fn run<R: Rounds>(self, rounds: &R) {
        let mut tweaks = Tweaks {
            starts: self.starts,
            unit_blocks: self.unit_blocks,
            left: 0,
            next: 0,
        };
        let mut batch_tweaks = Array::<Block, R::Width>::default();
        let (batches, rest) = Array::<Block, R::Width>::slice_as_chunks_mut(self.blocks);
        for batch in batches {
            tweaks.fill(&mut batch_tweaks);
            xor(batch, &batch_tweaks);
            rounds.wide(batch);
            xor(batch, &batch_tweaks);
        }
        let batch_tweaks = &mut batch_tweaks[..rest.len()];
        tweaks.fill(batch_tweaks);
        xor(rest, batch_tweaks);
        rest_of(rounds, rest);
        xor(rest, batch_tweaks);
    }
}

/// Fewer blocks than a batch has: as a batch all the same, unless it is one.
#[inline(always)]
fn rest_of<R: Rounds>(rounds: &R, rest: &mut [Block]) {
    match rest {
        [] => {}
        [block] => rounds.one(block),
        _ => {
            let mut batch = Array::<Block, R::Width>::default();
            batch[..rest.len()].copy_from_slice(rest);
            rounds.wide(&mut batch);
            rest.copy_from_slice(&batch[..rest.len()]);
        }
    }
}

#[inline(always)]
fn xor(blocks: &mut [Block], tweaks: &[Block]) {
    let blocks = Array::slice_as_flattened_mut(blocks);
    for (byte, tweak) in blocks.iter_mut().zip(Array::slice_as_flattened(tweaks)) {
        *byte ^= tweak;
    }
}

/// The tweaks of units that follow each other, block by block.
struct Tweaks<'a> {
    starts: &'a [Block],
    unit_blocks: usize,
    /// Blocks that the unit at hand still has, and the tweak of the first of them.
    left: usize,
    next: u128,
}

impl Tweaks<'_> {
    #[inline(always)]
    fn fill(&mut self, mut out: &mut [Block]) {
        while !out.is_empty() {
            if self.left == 0 {
                let Some((start, starts)) = self.starts.split_first() else {
                    return;
                };
                (self.next, self.starts) = (u128::from_le_bytes(start.0), starts);
                self.left = self.unit_blocks;
            }
            let (run, rest) = out.split_at_mut(out.len().min(self.left));
            self.left -= run.len();
            self.next = fill_run(self.next, run);
            out = rest;
        }
    }
}

/// Tweaks computed one after the other, before they are many enough to be computed side by side.
const HEAD: usize = 8;

/// Writes `first` and its successors; returns the one after them.
#[inline(always)]
fn fill_run(first: u128, out: &mut [Block]) -> u128 {
    let mut tweak = first;
    for block in out.iter_mut().take(HEAD) {
        *block = tweak.to_le_bytes().into();
        tweak = times_x_to(1, tweak);
    }
    append::<8>(out, 8);
    append::<16>(out, 16);
    let mut done = 32;
    while done < out.len() {
        append::<32>(out, done);
        done += 32;
    }
    // From the first, not from the last: the next batch then waits for none of the above.
    let mut tweak = first;
    let mut left = out.len();
    while left > 0 {
        let power = left.min(32);
        tweak = times_x_to(power, tweak);
        left -= power;
    }
    tweak
}

/// Appends to the first `done` blocks the last `N` of them times x^N, as far as there is room.
#[inline(always)]
fn append<const N: usize>(out: &mut [Block], done: usize) {
    if out.len() <= done {
        return;
    }
    let (before, after) = out.split_at_mut(done);
    for (to, from) in after.iter_mut().zip(&before[done - N..]) {
        *to = times_x_to(N, u128::from_le_bytes(from.0))
            .to_le_bytes()
            .into();
    }
}

/// A tweak, which is an element of GF(2^128), times x^`power`; from 1 to 32.
#[inline(always)]
fn times_x_to(power: usize, tweak: u128) -> u128 {
    #[expect(clippy::cast_possible_truncation, reason = "these are the halves")]
    let (low, high) = (tweak as u64, (tweak >> 64) as u64);
    // What went over the top comes back times x^7 + x^2 + x + 1.
    let carry = high >> (64 - power);
    let low_out = low << power ^ carry ^ carry << 1 ^ carry << 2 ^ carry << 7;
    let high_out = high << power | low >> (64 - power);
    u128::from(high_out) << 64 | u128::from(low_out)
}
