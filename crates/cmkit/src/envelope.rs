//! Header bytes to struct and back (docs/format.md, sections 2 to 4 and 7). Pure, total, fuzzed.

mod core;
mod recipients;

pub(crate) use self::core::Core;
pub use self::core::{DekId, Purpose};
pub(crate) use self::recipients::{MAX_RECIPIENTS, Recipient, decode_recipient, encode_recipient};

use crate::cbor;
use crate::error::{Error, Result};

/// Magic, so chosen that no text file and no file mangled by a text transfer begins with it.
pub(crate) const MAGIC: [u8; 8] = *b"\x89CMK\r\n\x1a\n";
pub(crate) const VERSION: u8 = 1;
/// AES-256-GCM, HKDF-Expand-SHA-512, HMAC-SHA-256.
pub(crate) const SUITE: u16 = 1;
pub(crate) const SUITE_NAME: &str = "AES-256-GCM, HKDF-Expand-SHA-512, HMAC-SHA-256";
pub(crate) const PREFIX_LEN: usize = 16;
pub(crate) const MAC_LEN: usize = 32;
/// Bytes of PREFIX that a body commits to: all but the lengths.
pub(crate) const FIXED_PREFIX_LEN: usize = 12;
/// Bytes in the longest header.
pub(crate) const MAX_HEADER_LEN: usize = 65_536;
/// Headers of files are a multiple of this, so that a rewrapped one fits in the same place.
pub(crate) const FILE_BLOCK: usize = 4096;

/// Whether the bytes begin like a cmkit envelope of a version that this library reads.
///
/// Looks at the first 9 bytes. Says nothing about whether the envelope is whole, authentic or yours.
#[must_use]
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && bytes.get(MAGIC.len()) == Some(&VERSION)
}

/// Whether the bytes begin like an envelope of any version.
pub(crate) fn begins_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// How many bytes the header has, from the first 16 bytes of an envelope.
///
/// # Errors
/// * [`Error::Format`]: not an envelope, or an unsupported version, flag or suite.
/// * [`Error::Truncated`]: fewer than 16 bytes that begin like an envelope.
pub fn header_len(prefix: &[u8]) -> Result<usize> {
    Ok(Prefix::parse(prefix)?.header_len())
}

/// The two lengths of PREFIX; the rest of it is constant.
#[derive(Clone, Copy)]
struct Prefix {
    core_len: usize,
    recipients_len: usize,
}

impl Prefix {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let seen = bytes.len().min(MAGIC.len());
        if bytes.is_empty() {
            return Err(Error::format("it is empty"));
        }
        if bytes[..seen] != MAGIC[..seen] {
            return Err(Error::format(
                "it does not begin like one; perhaps it was never encrypted",
            ));
        }
        let Some(prefix) = bytes.first_chunk::<PREFIX_LEN>() else {
            return Err(Error::Truncated);
        };
        let [
            ..,
            version,
            flags,
            suite_hi,
            suite_lo,
            core_hi,
            core_lo,
            recipients_hi,
            recipients_lo,
        ] = *prefix;
        if version != VERSION {
            return Err(Error::format(
                "its version is not one that this cmkit reads; a newer cmkit may",
            ));
        }
        if flags != 0 {
            return Err(Error::format(
                "it has flags that this cmkit doesn't know; a newer cmkit may",
            ));
        }
        if u16::from_be_bytes([suite_hi, suite_lo]) != SUITE {
            return Err(Error::format(
                "its suite is not one that this cmkit knows; a newer cmkit may",
            ));
        }
        let this = Self {
            core_len: usize::from(u16::from_be_bytes([core_hi, core_lo])),
            recipients_len: usize::from(u16::from_be_bytes([recipients_hi, recipients_lo])),
        };
        if this.core_len == 0 || this.recipients_len == 0 {
            return Err(Error::format("a part of its header is empty"));
        }
        if this.header_len() > MAX_HEADER_LEN {
            return Err(Error::format("its header is longer than 65536 bytes"));
        }
        Ok(this)
    }

    fn header_len(self) -> usize {
        PREFIX_LEN + self.core_len + self.recipients_len + MAC_LEN
    }
}

/// A header that parsed: views of the received bytes beside what they mean. Not authenticated.
pub(crate) struct Header<'a> {
    /// All of it, PREFIX to MAC.
    pub(crate) bytes: &'a [u8],
    pub(crate) core_bytes: &'a [u8],
    pub(crate) core: Core,
    pub(crate) recipients: Vec<Recipient<'a>>,
    /// Zero bytes of padding; `None` without the padding item.
    pub(crate) padding: Option<usize>,
}

impl<'a> Header<'a> {
    /// Reads the header at the front of `bytes`; what follows is not looked at.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let prefix = Prefix::parse(bytes)?;
        let Some(bytes) = bytes.get(..prefix.header_len()) else {
            return Err(Error::Truncated);
        };
        let recipients_start = PREFIX_LEN + prefix.core_len;
        let core_bytes = &bytes[PREFIX_LEN..recipients_start];
        let core = Core::decode(core_bytes)?;
        let (recipients, padding) =
            recipients::decode(&bytes[recipients_start..bytes.len() - MAC_LEN])?;
        Ok(Self {
            bytes,
            core_bytes,
            core,
            recipients,
            padding,
        })
    }

    /// What the MAC covers.
    pub(crate) fn authenticated(&self) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - MAC_LEN]
    }

    pub(crate) fn mac(&self) -> &'a [u8] {
        &self.bytes[self.bytes.len() - MAC_LEN..]
    }

    /// The compact form: the DEK is in a key store.
    pub(crate) fn is_compact(&self) -> bool {
        self.recipients.is_empty()
    }

    /// A header with a body has recipients, or a purpose that says where else the DEK is.
    pub(crate) fn check_form(&self) -> Result<()> {
        if self.is_compact() != (self.core.purpose == Purpose::KeyStore) {
            return Err(Error::format("its recipients don't fit its purpose"));
        }
        Ok(())
    }
}

/// How long a header is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// No padding item.
    None,
    /// A multiple of [`FILE_BLOCK`].
    FileBlock,
    /// Exactly this long.
    Exactly(usize),
}

/// A header of these parts, with its MAC from `mac`. `Ok(None)`: no padding brings it to the length asked for.
pub(crate) fn build(
    core_bytes: &[u8],
    recipients: &[impl AsRef<[u8]>],
    padding: Padding,
    mac: impl FnOnce(&[u8]) -> [u8; MAC_LEN],
) -> Result<Option<Vec<u8>>> {
    let mut list =
        Vec::with_capacity(1 + recipients.iter().map(|r| r.as_ref().len()).sum::<usize>());
    cbor::write_array_len(&mut list, recipients.len());
    for recipient in recipients {
        list.extend_from_slice(recipient.as_ref());
    }
    let bare_len = PREFIX_LEN + core_bytes.len() + list.len() + MAC_LEN;
    match padding {
        Padding::None => {}
        Padding::Exactly(len) => {
            let Some(add) = len.checked_sub(bare_len) else {
                return Ok(None);
            };
            if !write_padding(&mut list, add) {
                return Ok(None);
            }
        }
        Padding::FileBlock => {
            let mut add = bare_len.next_multiple_of(FILE_BLOCK) - bare_len;
            if !write_padding(&mut list, add) {
                add += FILE_BLOCK;
                write_padding(&mut list, add);
            }
        }
    }
    let too_long =
        || Error::invalid("the recipients don't fit into a header of 65536 bytes; use fewer");
    let mut out = Vec::with_capacity(PREFIX_LEN + core_bytes.len() + list.len() + MAC_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, 0]);
    out.extend_from_slice(&SUITE.to_be_bytes());
    out.extend_from_slice(
        &u16::try_from(core_bytes.len())
            .map_err(|_| too_long())?
            .to_be_bytes(),
    );
    out.extend_from_slice(
        &u16::try_from(list.len())
            .map_err(|_| too_long())?
            .to_be_bytes(),
    );
    out.extend_from_slice(core_bytes);
    out.extend_from_slice(&list);
    let mac = mac(&out);
    out.extend_from_slice(&mac);
    if out.len() > MAX_HEADER_LEN {
        return Err(too_long());
    }
    Ok(Some(out))
}

/// Adds a padding item of `len` bytes in all. No item has 25 or 258 bytes in shortest form: then false.
fn write_padding(out: &mut Vec<u8>, len: usize) -> bool {
    let zeros = match len {
        0 => return true,
        1..=24 => len - 1,
        26..=257 => len - 2,
        259..=65_538 => len - 3,
        _ => return false,
    };
    cbor::write_bytes(out, &vec![0; zeros]);
    true
}

#[cfg(test)]
mod tests;
