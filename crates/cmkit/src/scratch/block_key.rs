//! The ephemeral mode: authenticated blocks whose key and tags are in memory alone.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroize as _;

use super::derive::{Derivation, Mode};
use super::live::Live;
use crate::crypto::{AeadKey, CryptoError, KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::envelope::DekId;
use crate::error::{Error, Result};
use crate::key_id::KeyId;
use crate::keyring::Keyring;
use crate::seams::Random;
use crate::secret::Dek;

/// Bits of a block's number and of a version, which together are the nonce.
const NUMBER_BITS: u32 = 48;
/// Bytes that one key encrypts at most: so many blocks that none of AES-GCM's bounds comes near (NIST SP 800-38D).
const MAX_BYTES: u64 = 1 << 50;
const VERSION_LEN: usize = 6;

/// Bytes in a block of the ephemeral mode. Larger ones need less memory for their seals, and cost more where a part of one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum BlockSize {
    /// 4096 bytes; seals take 0.54 % of what was written.
    #[default]
    Kib4,
    /// 16 384 bytes; 0.13 %.
    Kib16,
    /// 65 536 bytes; 0.034 %.
    Kib64,
}

impl BlockSize {
    /// All of them, the smallest first.
    pub const ALL: [BlockSize; 3] = [Self::Kib4, Self::Kib16, Self::Kib64];

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        match self {
            Self::Kib4 => 4096,
            Self::Kib16 => 16_384,
            Self::Kib64 => 65_536,
        }
    }

    /// The size of so many bytes.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: none has them.
    pub fn from_bytes(bytes: u32) -> Result<Self> {
        let fits = |size: &Self| size.bytes() == bytes;
        let found = Self::ALL.into_iter().find(fits);
        found.ok_or_else(|| {
            Error::invalid(format!(
                "a block has 4096, 16384 or 65536 bytes, not {bytes}"
            ))
        })
    }
}

/// What opens a block again besides the key: its version and its tag, 22 bytes. Not secret, but to be kept where nobody can change or roll it back: in memory.
///
/// Laid out as its bytes are, so that other languages' arrays of seals needn't be copied.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct BlockSeal([u8; BlockSeal::LEN]);

impl BlockSeal {
    /// Bytes in a seal: 6 of version, 16 of tag.
    pub const LEN: usize = VERSION_LEN + TAG_LEN;
    /// The seal of a block that was never written: it reads as zeros. All zero itself.
    pub const UNWRITTEN: Self = Self([0; Self::LEN]);

    /// Whether it is [`UNWRITTEN`](Self::UNWRITTEN).
    #[must_use]
    pub fn is_unwritten(&self) -> bool {
        *self == Self::UNWRITTEN
    }

    /// The seal that was taken apart by [`to_bytes`](Self::to_bytes).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }

    /// Which of its key's encryptions it belongs to, from 1; 0 for an unwritten block.
    #[must_use]
    pub fn version(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn set_version(&mut self, version: u64) {
        self.0[..VERSION_LEN].copy_from_slice(&version.to_be_bytes()[8 - VERSION_LEN..]);
    }

    fn tag_mut(&mut self) -> &mut [u8; TAG_LEN] {
        self.0
            .last_chunk_mut()
            .expect("a seal is longer than a tag")
    }

    fn tag(&self) -> &[u8; TAG_LEN] {
        self.0.last_chunk().expect("a seal is longer than a tag")
    }

    /// Block number and version, 48 bits each.
    pub(super) fn nonce(&self, block: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[..6].copy_from_slice(&block.to_be_bytes()[2..]);
        nonce[6..].copy_from_slice(&self.0[..VERSION_LEN]);
        nonce
    }
}

impl fmt::Debug for BlockSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockSeal(version {})", self.version())
    }
}

/// A key for blocks of one size, and the count of what it encrypted: AES-256-GCM (NIST SP 800-38D), with the block's number and a version as nonce.
///
/// Made by [`BlockKey::random`], whose key is in this process's memory and nowhere else, or by [`Keyring::new_block_key`], whose DEK the keyring's keys
/// wrap: then the key stops when they are taken away. Ciphertext is as long as plaintext, and goes where the plaintext would; a [`BlockSeal`] for each block is kept by the
/// caller, in memory. Whoever keeps the newest seal of each block sees every change, swap and rollback.
///
/// Each encryption takes versions of its own, also one that fails or whose ciphertext is thrown away: no nonce is ever used twice. So a key can't be
/// copied or stored. It refuses to work in a forked child. **A virtual machine that is restored from a snapshot, or cloned, would use nonces again: don't snapshot
/// one with a volume that is being written.**
///
/// Thread-safe. No I/O, and after [`check`](Self::check) no call to a provider.
///
/// ```
/// use cmkit::{BlockKey, BlockSeal, BlockSize};
///
/// let key = BlockKey::random(BlockSize::Kib4)?;
/// let mut blocks = vec![7; 2 * 4096];
/// let mut seals = [BlockSeal::UNWRITTEN; 2];
/// key.encrypt_blocks(40, &mut blocks, &mut seals)?;
/// key.decrypt_blocks(40, &mut blocks, &seals)?;
/// assert_eq!(blocks, vec![7; 2 * 4096]);
/// # Ok::<(), cmkit::Error>(())
/// ```
pub struct BlockKey {
    cipher: Live<AeadKey>,
    size: BlockSize,
    next_version: AtomicU64,
}

impl BlockKey {
    /// A key from the system's generator, which goes when it is dropped.
    ///
    /// # Errors
    /// * [`Error::Internal`]: no random bytes.
    pub fn random(size: BlockSize) -> Result<Self> {
        let dek = Dek::try_fill(|dek| Random::System.fill(dek))?;
        let derivation = Derivation::draw(Mode::Ephemeral, size.bytes(), &Random::System)?;
        Ok(Self::with(Live::new(make(&derivation, &dek)?), size))
    }

    fn with(cipher: Live<AeadKey>, size: BlockSize) -> Self {
        Self {
            cipher,
            size,
            next_version: AtomicU64::new(1),
        }
    }

    /// The size of its blocks.
    #[must_use]
    pub fn block_size(&self) -> BlockSize {
        self.size
    }

    /// The keys that wrap its DEK; none for a [random](Self::random) one.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.cipher
            .hold()
            .map_or_else(Vec::new, |hold| hold.key_ids())
    }

    /// The DEK's id, which the keyring's providers don't know; `None` for a [random](Self::random) one.
    #[must_use]
    pub fn dek_id(&self) -> Option<DekId> {
        self.cipher.hold().map(|hold| hold.dek_id())
    }

    /// That it may be used: to be called before each request. Looks at most once a second; asks a provider when the last yes is too old.
    ///
    /// When the keyring's keys are taken away the key is zeroized. When they are back, this makes it again from its DEK; the count of versions goes on.
    ///
    /// # Errors
    /// * [`Error::Provider`] and whatever else decrypting under the keyring gives: its keys don't allow it.
    /// * [`Error::InvalidState`]: destroyed, or another process's.
    pub fn check(&self) -> Result<()> {
        self.cipher.check()
    }

    /// Encrypts whole blocks in place, the first of which has the number `first`, and gives each its seal.
    ///
    /// On failure `data` is zero and every seal unwritten.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: not one seal a block; a number from 2^48 on.
    /// * [`Error::Policy`]: the key has encrypted 2^50 bytes; make another one.
    /// * [`Error::InvalidState`]: destroyed, or another process's.
    /// * What [`check`](Self::check) gave last, where the keyring's keys were taken away.
    pub fn encrypt_blocks(
        &self,
        first: u64,
        data: &mut [u8],
        seals: &mut [BlockSeal],
    ) -> Result<()> {
        let block_len = self.block_len();
        let sealed = self.seal(first, data.len(), seals, |cipher, nonce, at, tag| {
            cipher.seal_apart(nonce, &mut data[at..at + block_len], tag)
        });
        if sealed.is_err() {
            data.zeroize();
            seals.fill(BlockSeal::UNWRITTEN);
        }
        sealed
    }

    /// The same from one buffer to another, which is as long: for data that has to stay as it is.
    ///
    /// On failure `out` is zero and every seal unwritten.
    ///
    /// # Errors
    /// * Those of [`encrypt_blocks`](Self::encrypt_blocks); [`Error::InvalidArgument`] also if the buffers aren't as long as each other.
    pub fn encrypt_blocks_into(
        &self,
        first: u64,
        plaintext: &[u8],
        out: &mut [u8],
        seals: &mut [BlockSeal],
    ) -> Result<()> {
        let block_len = self.block_len();
        let sealed = if plaintext.len() == out.len() {
            self.seal(first, out.len(), seals, |cipher, nonce, at, tag| {
                let block = at..at + block_len;
                cipher.seal_apart_into(nonce, &plaintext[block.clone()], &mut out[block], tag)
            })
        } else {
            let (given, room) = (plaintext.len(), out.len());
            Err(Error::invalid(format!(
                "{given} bytes don't go into a buffer of {room}: give one as long"
            )))
        };
        if sealed.is_err() {
            out.zeroize();
            seals.fill(BlockSeal::UNWRITTEN);
        }
        sealed
    }

    /// Has `seal_one` seal each block, given by where it begins in the data.
    fn seal(
        &self,
        first: u64,
        bytes: usize,
        seals: &mut [BlockSeal],
        mut seal_one: impl FnMut(
            &AeadKey,
            &[u8; NONCE_LEN],
            usize,
            &mut [u8; TAG_LEN],
        ) -> Result<(), CryptoError>,
    ) -> Result<()> {
        self.check_blocks(first, bytes, seals.len())?;
        self.cipher.with(|cipher| {
            let versions = self.take_versions(seals.len() as u64)?..;
            let places = (0..bytes).step_by(self.block_len());
            for ((block, version), (at, seal)) in (first..).zip(versions).zip(places.zip(seals)) {
                seal.set_version(version);
                let nonce = seal.nonce(block);
                let sealed = seal_one(cipher, &nonce, at, seal.tag_mut());
                sealed.map_err(|_| Error::Internal {
                    problem: "a block couldn't be encrypted",
                })?;
            }
            Ok(())
        })
    }

    /// Decrypts whole blocks in place. Those whose seal is unwritten become zeros.
    ///
    /// On failure all of `data` is zero.
    ///
    /// # Errors
    /// * [`Error::DamagedBlock`]: the first block that isn't the one its seal was given for.
    /// * [`Error::InvalidArgument`]: not one seal a block; a number from 2^48 on.
    /// * [`Error::InvalidState`]: destroyed, or another process's.
    /// * What [`check`](Self::check) gave last, where the keyring's keys were taken away.
    pub fn decrypt_blocks(&self, first: u64, data: &mut [u8], seals: &[BlockSeal]) -> Result<()> {
        let opened = self.open(first, data, seals);
        if opened.is_err() {
            data.zeroize();
        }
        opened
    }

    fn open(&self, first: u64, data: &mut [u8], seals: &[BlockSeal]) -> Result<()> {
        self.check_blocks(first, data.len(), seals.len())?;
        let block_len = self.block_len();
        self.cipher.with(|cipher| {
            let blocks = data.chunks_exact_mut(block_len).zip(seals);
            for (block, (text, seal)) in (first..).zip(blocks) {
                if seal.is_unwritten() {
                    text.fill(0);
                    continue;
                }
                let opened = cipher.open_apart(&seal.nonce(block), seal.tag(), text);
                opened.map_err(|_| Error::DamagedBlock { block })?;
            }
            Ok(())
        })
    }

    /// Zeroizes the key for good. What it encrypted can't be read any more, by nobody. Doesn't wait for I/O.
    pub fn destroy(&self) {
        self.cipher.destroy();
    }

    /// Whether [`destroy`](Self::destroy) was called.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.cipher.is_destroyed()
    }

    fn block_len(&self) -> usize {
        self.size.bytes() as usize
    }

    fn check_blocks(&self, first: u64, bytes: usize, seals: usize) -> Result<()> {
        if seals.checked_mul(self.block_len()) != Some(bytes) {
            return Err(Error::invalid(format!(
                "{bytes} bytes and {seals} seals: give whole blocks of {} bytes, and one seal for each",
                self.size.bytes()
            )));
        }
        match first.checked_add(seals as u64) {
            Some(end) if end <= 1 << NUMBER_BITS => Ok(()),
            _ => Err(Error::invalid("a block's number is below 2^48")),
        }
    }

    /// The first of so many versions that nobody else gets.
    fn take_versions(&self, count: u64) -> Result<u64> {
        let limit = MAX_BYTES / u64::from(self.size.bytes());
        let take = |next: u64| next.checked_add(count).filter(|after| *after - 1 <= limit);
        let taken = self
            .next_version
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Error::Policy {
            problem: "this volume's key has encrypted 2^50 bytes, its limit: reset the volume, which gives it a new one".into(),
        })
    }

    /// What its cipher is made of, from its DEK.
    #[cfg(test)]
    pub(crate) fn expanded(&self, dek: &[u8; KEY_LEN]) -> Box<zeroize::Zeroizing<[u8; KEY_LEN]>> {
        let derivation = self.cipher.derivation().expect("a keyring's");
        derivation.expand::<KEY_LEN>(dek)
    }

    #[cfg(test)]
    pub(crate) fn suspend(&self) {
        self.cipher.suspend(&Error::Internal {
            problem: "a test suspended it",
        });
    }

    #[cfg(test)]
    pub(super) fn skip_versions_to(&self, next: u64) {
        self.next_version.store(next, Ordering::Relaxed);
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockKey")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

fn make(derivation: &Derivation, dek: &Dek) -> Result<AeadKey> {
    Ok(AeadKey::new(&derivation.expand::<KEY_LEN>(dek.expose())))
}

impl Keyring {
    /// A new DEK for blocks, wrapped by each of the keyring's keys, and its key. Nothing of it is stored: like a random one it goes with the process, and it stops
    /// when the keyring's keys are taken away. Isn't cached, and charges no cached DEK.
    ///
    /// # Errors
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn new_block_key(&self, size: BlockSize) -> Result<BlockKey> {
        let (dek, hold) = self.new_volume_dek()?;
        let derivation = Derivation::draw(Mode::Ephemeral, size.bytes(), self.random())?;
        let cipher = Live::of_keyring(&dek, hold, derivation, make)?;
        Ok(BlockKey::with(cipher, size))
    }
}
