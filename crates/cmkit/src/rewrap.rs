//! The same DEK under another KEK.

mod file;
mod rotate;
mod sidecar;

use subtle::ConstantTimeEq;

pub use self::file::RewrapOutcome;
pub(crate) use self::rotate::is_envelope_file;
pub use self::rotate::{Rotate, RotateOutcome, Rotated, RotatedFile, Rotation};
pub(crate) use self::sidecar::{Sidecar, file_of_sidecar, interrupted_or};
use crate::audit::AuditOperation;
use crate::envelope::{self, Core, DekId, Header, Padding, Purpose, Recipient};
use crate::error::{Error, ProviderError, ProviderErrorKind, Result};
use crate::key_id::KeyRef;
use crate::key_store::KeyStore;
use crate::keyring::{Keyring, MacKey, bad_row};
use crate::secret::Dek;

/// How often one row is read again because somebody else was faster. A key store that never replaces anything ends there too.
const MAX_LOST_RACES: u32 = 16;

/// What a rewrap is to do.
///
/// The recipient whose key unwrapped the DEK is replaced by the new one. The others stay, byte for byte, unless [`only`](Self::only) drops them.
///
/// A rewrap revokes nothing: an old copy of the header works for as long as the old key version works.
///
/// A recipient of a vault, whose key id is an `https` one, is replaced or dropped only for another key of the same host, unless
/// [`allow_other_vault`](Self::allow_other_vault) says otherwise: a wrong name must not take data out of the hands of its key's owner.
#[derive(Clone, Debug)]
pub struct Rewrap {
    to: KeyRef,
    only: bool,
    other_vault: bool,
}

impl Rewrap {
    /// Wrap with this key: its newest version, or the one given. It may also unwrap in this call, so that a rewrap can be
    /// repeated. It must be able to unwrap too: a public key alone is refused, since its wrap can't be checked.
    #[must_use]
    pub fn to(key: KeyRef) -> Self {
        Self {
            to: key,
            only: false,
            other_vault: false,
        }
    }

    /// Drop every other recipient.
    #[must_use]
    pub fn only(mut self) -> Self {
        self.only = true;
        self
    }

    /// Let a vault's recipient be replaced or dropped for a key that isn't in that vault.
    #[must_use]
    pub fn allow_other_vault(mut self) -> Self {
        self.other_vault = true;
        self
    }

    /// Refuses to take the data of a vault's key away from that vault. Whether it is being taken away, which was asked for.
    fn check_vault<'a>(&self, gone: impl IntoIterator<Item = &'a KeyRef>) -> Result<bool> {
        let left = |key: &&KeyRef| key.host().is_some() && key.host() != self.to.host();
        let Some(old) = gone.into_iter().find(left) else {
            return Ok(false);
        };
        if self.other_vault {
            return Ok(true);
        }
        let message = format!(
            "it isn't in the vault of the key that it would take the place of, {old}; name a key of that vault, or allow the exchange \
             for another vault's if it is meant (`Rewrap::allow_other_vault`); nothing was changed"
        );
        Err(ProviderError::new(ProviderErrorKind::WrongVault, message)
            .on_key(&self.to)
            .into())
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
    /// * [`Error::Provider`]: the new key can't wrap, or can't unwrap what it wrapped; of kind
    ///   [`WrongVault`](ProviderErrorKind::WrongVault): the old key is in a vault, and the new one isn't in that.
    pub fn rewrap(&self, envelope: &[u8], rewrap: &Rewrap) -> Result<Vec<u8>> {
        let header = Header::parse(envelope)?;
        let mut out = self.rewrap_header(&header, rewrap, padding_like(&header))?;
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
        let store = self.own_key_store()?;
        let mut rewritten = 0;
        for id in store.list()? {
            let done = replace_row(&store, &id, |row| Ok(((), Some(self.rewrap(row, rewrap)?))))?;
            rewritten += usize::from(done.is_some());
        }
        Ok(rewritten)
    }

    /// The new header, padded to the length of the old one where the old one is padded or a file's, or else to whole blocks.
    fn rewrap_header(
        &self,
        header: &Header<'_>,
        rewrap: &Rewrap,
        padding: Padding,
    ) -> Result<Vec<u8>> {
        if header.is_compact() {
            return Err(Error::Policy {
                problem:
                    "a compact envelope has no wrapped key of its own; rewrap its key store instead"
                        .into(),
            });
        }
        let unwrapped = self.unwrap_header(header, Some(&rewrap.to))?;
        let goes =
            |(place, _): &(usize, &Recipient<'_>)| rewrap.only || *place == unwrapped.recipient;
        let gone = header.recipients.iter().enumerate().filter(goes);
        let leaves_vault = rewrap.check_vault(gone.map(|(_, recipient)| &*recipient.key_id))?;

        let new = self.wrap_checked(&unwrapped.dek, &header.core, &rewrap.to)?;
        let new_id = envelope::decode_recipient(&new)?.key_id;
        if leaves_vault {
            let shared = self.shared();
            shared.record_change(
                AuditOperation::OtherVault,
                shared.provider_of(&new_id)?,
                &new_id,
            );
        }
        let mut recipients: Vec<&[u8]> = Vec::with_capacity(header.recipients.len());
        for (place, old) in header.recipients.iter().enumerate() {
            if place == unwrapped.recipient {
                recipients.push(&new);
            } else if !rewrap.only && old.key_id != new_id {
                recipients.push(old.encoded);
            }
        }
        build_anew(header, &recipients, padding, &unwrapped.dek)
    }

    /// The recipient of a DEK wrapped by this key.
    ///
    /// A wrap that can't be unwrapped would lose the data: it is looked at before anything is stored.
    fn wrap_checked(&self, dek: &Dek, core: &Core, key: &KeyRef) -> Result<Vec<u8>> {
        let (_, recipient) = self.shared().wrap(dek, core, key)?;
        self.check_wrap(dek, core, &envelope::decode_recipient(&recipient)?)?;
        Ok(recipient)
    }

    /// That a recipient's key unwraps this very DEK.
    fn check_wrap(&self, dek: &Dek, core: &Core, recipient: &Recipient<'_>) -> Result<()> {
        let again = self.shared().unwrap_again(recipient, core)?;
        if bool::from(again.expose().ct_eq(dek.expose())) {
            Ok(())
        } else {
            Err(Error::AuthenticationFailed)
        }
    }
}

/// How much padding the header of an envelope in memory gets when it is made anew.
fn padding_like(header: &Header<'_>) -> Padding {
    match header.padding {
        Some(_) => Padding::Exactly(header.bytes.len()),
        None => Padding::None,
    }
}

/// A header with other recipients, of the length that `padding` asks for or else of whole blocks.
fn build_anew(
    header: &Header<'_>,
    recipients: &[impl AsRef<[u8]>],
    padding: Padding,
    dek: &Dek,
) -> Result<Vec<u8>> {
    let mac_key = MacKey::of(dek);
    let build = |padding| {
        envelope::build(header.core_bytes, recipients, padding, |bytes| {
            mac_key.mac(bytes)
        })
    };
    match build(padding)? {
        Some(new) => Ok(new),
        None => build(Padding::FileBlock)?.ok_or(Error::Internal {
            problem: "a header can't be padded",
        }),
    }
}

/// Puts what `make` gives in the place of a row, if it gives something; `None`: there is no such row any more.
///
/// A row that changes meanwhile is read again, so that nobody's change is undone.
fn replace_row<T>(
    store: &dyn KeyStore,
    id: &DekId,
    mut make: impl FnMut(&[u8]) -> Result<(T, Option<Vec<u8>>)>,
) -> Result<Option<T>> {
    for _ in 0..MAX_LOST_RACES {
        let Some(row) = store.get(id)? else {
            return Ok(None);
        };
        check_row(id, &row.bytes)?;
        let (made, new) = make(&row.bytes)?;
        let Some(new) = new else {
            return Ok(Some(made));
        };
        if store.replace_if_unchanged(id, &new, &row.tag)? {
            return Ok(Some(made));
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

/// That the row is this DEK's, and nothing else than a row: to rewrap another one would hide that it is in the wrong place.
pub(crate) fn check_row(id: &DekId, row: &[u8]) -> Result<()> {
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
