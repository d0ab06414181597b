//! The XTS mode: the layout of dm-crypt's `aes-xts-plain64`, without integrity.

use std::fmt;

use zeroize::Zeroizing;

use super::derive::{Derivation, Mode};
use super::live::Live;
use super::volume_file::{self, VolumeLayout};
use crate::crypto::xts::{XTS_KEY_LEN, Xts};
use crate::envelope::DekId;
use crate::error::{Error, Result};
use crate::key_id::KeyId;
use crate::keyring::Keyring;
use crate::seams::Random;
use crate::secret::{Dek, SecretBytes};

/// What `plain64` counts, whatever the sector's size.
const IV_UNIT: u64 = 512;
/// Bytes under one key at most.
const MAX_BYTES: u64 = 1 << 48;

/// Bytes in a sector, each of which is encrypted as one XTS data unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SectorSize {
    /// 512 bytes, what dm-crypt does unless told otherwise.
    B512,
    /// 4096 bytes: faster.
    #[default]
    B4096,
}

impl SectorSize {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// The size of so many bytes.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: neither has them.
    pub fn from_bytes(bytes: u32) -> Result<Self> {
        match bytes {
            512 => Ok(Self::B512),
            4096 => Ok(Self::B4096),
            _ => Err(Error::invalid(format!(
                "a sector has 512 or 4096 bytes, not {bytes}"
            ))),
        }
    }
}

/// A key for the sectors of one volume: AES-256-XTS (IEEE 1619, NIST SP 800-38E) with dm-crypt's `plain64` numbers, byte for byte what
/// `aes-xts-plain64` and LUKS payloads have.
///
/// **No integrity**: whoever can write the disk can exchange any 16 bytes for garbage and any sector for an older version of it, unseen, and sees which
/// 16 bytes were written anew with the same content. Take [`BlockKey`](crate::BlockKey) unless the volume must be opened again later or mapped by a kernel.
///
/// Thread-safe. No I/O, and after [`check`](Self::check) no call to a provider. Refuses to work in a forked child.
pub struct XtsKey {
    cipher: Live<Xts>,
    size: SectorSize,
    iv_offset: u64,
}

impl XtsKey {
    /// Bytes in a key.
    pub const LEN: usize = XTS_KEY_LEN;

    /// A key from the system's generator, which goes when it is dropped.
    ///
    /// # Errors
    /// * [`Error::Internal`]: no random bytes.
    pub fn random(size: SectorSize) -> Result<Self> {
        let dek = Dek::try_fill(|dek| Random::System.fill(dek))?;
        let derivation = Derivation::draw(Mode::Xts, size.bytes(), &Random::System)?;
        Ok(Self::with(Live::new(make(&derivation, &dek)?), size, 0))
    }

    /// A key that comes from elsewhere, of an existing dm-crypt or LUKS volume for instance: first the half that encrypts data, then the tweak's.
    ///
    /// `iv_offset` is the number of the first sector, in units of 512 bytes whatever the sector's size: dm-crypt's own parameter.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: not 64 bytes, equal halves, or an offset that isn't whole sectors.
    pub fn from_bytes(key: &[u8], size: SectorSize, iv_offset: u64) -> Result<Self> {
        let key: &[u8; XTS_KEY_LEN] = key.try_into().map_err(|_| {
            Error::invalid(format!(
                "a key for aes-xts-plain64 has 64 bytes, not {}",
                key.len()
            ))
        })?;
        check_iv_offset(iv_offset, size)?;
        let cipher = Xts::new(key).map_err(|_| {
            Error::invalid(
                "the two halves of a key for aes-xts-plain64 must differ; make another one",
            )
        })?;
        Ok(Self::with(Live::new(cipher), size, iv_offset))
    }

    fn with(cipher: Live<Xts>, size: SectorSize, iv_offset: u64) -> Self {
        Self {
            cipher,
            size,
            iv_offset,
        }
    }

    /// The size of its sectors.
    #[must_use]
    pub fn sector_size(&self) -> SectorSize {
        self.size
    }

    /// The keys that wrap its DEK; none if no keyring has it.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.cipher
            .hold()
            .map_or_else(Vec::new, |hold| hold.key_ids())
    }

    /// The id of its DEK; `None` if no keyring has it.
    #[must_use]
    pub fn dek_id(&self) -> Option<DekId> {
        self.cipher.hold().map(|hold| hold.dek_id())
    }

    /// The same as [`BlockKey::check`](crate::BlockKey::check).
    ///
    /// # Errors
    /// * Those of that.
    pub fn check(&self) -> Result<()> {
        self.cipher.check()
    }

    /// Encrypts whole sectors in place, the first of which is `offset` bytes into the volume. On failure nothing of `data` was changed.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: not whole sectors; beyond 256 TiB.
    /// * [`Error::InvalidState`]: destroyed, or another process's.
    /// * What [`check`](Self::check) gave last, where the keyring's keys were taken away.
    pub fn encrypt_sectors(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        let (first, step) = self.tweaks(offset, data.len())?;
        self.cipher.with(|cipher| {
            cipher.encrypt(first, step, self.sector_len(), data);
            Ok(())
        })
    }

    /// Decrypts whole sectors in place. What was never written, or was changed, becomes garbage: nothing notices. On failure nothing of `data` was changed.
    ///
    /// # Errors
    /// * Those of [`encrypt_sectors`](Self::encrypt_sectors).
    pub fn decrypt_sectors(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        let (first, step) = self.tweaks(offset, data.len())?;
        self.cipher.with(|cipher| {
            cipher.decrypt(first, step, self.sector_len(), data);
            Ok(())
        })
    }

    /// The same as [`BlockKey::destroy`](crate::BlockKey::destroy), but that a volume file's DEK can be unwrapped again for as long as a wrap of it is left.
    pub fn destroy(&self) {
        self.cipher.destroy();
    }

    /// Whether [`destroy`](Self::destroy) was called.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.cipher.is_destroyed()
    }

    /// The 64 bytes that `dmsetup` or `cryptsetup --volume-key-file` take, to have a kernel map the volume. Asks the keyring to unwrap the DEK once more.
    ///
    /// # Errors
    /// * [`Error::InvalidState`]: no keyring has its DEK; destroyed.
    /// * Those of [`Keyring::decrypt`].
    pub fn kernel_key(&self) -> Result<SecretBytes> {
        self.check()?;
        let (Some(hold), Some(derivation)) = (self.cipher.hold(), self.cipher.derivation()) else {
            return Err(Error::InvalidState {
                problem: "this volume's key is in memory only, and doesn't come out",
            });
        };
        let dek = hold.unwrap_again()?;
        let key = derivation.expand::<XTS_KEY_LEN>(dek.expose());
        Ok(Zeroizing::new(key.to_vec()).into())
    }

    fn sector_len(&self) -> usize {
        self.size.bytes() as usize
    }

    /// The first tweak and the step to the next: both count 512 bytes.
    fn tweaks(&self, offset: u64, len: usize) -> Result<(u128, u128)> {
        let sector = u64::from(self.size.bytes());
        if !offset.is_multiple_of(sector) || !len.is_multiple_of(self.sector_len()) {
            return Err(Error::invalid(format!(
                "{len} bytes at {offset} aren't whole sectors of {sector} bytes"
            )));
        }
        match offset.checked_add(len as u64) {
            Some(end) if end <= MAX_BYTES => check_numbers(self.iv_offset, end)?,
            _ => return Err(too_large()),
        }
        let first = u128::from(self.iv_offset) + u128::from(offset / IV_UNIT);
        Ok((first, u128::from(sector / IV_UNIT)))
    }
}

impl fmt::Debug for XtsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XtsKey")
            .field("size", &self.size)
            .field("iv_offset", &self.iv_offset)
            .finish_non_exhaustive()
    }
}

fn make(derivation: &Derivation, dek: &Dek) -> Result<Xts> {
    // Equal halves come out of no generator that works.
    Xts::new(&derivation.expand::<XTS_KEY_LEN>(dek.expose())).map_err(|_| Error::Internal {
        problem: "an expanded key has equal halves",
    })
}

pub(super) fn check_iv_offset(iv_offset: u64, size: SectorSize) -> Result<()> {
    if iv_offset.is_multiple_of(u64::from(size.bytes()) / IV_UNIT) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "an iv_offset of {iv_offset} units of 512 bytes isn't whole sectors of {} bytes",
        size.bytes()
    )))
}

/// That a sector's number stays below 2^64, where `plain64` begins at 0 again.
fn check_numbers(iv_offset: u64, len: u64) -> Result<()> {
    if iv_offset.checked_add(len / IV_UNIT).is_some() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "an iv_offset of {iv_offset} units of 512 bytes leaves no numbers for {len} bytes"
    )))
}

pub(super) fn too_large() -> Error {
    Error::invalid(
        "a volume in XTS mode has at most 256 TiB (2^48 bytes) under one key (IEEE 1619); split it",
    )
}

pub(super) fn check_len(layout: &VolumeLayout) -> Result<()> {
    if layout.len > MAX_BYTES {
        return Err(too_large());
    }
    if layout.len == 0
        || !layout
            .len
            .is_multiple_of(u64::from(layout.sector_size.bytes()))
    {
        return Err(Error::invalid(format!(
            "a volume of {} bytes isn't whole sectors of {} bytes",
            layout.len,
            layout.sector_size.bytes()
        )));
    }
    // Else the volume file couldn't be read again.
    if layout.iv_offset >= 1 << 63 {
        return Err(Error::invalid(format!(
            "an iv_offset is below 2^63, not {}",
            layout.iv_offset
        )));
    }
    check_iv_offset(layout.iv_offset, layout.sector_size)
}

impl Keyring {
    /// The key of a new volume in XTS mode, and the volume file that opens it again: the layout and the DEK, wrapped by each of the keyring's keys, at most
    /// 66 KiB. Keep it beside the volume, never in it; without it the volume is lost. It is an envelope, so that [`rewrap`](Self::rewrap) and
    /// rotations move it to other keys.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: a length or offset that isn't whole sectors, or more than 256 TiB.
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn create_xts_volume(&self, layout: &VolumeLayout) -> Result<(XtsKey, Vec<u8>)> {
        check_len(layout)?;
        let (dek, hold) = self.new_volume_dek()?;
        let derivation = Derivation::draw(Mode::Xts, layout.sector_size.bytes(), self.random())?;
        let file = hold.seal_file(&volume_file::encode(layout, derivation.salt()))?;
        let cipher = Live::of_keyring(&dek, hold, derivation, make)?;
        Ok((
            XtsKey::with(cipher, layout.sector_size, layout.iv_offset),
            file,
        ))
    }

    /// The key and the layout of a volume that [`create_xts_volume`](Self::create_xts_volume) made, from its volume file.
    ///
    /// # Errors
    /// * [`Error::Format`]: it isn't a volume file.
    /// * Those of [`decrypt`](Self::decrypt).
    pub fn open_xts_volume(&self, file: &[u8]) -> Result<(XtsKey, VolumeLayout)> {
        let (dek, hold, description) = self.open_volume_file(file)?;
        let (layout, salt) = volume_file::decode(&description)?;
        let derivation = Derivation::new(Mode::Xts, layout.sector_size.bytes(), salt);
        let cipher = Live::of_keyring(&dek, hold, derivation, make)?;
        Ok((
            XtsKey::with(cipher, layout.sector_size, layout.iv_offset),
            layout,
        ))
    }
}
