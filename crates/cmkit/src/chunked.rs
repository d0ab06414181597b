//! The Cobblestone-256 body (C2SP chunked-encryption): one-shot, in place, in parts, over threads.
//!
//! A message is `salt (24) || commitment (32) || chunk 0 || chunk 1 || ...`. The first two are its *preamble* here. A *slot* is
//! the place of a sealed chunk: 16 400 bytes, fewer for the last. Everything that takes a run of chunks takes them as slots, so
//! the length of the sealed side alone says where the chunks are and whether the last one is among them.

mod in_place;
mod length;
mod parallel;
mod plain_buffer;

pub(crate) use self::length::{MAX_PLAINTEXT_LEN, body_len, plaintext_len, slots_len, too_long};
pub(crate) use self::parallel::{RUN_CHUNKS, default_threads, drain, threads_for};
pub(crate) use self::plain_buffer::PlainBuffer;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::crypto::{AeadKey, CryptoError, ExpandKey, KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::error::{Error, Result};

/// Plaintext bytes in every chunk but the last.
pub(crate) const CHUNK_LEN: usize = 16_384;
/// Bytes in the slot of every chunk but the last.
pub(crate) const SLOT_LEN: usize = CHUNK_LEN + TAG_LEN;
pub(crate) const SALT_LEN: usize = 24;
const COMMITMENT_LEN: usize = 32;
/// Bytes before the first chunk.
pub(crate) const PREAMBLE_LEN: usize = SALT_LEN + COMMITMENT_LEN;
/// Chunk numbers end here: a message has at most 2^38 chunks.
const MAX_CHUNKS: u64 = 1 << 38;

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// Is asked before each run of chunks of a message that takes a while, and can end it there.
pub(crate) trait Watch: Send + Sync {
    fn check(&self) -> Result<()>;
}

/// The keys of one message.
pub(crate) struct Message {
    key: AeadKey,
    base_nonce: [u8; NONCE_LEN],
    watch: Option<Box<dyn Watch>>,
}

impl Message {
    /// A message to seal. `salt` must never have been used with `input_key`. Gives the preamble too.
    pub(crate) fn seal(
        input_key: &ExpandKey,
        salt: &[u8; SALT_LEN],
        context: &[u8],
    ) -> (Self, [u8; PREAMBLE_LEN]) {
        let (message, commitment) = Self::derive(input_key, salt, context);
        let mut preamble = [0; PREAMBLE_LEN];
        preamble[..SALT_LEN].copy_from_slice(salt);
        preamble[SALT_LEN..].copy_from_slice(&commitment);
        (message, preamble)
    }

    /// A message to open. Without the right commitment there is none, and so no chunk can be opened before it was compared.
    pub(crate) fn open(
        input_key: &ExpandKey,
        preamble: &[u8; PREAMBLE_LEN],
        context: &[u8],
    ) -> Result<Self> {
        let (salt, received) = preamble.split_at(SALT_LEN);
        let (message, commitment) = Self::derive(input_key, salt, context);
        if !bool::from(commitment.ct_eq(received)) {
            return Err(Error::AuthenticationFailed);
        }
        Ok(message)
    }

    /// The same message, with somebody to ask before each run of chunks.
    pub(crate) fn watched_by(mut self, watch: impl Watch + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// That whoever watches lets the message go on.
    pub(crate) fn watch(&self) -> Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.check())
    }

    fn derive(input_key: &ExpandKey, salt: &[u8], context: &[u8]) -> (Self, [u8; COMMITMENT_LEN]) {
        const NONCE_END: usize = KEY_LEN + NONCE_LEN;
        let mut okm = Zeroizing::new([0; NONCE_END + COMMITMENT_LEN]);
        input_key.expand(&[LABEL, salt, context], &mut *okm);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(&okm[..KEY_LEN]);
        let mut base_nonce = [0; NONCE_LEN];
        base_nonce.copy_from_slice(&okm[KEY_LEN..NONCE_END]);
        let mut commitment = [0; COMMITMENT_LEN];
        commitment.copy_from_slice(&okm[NONCE_END..]);
        (
            Self {
                key: AeadKey::new(&key),
                base_nonce,
                watch: None,
            },
            commitment,
        )
    }

    /// Seals chunks from number `first` on: `plaintext` into `slots`, whose length says how many there are and whether the last
    /// one is the message's end. On failure all of `slots` is zero.
    pub(crate) fn seal_chunks(
        &self,
        first: u64,
        plaintext: &[u8],
        slots: &mut [u8],
        threads: usize,
    ) -> Result<()> {
        check_run(first, slots.len())?;
        self.watch().inspect_err(|_| slots.fill(0))?;
        if plaintext.len() != text_len(slots.len()) {
            return Err(Error::Internal {
                problem: "a run of chunks doesn't fit its slots",
            });
        }
        let sealed = parallel::runs_between(
            first,
            plaintext,
            CHUNK_LEN,
            slots,
            SLOT_LEN,
            threads,
            |first, text, slots| {
                let mut text = text;
                for (number, slot) in (first..).zip(slots.chunks_mut(SLOT_LEN)) {
                    let (chunk, rest) = text.split_at(slot.len() - TAG_LEN);
                    text = rest;
                    self.key.seal(&self.nonce(number), chunk, slot)?;
                }
                Ok(())
            },
        );
        sealed.map_err(|CryptoError| {
            slots.fill(0);
            SEAL_FAILED
        })
    }

    /// Opens chunks from number `first` on: `slots` into `plaintext`. On failure all of `plaintext` is zero.
    pub(crate) fn open_chunks(
        &self,
        first: u64,
        slots: &[u8],
        plaintext: &mut [u8],
        threads: usize,
    ) -> Result<()> {
        check_run(first, slots.len())?;
        self.watch().inspect_err(|_| plaintext.fill(0))?;
        if plaintext.len() != text_len(slots.len()) {
            return Err(Error::Internal {
                problem: "a run of chunks doesn't fit its slots",
            });
        }
        let opened = parallel::runs_between(
            first,
            slots,
            SLOT_LEN,
            plaintext,
            CHUNK_LEN,
            threads,
            |first, slots, text| {
                let mut text = text;
                for (number, slot) in (first..).zip(slots.chunks(SLOT_LEN)) {
                    let (chunk, rest) = text.split_at_mut(slot.len() - TAG_LEN);
                    text = rest;
                    self.key.open(&self.nonce(number), slot, chunk)?;
                }
                Ok(())
            },
        );
        opened.map_err(|CryptoError| {
            plaintext.fill(0);
            Error::AuthenticationFailed
        })
    }

    /// Seals chunks that stand in their slots, each with [`TAG_LEN`] spare bytes after it. On failure all of `slots` is zero.
    pub(crate) fn seal_slots(&self, first: u64, slots: &mut [u8], threads: usize) -> Result<()> {
        check_run(first, slots.len())?;
        self.watch().inspect_err(|_| slots.fill(0))?;
        let sealed = parallel::runs_in_place(first, slots, threads, |number, slot| {
            self.key.seal_in_place(&self.nonce(number), slot)
        });
        sealed.map_err(|CryptoError| {
            slots.fill(0);
            SEAL_FAILED
        })
    }

    /// Opens chunks in their slots; the last [`TAG_LEN`] bytes of each are unspecified afterwards. On failure all of `slots` is zero.
    pub(crate) fn open_slots(&self, first: u64, slots: &mut [u8], threads: usize) -> Result<()> {
        check_run(first, slots.len())?;
        self.watch().inspect_err(|_| slots.fill(0))?;
        let opened = parallel::runs_in_place(first, slots, threads, |number, slot| {
            self.key.open_in_place(&self.nonce(number), slot)
        });
        opened.map_err(|CryptoError| {
            slots.fill(0);
            Error::AuthenticationFailed
        })
    }

    /// The base nonce XOR the chunk's number as a big-endian integer (C2SP chunked-encryption, "AEAD usage").
    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.base_nonce;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

const SEAL_FAILED: Error = Error::Internal {
    problem: "AES-GCM failed to seal; nothing was encrypted",
};

/// Plaintext bytes in slots of this length; [`check_run`] was asked before.
pub(crate) fn text_len(slots_len: usize) -> usize {
    slots_len - slots_len.div_ceil(SLOT_LEN) * TAG_LEN
}

/// No slot is shorter than a tag, and no chunk number goes beyond the limit.
fn check_run(first: u64, slots_len: usize) -> Result<()> {
    let last = slots_len % SLOT_LEN;
    if last != 0 && last < TAG_LEN {
        return Err(Error::Truncated);
    }
    let count = slots_len.div_ceil(SLOT_LEN) as u64;
    if first.checked_add(count).is_none_or(|end| end > MAX_CHUNKS) {
        return Err(too_long());
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
