//! The same DEK under another KEK.

mod file;
mod sidecar;

use subtle::ConstantTimeEq;

pub use self::file::RewrapOutcome;
pub(crate) use self::sidecar::interrupted_or;
use crate::capsule;
use crate::envelope::{self, DekId, Header, Padding, Purpose};
use crate::error::{Error, Result};
use crate::key_id::KeyRef;
use crate::keyring::{Keyring, MacKey, bad_row};

/// How often one row is read again because somebody else was faster. A key store that never replaces anything ends there too.
const MAX_LOST_RACES: u32 = 16;

/// What a rewrap is to do.
///
/// The recipient whose key unwrapped the DEK is replaced by the new one. The others stay, byte for byte, unless [`only`](Self::only) drops them.
///
/// A rewrap revokes nothing: an old copy of the header works for as long as the old key version works.
#[derive(Clone, Debug)]
pub struct Rewrap {
    to: KeyRef,
    only: bool,
}

impl Rewrap {
    /// Wrap with this key: its newest version, or the one given. It may also unwrap in this call, so that a rewrap can be
    /// repeated. It must be able to unwrap too: a public key alone is refused, since its wrap can't be checked.
    #[must_use]
    pub fn to(key: KeyRef) -> Self {
        Self {
            to: key,
            only: false,
        }
    }

    /// Drop every other recipient.
    #[must_use]
    pub fn only(mut self) -> Self {
        self.only = true;
        self
    }
}

impl Keyring {
    /// An envelope, or the header of one, with its DEK wrapped by another key; CORE and body stay as they are.
    ///
    /// `envelope` is a header with or without the body behind it; what comes back has the same kind. A padded header stays
    /// padded, of the same length where the new recipients fit. The workspace is the envelope's own, whatever the keyring's: no
    /// plaintext comes out. Of an envelope that is cut or damaged behind its header nothing is noticed: the body isn't read.
    ///
    /// # Errors
    /// * Those of [`decrypt`](Self::decrypt), up to the header.
    /// * [`Error::Policy`]: the compact form (rewrap its key store), or no provider for the new key.
    /// * [`Error::Provider`]: the new key can't wrap, or can't unwrap what it wrapped.
    pub fn rewrap(&self, envelope: &[u8], rewrap: &Rewrap) -> Result<Vec<u8>> {
        let header = Header::parse(envelope)?;
        let padding = match header.padding {
            Some(_) => Padding::Exactly(header.bytes.len()),
            None => Padding::None,
        };
        let mut out = match self.rewrap_header(&header, rewrap, padding)? {
            Some(out) => out,
            None => self.rewrap_header_padded(&header, rewrap)?,
        };
        out.extend_from_slice(&envelope[header.bytes.len()..]);
        Ok(out)
    }

    /// Rewraps every row of the keyring's key store; how many were rewritten. A row that the keyring may not open fails it.
    ///
    /// A row that changes meanwhile is read again, up to 16 times, so that no concurrent rewrap is undone. After an error the rows done so far
    /// stay done, and the same call may be made again.
    ///
    /// # Errors
    /// * Those of [`rewrap`](Self::rewrap) and of the [`KeyStore`](crate::KeyStore).
    pub fn rewrap_key_store(&self, rewrap: &Rewrap) -> Result<usize> {
        self.refuse_reentry()?;
        let mut rewritten = 0;
        for id in self.shared().with_key_store(|store| store.list())? {
            rewritten += usize::from(self.rewrap_row(&id, rewrap)?);
        }
        Ok(rewritten)
    }

    /// Whether it was there: one removed meanwhile is no failure.
    fn rewrap_row(&self, id: &DekId, rewrap: &Rewrap) -> Result<bool> {
        let shared = self.shared();
        for _ in 0..MAX_LOST_RACES {
            let Some(row) = shared.with_key_store(|store| store.get(id))? else {
                return Ok(false);
            };
            check_row(id, &row.bytes)?;
            let new = self.rewrap(&row.bytes, rewrap)?;
            if shared.with_key_store(|store| store.replace_if_unchanged(id, &new, &row.tag))? {
                return Ok(true);
            }
        }
        Err(Error::KeyStore {
            problem: format!(
                "the row of DEK {id} changed each of the {MAX_LOST_RACES} times that it was rewrapped, or the key store's tags are none; \
                 look who else is rewrapping"
            ),
            retryable: true,
        })
    }

    fn rewrap_header_padded(&self, header: &Header<'_>, rewrap: &Rewrap) -> Result<Vec<u8>> {
        self.rewrap_header(header, rewrap, Padding::FileBlock)?
            .ok_or(Error::Internal {
                problem: "a header can't be padded",
            })
    }

    /// The new header; `None` when it can't have the length that `padding` asks for.
    fn rewrap_header(
        &self,
        header: &Header<'_>,
        rewrap: &Rewrap,
        padding: Padding,
    ) -> Result<Option<Vec<u8>>> {
        if header.is_compact() {
            return Err(Error::Policy {
                problem:
                    "a compact envelope has no wrapped key of its own; rewrap its key store instead"
                        .into(),
            });
        }
        let unwrapped = self.unwrap_header(header, &rewrap.to)?;
        let shared = self.shared();
        let (new_key, new_recipient) = shared.wrap(&unwrapped.dek, &header.core, &rewrap.to)?;

        // A wrap that can't be unwrapped would lose the data: look before anything is stored.
        let written = envelope::decode_recipient(&new_recipient)?;
        let capsule = shared.unwrap_by(&new_key, written.algorithm, written.wrapped)?;
        let again = capsule::open(capsule.expose(), &header.core)?;
        if !bool::from(again.expose().ct_eq(unwrapped.dek.expose())) {
            return Err(Error::AuthenticationFailed);
        }

        let mut recipients: Vec<&[u8]> = Vec::with_capacity(header.recipients.len());
        for (place, old) in header.recipients.iter().enumerate() {
            if place == unwrapped.recipient {
                recipients.push(&new_recipient);
            } else if !rewrap.only && old.key_id != written.key_id {
                recipients.push(old.encoded);
            }
        }
        let mac_key = MacKey::of(&unwrapped.dek);
        envelope::build(header.core_bytes, &recipients, padding, |bytes| {
            mac_key.mac(bytes)
        })
    }
}

/// That the row is this DEK's, and nothing else than a row: to rewrap another one would hide that it is in the wrong place.
fn check_row(id: &DekId, row: &[u8]) -> Result<()> {
    let fits = |h: Header<'_>| {
        h.core.dek_id == *id
            && h.core.purpose == Purpose::KeyStore
            && h.bytes.len() == row.len()
            && !h.is_compact()
    };
    if Header::parse(row).is_ok_and(fits) {
        Ok(())
    } else {
        Err(bad_row(id))
    }
}
