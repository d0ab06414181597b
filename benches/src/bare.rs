//! The primitives that cmkit is made of, called without cmkit: what its figures are held against.

use std::thread;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, rand};

const CHUNK: usize = 16_384;
const TAG: usize = 16;

/// An AES-256-GCM key of AWS-LC.
pub struct Gcm(LessSafeKey);

impl Gcm {
    /// The key with these bytes.
    ///
    /// # Panics
    /// Never: the length is right.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"),
        ))
    }

    /// Seals whole chunks of 16 KiB, each from one buffer to the other. What `out` has beyond them stays as it is.
    ///
    /// # Panics
    /// When the buffers don't fit each other.
    pub fn seal(&self, plaintext: &[u8], out: &mut [u8]) {
        for (i, (p, c)) in plaintext
            .chunks_exact(CHUNK)
            .zip(out.chunks_exact_mut(CHUNK + TAG))
            .enumerate()
        {
            let (c, tag) = c.split_at_mut(CHUNK);
            self.0
                .seal_out_of_place_scatter(nonce(i), Aad::empty(), p, c, &[], tag)
                .expect("fits");
        }
    }

    /// Opens what [`seal`](Self::seal) sealed.
    ///
    /// # Panics
    /// When it doesn't authenticate.
    pub fn open(&self, sealed: &[u8], out: &mut [u8]) {
        for (i, (c, p)) in sealed
            .chunks_exact(CHUNK + TAG)
            .zip(out.chunks_exact_mut(CHUNK))
            .enumerate()
        {
            let (c, tag) = c.split_at(CHUNK);
            self.0
                .open_separate_gather(nonce(i), Aad::empty(), c, tag, p)
                .expect("authentic");
        }
    }

    /// [`seal`](Self::seal) in two halves on two threads.
    pub fn seal_two_threads(&self, plaintext: &[u8], out: &mut [u8]) {
        let half = half(plaintext.len());
        let (p0, p1) = plaintext.split_at(half * CHUNK);
        let (c0, c1) = out.split_at_mut(half * (CHUNK + TAG));
        thread::scope(|s| {
            s.spawn(|| self.seal(p0, c0));
            self.seal(p1, c1);
        });
    }

    /// Opens what [`seal_two_threads`](Self::seal_two_threads) sealed, on two threads.
    pub fn open_two_threads(&self, sealed: &[u8], out: &mut [u8]) {
        let half = half(out.len());
        let (p0, p1) = out.split_at_mut(half * CHUNK);
        let (c0, c1) = sealed.split_at(half * (CHUNK + TAG));
        thread::scope(|s| {
            s.spawn(|| self.open(c0, p0));
            self.open(c1, p1);
        });
    }
}

/// Where the second of two threads begins, in chunks.
fn half(plaintext_len: usize) -> usize {
    plaintext_len / CHUNK / 2
}

fn nonce(i: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(i as u64).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// One document's primitives: draw a salt, hash the context, expand the message's keys from kept HMAC midstates, seal one chunk.
pub struct Document {
    hmac: hmac::Key,
}

impl Document {
    /// With this key for HKDF-Expand.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            hmac: hmac::Key::new(hmac::HMAC_SHA512, key),
        }
    }

    fn expand(&self, info: &[u8]) -> [u8; 76] {
        let mut okm = [0; 76];
        let mut context = hmac::Context::with_key(&self.hmac);
        context.update(info);
        context.update(&[1]);
        let t1 = context.sign();
        okm[..64].copy_from_slice(t1.as_ref());
        let mut context = hmac::Context::with_key(&self.hmac);
        context.update(t1.as_ref());
        context.update(info);
        context.update(&[2]);
        okm[64..].copy_from_slice(&context.sign().as_ref()[..12]);
        okm
    }

    /// Seals `plaintext` into `out`, whose first bytes take salt and commitment.
    ///
    /// # Panics
    /// When `out` is too short, or there is no randomness.
    pub fn seal(&self, head: &[u8], plaintext: &[u8], out: &mut [u8]) {
        let mut info = [0; 104];
        info[..48].copy_from_slice(b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0");
        rand::fill(&mut info[48..72]).expect("randomness");
        info[72..].copy_from_slice(digest::digest(&digest::SHA256, head).as_ref());
        let okm = self.expand(&info);
        let key: &[u8; 32] = okm.first_chunk().expect("32 bytes");
        let nonce = Nonce::try_assume_unique_for_key(&okm[32..44]).expect("12 bytes");
        let (salt, rest) = out.split_at_mut(24);
        let (commitment, body) = rest.split_at_mut(32);
        salt.copy_from_slice(&info[48..72]);
        commitment.copy_from_slice(&okm[44..]);
        let (ciphertext, tag) = body.split_at_mut(plaintext.len());
        let gcm = Gcm::new(key);
        gcm.0
            .seal_out_of_place_scatter(nonce, Aad::empty(), plaintext, ciphertext, &[], tag)
            .expect("fits");
    }
}

/// AES-256-GCM over the blocks of a disk, in place and without anything around it.
pub struct BareBlocks {
    key: LessSafeKey,
    block: usize,
}

impl BareBlocks {
    /// The key with these bytes.
    ///
    /// # Panics
    /// Never: the length is right.
    #[must_use]
    pub fn new(key: &[u8; 32], block: usize) -> Self {
        Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes")),
            block,
        }
    }

    /// Seals whole blocks.
    ///
    /// # Panics
    /// Never: what there is to fail doesn't.
    pub fn seal(&self, data: &mut [u8], tags: &mut [[u8; TAG]]) {
        for (i, (block, tag)) in data.chunks_exact_mut(self.block).zip(tags).enumerate() {
            self.key
                .seal_in_place_scatter(nonce(i), Aad::empty(), block, &[], tag)
                .expect("fits");
        }
    }

    /// Opens what [`seal`](Self::seal) sealed.
    ///
    /// # Panics
    /// When it doesn't authenticate.
    pub fn open(&self, data: &mut [u8], tags: &[[u8; TAG]]) {
        for (i, (block, tag)) in data.chunks_exact_mut(self.block).zip(tags).enumerate() {
            self.key
                .open_in_place_separate_tag(nonce(i), Aad::empty(), tag, block)
                .expect("authentic");
        }
    }
}
