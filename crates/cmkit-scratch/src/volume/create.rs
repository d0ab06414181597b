//! Making volumes, and opening those that can be opened again.

use std::sync::Arc;

use cmkit::{BlockSize, Error, Keyring, Result, SectorSize, VolumeLayout, XtsKey};

use super::ephemeral::Ephemeral;
use super::stats::Counters;
use super::table;
use super::watch::Watch;
use super::xts::Xts;
use super::{Cipher, Disk, Volume};
use crate::backing::Backing;
use crate::failure::{invalid, machine_memory};
use crate::origin::Origin;

/// Beyond so much under one key in XTS mode, one is told.
const XTS_WARN_LEN: u64 = 1 << 40;
const XTS_MAX_LEN: u64 = 1 << 48;
/// Blocks have numbers of 48 bits.
const MAX_BLOCKS: u64 = 1 << 48;

/// How a volume encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeMode {
    /// AES-256-GCM per block, with seals in memory: authenticated, and gone with the process.
    Ephemeral(BlockSize),
    /// AES-256-XTS per sector, as dm-crypt does: no integrity.
    Xts(SectorSize),
}

impl VolumeMode {
    /// `ephemeral` or `xts`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ephemeral(_) => "ephemeral",
            Self::Xts(_) => "xts",
        }
    }

    /// Bytes in a block or sector.
    #[must_use]
    pub fn block_bytes(self) -> u32 {
        match self {
            Self::Ephemeral(size) => size.bytes(),
            Self::Xts(size) => size.bytes(),
        }
    }
}

/// What a new volume is to be.
#[derive(Clone, Debug)]
pub struct VolumeSpec {
    mode: VolumeMode,
    keyring: Option<Keyring>,
    metadata_budget: Option<u64>,
}

impl Default for VolumeSpec {
    /// Ephemeral, in blocks of 4096 bytes, with a key in memory only.
    fn default() -> Self {
        Self::new(VolumeMode::Ephemeral(BlockSize::default()))
    }
}

impl VolumeSpec {
    /// A volume of this mode, with a key in memory only.
    #[must_use]
    pub fn new(mode: VolumeMode) -> Self {
        Self {
            mode,
            keyring: None,
            metadata_budget: None,
        }
    }

    /// Have the DEK wrapped by the keyring's keys, so that whoever owns these can stop the volume.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Bytes of memory that the seals of the ephemeral mode may take; without it half of the machine's. They take 22 bytes a block that was written.
    #[must_use]
    pub fn metadata_budget(mut self, bytes: u64) -> Self {
        self.metadata_budget = Some(bytes);
        self
    }

    /// How it encrypts.
    #[must_use]
    pub fn mode(&self) -> VolumeMode {
        self.mode
    }
}

impl Volume {
    /// A new volume over all of a backing. Nothing is written: in the ephemeral mode every block reads as zeros, in XTS mode as garbage.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the backing isn't a whole number of blocks, or empty; the seals would need more memory than allowed; more than 256 TiB in
    ///   XTS mode.
    /// * [`Error::Policy`]: the backing is read-only.
    /// * Those of [`Keyring::new_block_key`].
    pub fn create(backing: Box<dyn Backing>, spec: &VolumeSpec) -> Result<Volume> {
        check_whole(backing.len(), backing.name(), spec.mode)?;
        check_writable(&*backing)?;
        let cipher = match (spec.mode, &spec.keyring) {
            (VolumeMode::Ephemeral(size), keyring) => {
                let blocks = backing.len() / u64::from(size.bytes());
                let budget = budget(spec, blocks, size)?;
                Cipher::Ephemeral(Ephemeral::new(size, keyring.clone(), blocks, budget)?)
            }
            (VolumeMode::Xts(size), None) => Cipher::Xts(Xts::new(XtsKey::random(size)?)),
            // The volume file is thrown away: it goes with the process.
            (VolumeMode::Xts(size), Some(keyring)) => {
                let layout = layout(&*backing, size);
                Cipher::Xts(Xts::new(keyring.create_xts_volume(&layout)?.0))
            }
        };
        let len = backing.len();
        Self::over(backing, cipher, len)
    }

    /// A new volume in XTS mode that can be opened again, and its volume file; see [`Keyring::create_xts_volume`]. The caller stores the file, beside the volume
    /// and before anything is written.
    ///
    /// # Errors
    /// * Those of [`create`](Self::create) and of [`Keyring::create_xts_volume`].
    pub fn create_reopenable(
        backing: Box<dyn Backing>,
        sector_size: SectorSize,
        keyring: &Keyring,
    ) -> Result<(Volume, Vec<u8>)> {
        check_whole(backing.len(), backing.name(), VolumeMode::Xts(sector_size))?;
        check_writable(&*backing)?;
        let (key, file) = keyring.create_xts_volume(&layout(&*backing, sector_size))?;
        let len = backing.len();
        Ok((Self::over(backing, Cipher::Xts(Xts::new(key)), len)?, file))
    }

    /// Opens a volume of [`create_reopenable`](Self::create_reopenable) again.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the backing is shorter than the volume.
    /// * Those of [`Keyring::open_xts_volume`].
    pub fn open(backing: Box<dyn Backing>, file: &[u8], keyring: &Keyring) -> Result<Volume> {
        let (key, layout) = keyring.open_xts_volume(file)?;
        Self::open_with(backing, key, layout.len)
    }

    /// Opens a volume in XTS mode with a key that the caller has, of dm-crypt for instance: the first `len` bytes of the backing.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the backing is shorter, or `len` isn't a whole number of sectors.
    pub fn open_with(backing: Box<dyn Backing>, key: XtsKey, len: u64) -> Result<Volume> {
        if backing.len() < len {
            return Err(invalid(format!(
                "{}: it has {} bytes and the volume {len}: it was cut, or it is another one's",
                backing.name(),
                backing.len()
            )));
        }
        check_whole(len, backing.name(), VolumeMode::Xts(key.sector_size()))?;
        Self::over(backing, Cipher::Xts(Xts::new(key)), len)
    }

    fn over(backing: Box<dyn Backing>, cipher: Cipher, len: u64) -> Result<Volume> {
        let disk = Arc::new(Disk {
            cipher,
            backing,
            id: new_id()?,
            len,
            origin: Origin::here(),
            counters: Counters::default(),
        });
        let mut volume = Volume { disk, watch: None };
        if !volume.key_ids().is_empty() {
            volume.watch = Some(Watch::start(Arc::downgrade(&volume.disk))?);
        }
        Ok(volume)
    }

    /// Something to be told to whoever made it.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        let is_xts = matches!(self.disk.cipher, Cipher::Xts(_));
        (is_xts && self.disk.len > XTS_WARN_LEN).then_some(
            "more than 1 TiB under one key in XTS mode: IEEE 1619-2025 advises against it; take several volumes or the ephemeral mode",
        )
    }
}

fn check_writable(backing: &dyn Backing) -> Result<()> {
    if backing.is_read_only() {
        return Err(Error::Policy {
            problem: format!(
                "{}: it was opened for reading only, and a new volume is written",
                backing.name()
            ),
        });
    }
    Ok(())
}

/// That a volume of so many bytes can be.
fn check_whole(len: u64, name: &str, mode: VolumeMode) -> Result<()> {
    let block = u64::from(mode.block_bytes());
    if len < block {
        return Err(invalid(format!(
            "{name}: a volume of {len} bytes is too small: it has at least {block}"
        )));
    }
    if !len.is_multiple_of(block) {
        return Err(invalid(format!(
            "{name}: {len} bytes aren't a whole number of blocks of {block}; take {} or {} bytes",
            len - len % block,
            // No backing is so long that this isn't a number, but one of callbacks may say so.
            len.checked_next_multiple_of(block)
                .unwrap_or(len - len % block)
        )));
    }
    if len / block > MAX_BLOCKS {
        return Err(invalid(format!(
            "{name}: a volume has at most 2^48 blocks, and {len} bytes are more of {block}; take larger ones, or make it smaller"
        )));
    }
    if matches!(mode, VolumeMode::Xts(_)) && len > XTS_MAX_LEN {
        return Err(invalid(format!(
            "{name}: a volume in XTS mode has at most 256 TiB (2^48 bytes) under one key (IEEE 1619), not {len} bytes; take several"
        )));
    }
    Ok(())
}

fn layout(backing: &dyn Backing, sector_size: SectorSize) -> VolumeLayout {
    VolumeLayout {
        sector_size,
        iv_offset: 0,
        len: backing.len(),
    }
}

/// Bytes that the seals may take, which must do for a volume that is full.
fn budget(spec: &VolumeSpec, blocks: u64, size: BlockSize) -> Result<u64> {
    let memory = machine_memory();
    let budget = spec.metadata_budget.unwrap_or(memory / 2).min(memory);
    let needed = table::bytes_for(blocks);
    if needed <= budget {
        return Ok(budget);
    }
    let bytes = blocks * u64::from(size.bytes());
    let larger = BlockSize::ALL.into_iter().find(|larger| {
        let blocks = bytes.div_ceil(u64::from(larger.bytes()));
        larger.bytes() > size.bytes() && table::bytes_for(blocks) <= budget
    });
    let advice = match larger {
        Some(larger) => format!(
            "take blocks of {} KiB, or allow more",
            larger.bytes() / 1024
        ),
        None => "make it smaller, or allow more".to_owned(),
    };
    Err(invalid(format!(
        "a full volume of {bytes} bytes in blocks of {} needs {needed} bytes of memory for its seals, and {budget} are allowed; {advice}",
        size.bytes()
    )))
}

/// 32 random hex digits.
fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Error::Internal {
        problem: "the system gave no random bytes; no volume was made",
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
