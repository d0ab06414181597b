//! DEKs for decrypting: the order of checks up to the header's MAC (docs/format.md, section 13).

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;

use super::entry::{BodyKeys, DecryptEntry, Holder, MacKey, Usage};
use super::flight::Flight;
use super::message_key::OpeningKey;
use super::{Keyring, Shared, revoked};
use crate::cache::{Cache, Touch};
use crate::capsule;
use crate::crypto::sha256;
use crate::envelope::{self, DekId, Header, MAC_LEN, Purpose, Recipient};
use crate::error::{Error, ErrorKind, Result};
use crate::key_id::KeyRef;
use crate::provider::{KeyProvider, KeyState, UnwrapRequest};
use crate::secret::{Dek, SecretBytes};

type Mac = [u8; MAC_LEN];

pub(super) struct OpenState {
    /// Verified headers by their MAC. A hit also compares every byte, so a forged header can't meet another's entry.
    seen: Cache<Mac, DecryptEntry>,
    /// Unwraps under way, by the hash of the whole header.
    flights: Mutex<HashMap<[u8; 32], Arc<Flight>>>,
}

impl OpenState {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            seen: Cache::new(max_entries),
            flights: Mutex::default(),
        }
    }
}

impl Touch for DecryptEntry {
    fn last_used(&self) -> &AtomicU64 {
        &self.last_used
    }
}

/// A DEK whose header, the row's and the envelope's own, was verified.
pub(crate) struct Unwrapped {
    pub(crate) dek: Dek,
    /// The recipient that gave it, by its place.
    pub(crate) recipient: usize,
    holder: Holder,
}

impl Keyring {
    /// The DEK of the envelope that `bytes` begins with. Every check up to the header's MAC has passed.
    pub(crate) fn opening_key(&self, bytes: &[u8]) -> Result<OpeningKey> {
        let header = header_bytes(bytes)?;
        let shared = self.shared();
        if !shared.policy.caches() {
            self.refuse_reentry()?;
            return Ok(OpeningKey {
                entry: shared.open_header(header)?,
            });
        }
        let state = &shared.caches().open;
        if let Some(result) = shared.seen(state, header) {
            return result.map(|entry| OpeningKey { entry });
        }
        self.refuse_reentry()?;
        let flight_key = sha256(&[header]);
        let flight = {
            let mut flights = state.flights.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(flights.entry(flight_key).or_default())
        };
        let entry = flight.run(
            || shared.seen(state, header),
            || {
                let entry = shared.open_header(header)?;
                entry.usage.take_message(&shared.policy, &shared.clock);
                state.seen.insert(mac_of(header), Arc::clone(&entry));
                Ok(entry)
            },
        );
        let mut flights = state.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(&flight_key)
            .is_some_and(|f| Arc::ptr_eq(f, &flight))
        {
            flights.remove(&flight_key);
        }
        Ok(OpeningKey { entry: entry? })
    }

    /// The same, or `None` where a provider, a key store or another thread's call to one would have to be waited for.
    pub(crate) fn opening_key_cached(&self, bytes: &[u8]) -> Option<Result<OpeningKey>> {
        let header = match header_bytes(bytes) {
            Ok(header) => header,
            Err(e) => return Some(Err(e)),
        };
        let shared = self.shared();
        let found = shared.seen(&shared.caches().open, header)?;
        Some(found.map(|entry| OpeningKey { entry }))
    }

    /// Everything up to the header's MAC, for a header that is to be rewrapped: gives the DEK itself.
    ///
    /// Workspace and purpose are the header's own: the capsule proves them, and no plaintext comes out.
    /// `also` may unwrap besides the keys that the keyring allows.
    pub(crate) fn unwrap_header(
        &self,
        header: &Header<'_>,
        also: Option<&KeyRef>,
    ) -> Result<Unwrapped> {
        self.refuse_reentry()?;
        self.shared().unwrap_recipients(header, also)
    }
}

fn header_bytes(bytes: &[u8]) -> Result<&[u8]> {
    bytes
        .get(..envelope::header_len(bytes)?)
        .ok_or(Error::Truncated)
}

fn mac_of(header: &[u8]) -> Mac {
    header.last_chunk().copied().unwrap_or_default()
}

impl Shared {
    /// The entry of a header that was verified before, charged for a message. `None`: not seen, or too old.
    fn seen(&self, state: &OpenState, header: &[u8]) -> Option<Result<Arc<DecryptEntry>>> {
        let mac = mac_of(header);
        let entry = state.seen.find(&mac)?;
        if entry.header != header {
            return None;
        }
        // `opened_by` must still be known; another recipient may be unknown here, but not revoked.
        let opener = self.state_of(&entry.opened_by);
        let gone = match opener {
            KeyState::Revoked => Some(&entry.opened_by),
            _ => entry
                .others
                .iter()
                .find(|h| self.state_of(h) == KeyState::Revoked),
        };
        if let Some(holder) = gone {
            state.seen.remove(&mac, &entry);
            // The row of a compact one may have been rewrapped since, and then has other keys.
            if Header::parse(header).is_ok_and(|h| h.is_compact()) {
                return None;
            }
            return Some(Err(revoked(&holder.key)));
        }
        if opener == KeyState::Unknown || !entry.usage.take_message(&self.policy, &self.clock) {
            state.seen.remove(&mac, &entry);
            return None;
        }
        Some(Ok(entry))
    }

    /// The whole order of checks, with the provider.
    fn open_header(&self, bytes: &[u8]) -> Result<Arc<DecryptEntry>> {
        let usage = Usage::new(self.clock.now());
        let header = Header::parse(bytes)?;
        header.check_form()?;
        self.check_workspace(&header)?;
        if header.core.purpose == Purpose::Volume {
            return Err(Error::format(
                "it is a volume's key and not a document or stream",
            ));
        }
        let (unwrapped, recipients) = if header.is_compact() {
            let row_bytes = self.row(&header)?;
            let row = Header::parse(&row_bytes).map_err(|_| bad_row(&header.core.dek_id))?;
            if row.core_bytes != header.core_bytes
                || row.bytes.len() != row_bytes.len()
                || row.is_compact()
            {
                return Err(bad_row(&header.core.dek_id));
            }
            let unwrapped = self.unwrap_recipients(&row, None)?;
            verify_mac(&unwrapped.dek, &header)?;
            (unwrapped, self.known_holders(&row.recipients))
        } else {
            (
                self.unwrap_recipients(&header, None)?,
                self.known_holders(&header.recipients),
            )
        };
        let Unwrapped { dek, holder, .. } = unwrapped;
        Ok(Arc::new(DecryptEntry {
            keys: BodyKeys::of(&dek, header.core_bytes),
            header: bytes.to_vec(),
            others: recipients
                .into_iter()
                .filter(|r| r.key != holder.key)
                .collect(),
            opened_by: holder,
            usage,
            last_used: AtomicU64::new(0),
        }))
    }

    fn check_workspace(&self, header: &Header<'_>) -> Result<()> {
        if header.core.workspace != self.workspace {
            return Err(Error::WorkspaceMismatch {
                envelope: header.core.workspace.clone(),
                keyring: self.workspace.clone(),
            });
        }
        Ok(())
    }

    fn row(&self, header: &Header<'_>) -> Result<Vec<u8>> {
        let id = &header.core.dek_id;
        let row = self.with_key_store(|store| store.get(id))?.ok_or_else(|| Error::KeyStore {
            problem: format!("the key store has no DEK {id}; use the store that the document was encrypted with"),
            retryable: false,
        })?;
        Ok(row.bytes)
    }

    /// Recipients on the allow-list that a provider here holds.
    fn known_holders(&self, recipients: &[Recipient<'_>]) -> Vec<Holder> {
        recipients
            .iter()
            .filter(|r| self.allows(&r.key_id))
            .filter_map(|r| {
                Some(Holder {
                    key: r.key_id.clone(),
                    provider: self.provider_for(r).ok()?,
                })
            })
            .collect()
    }

    /// The provider that an envelope names, if it also owns the key.
    fn provider_for(&self, recipient: &Recipient<'_>) -> Result<usize> {
        let fits =
            |p: &Arc<dyn KeyProvider>| p.name() == recipient.provider && p.owns(&recipient.key_id);
        self.providers.iter().position(fits).ok_or_else(|| Error::Policy {
            problem: format!(
                "key {}: this keyring has no provider {:?} for it; add one when building the keyring",
                recipient.key_id, recipient.provider
            ),
        })
    }

    /// Allow-list (and `also`), unwrap, capsule and MAC.
    fn unwrap_recipients(&self, header: &Header<'_>, also: Option<&KeyRef>) -> Result<Unwrapped> {
        let may_unwrap =
            |key: &KeyRef| self.allows(key) || also.is_some_and(|also| also.same_key(key));
        let allowed = || {
            let recipients = header.recipients.iter().enumerate();
            recipients.filter(|(_, r)| may_unwrap(&r.key_id))
        };
        if allowed().next().is_none() {
            let keys = header
                .recipients
                .iter()
                .map(|r| r.key_id.to_string())
                .collect();
            return Err(Error::KeyNotAllowed { keys });
        }
        let holders = self.known_holders(&header.recipients);
        if let Some(holder) = holders
            .iter()
            .find(|h| self.state_of(h) == KeyState::Revoked)
        {
            // The provider knows better why: disabled, destroyed, or open modes.
            let mut same = allowed().filter(|(_, r)| r.key_id == holder.key);
            let reason = same.next().and_then(|(_, r)| self.unwrap_one(r).err());
            return Err(match reason {
                Some(e @ Error::Provider(_)) if !e.is_retryable() => e,
                _ => revoked(&holder.key),
            });
        }
        let mut failure: Option<Error> = None;
        for (place, recipient) in allowed() {
            match self.unwrap_one(recipient) {
                Ok((capsule, holder)) => {
                    let dek = capsule::open(capsule.expose(), &header.core)?;
                    verify_mac(&dek, header)?;
                    return Ok(Unwrapped {
                        dek,
                        recipient: place,
                        holder,
                    });
                }
                Err(e) => {
                    if failure.as_ref().is_none_or(|f| urgency(&e) > urgency(f)) {
                        failure = Some(e);
                    }
                }
            }
        }
        Err(failure.unwrap_or(Error::AuthenticationFailed))
    }

    fn unwrap_one(&self, recipient: &Recipient<'_>) -> Result<(SecretBytes, Holder)> {
        let holder = Holder {
            key: recipient.key_id.clone(),
            provider: self.provider_for(recipient)?,
        };
        let request = UnwrapRequest::new(&recipient.key_id, recipient.algorithm, recipient.wrapped);
        Ok((self.unwrap_by(&holder, &request)?, holder))
    }
}

/// That the header is one for this DEK.
pub(crate) fn verify_mac(dek: &Dek, header: &Header<'_>) -> Result<()> {
    let mac = MacKey::of(dek).mac(header.authenticated());
    if bool::from(mac.ct_eq(header.mac())) {
        Ok(())
    } else {
        Err(Error::AuthenticationFailed)
    }
}

pub(crate) fn bad_row(id: &DekId) -> Error {
    Error::KeyStore {
        problem: format!(
            "the key store's row for DEK {id} is damaged or another DEK's; restore it from a backup"
        ),
        retryable: false,
    }
}

/// Of several recipients' failures, which one helps the caller most.
fn urgency(error: &Error) -> u8 {
    match error.kind() {
        _ if error.is_retryable() => 5,
        ErrorKind::KeyDisabled => 4,
        ErrorKind::AccessDenied => 3,
        ErrorKind::KeyNotFound | ErrorKind::KeyUnusable => 2,
        ErrorKind::Authentication => 0,
        _ => 1,
    }
}
