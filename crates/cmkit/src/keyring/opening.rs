//! DEKs for decrypting: the order of checks up to the header's MAC (docs/format.md, section 13).

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;

use super::entry::{BodyKeys, DecryptEntry, Holder, MacKey, Usage};
use super::flight::Flight;
use super::health::Condition;
use super::message_key::OpeningKey;
use super::standing::{At, Standing, lost};
use super::{Caches, Keyring, Shared};
use crate::cache::{Cache, Touch};
use crate::capsule;
use crate::crypto::sha256;
use crate::envelope::{self, DekId, Header, MAC_LEN, Purpose, Recipient};
use crate::error::{Error, ErrorKind, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::provider::KeyProvider;
use crate::secret::{Dek, SecretBytes};

type Mac = [u8; MAC_LEN];
type Flights = Mutex<HashMap<[u8; 32], Arc<Flight>>>;

pub(super) struct OpenState {
    /// Verified headers by their MAC. A hit also compares every byte, so a forged header can't meet another's entry.
    pub(super) seen: Cache<Mac, DecryptEntry>,
    /// Unwraps under way, by the hash of the whole header.
    pub(super) flights: Flights,
}

impl OpenState {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            seen: Cache::new(max_entries),
            flights: Mutex::default(),
        }
    }

    fn board(&self, header: &[u8]) -> Boarded<'_> {
        let key = sha256(&[header]);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        Boarded {
            flight: Arc::clone(flights.entry(key).or_default()),
            flights: &self.flights,
            key,
        }
    }
}

/// Takes a flight off the list when it has landed, also when the provider panicked.
struct Boarded<'a> {
    flights: &'a Flights,
    key: [u8; 32],
    flight: Arc<Flight>,
}

impl Drop for Boarded<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(&self.key)
            .is_some_and(|f| Arc::ptr_eq(f, &self.flight))
        {
            flights.remove(&self.key);
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
        self.refuse_reentry()?;
        let shared = self.shared();
        if !shared.policy.caches() {
            return Ok(shared.opening_key(shared.open_header(header)?));
        }
        let caches = shared.caches();
        let state = &caches.open;
        if let Some(result) = shared.seen(caches, header) {
            return result.map(|entry| shared.opening_key(entry));
        }
        let boarded = state.board(header);
        let entry = boarded.flight.run(
            || shared.seen(caches, header),
            || {
                let entry = shared.open_header(header)?;
                entry.usage.take_message(&shared.policy, shared.clock.now());
                state.seen.insert(mac_of(header), Arc::clone(&entry));
                Ok(entry)
            },
        );
        Ok(shared.opening_key(entry?))
    }

    /// The same, or `None` where a provider, a key store or another thread's call to one would have to be waited for.
    pub(crate) fn opening_key_cached(&self, bytes: &[u8]) -> Option<Result<OpeningKey>> {
        let header = match header_bytes(bytes) {
            Ok(header) => header,
            Err(e) => return Some(Err(e)),
        };
        if self.is_calling() {
            return None;
        }
        let shared = self.shared();
        let found = shared.seen(shared.caches(), header)?;
        Some(found.map(|entry| shared.opening_key(entry)))
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
    fn opening_key(self: &Arc<Self>, entry: Arc<DecryptEntry>) -> OpeningKey {
        OpeningKey {
            shared: Arc::clone(self),
            entry,
        }
    }

    /// The entry of a header that was verified before, charged for a message. `None`: not seen, or too old.
    fn seen(&self, caches: &Caches, header: &[u8]) -> Option<Result<Arc<DecryptEntry>>> {
        let state = &caches.open;
        let mac = mac_of(header);
        let entry = state.seen.find(&mac)?;
        if entry.header != header {
            return None;
        }
        let now = self.clock.now();
        match self.opening_standing(&entry, &At { now, caches }) {
            Standing::Good if entry.usage.take_message(&self.policy, now) => Some(Ok(entry)),
            Standing::Good | Standing::Stale => {
                state.seen.remove(&mac, &entry);
                None
            }
            Standing::Gone(holder) => {
                state.seen.remove(&mac, &entry);
                // The row of a compact one may have been rewrapped since, and then has other keys. A remote key is tried again now and then.
                let look_again =
                    Header::parse(header).is_ok_and(|h| h.is_compact()) || holder.health.is_some();
                (!look_again).then(|| Err(self.reason(holder)))
            }
        }
    }

    /// The whole order of checks, with the provider.
    pub(super) fn open_header(&self, bytes: &[u8]) -> Result<Arc<DecryptEntry>> {
        let header = self.own_header(bytes)?;
        if header.core.purpose == Purpose::Volume {
            return Err(Error::format(
                "it is a volume's key and not a document or stream",
            ));
        }
        Ok(Arc::new(self.open_checked(&header)?.1))
    }

    /// The same for a volume's key, and the DEK itself.
    pub(super) fn open_volume_header(&self, bytes: &[u8]) -> Result<(Dek, DecryptEntry)> {
        let header = self.own_header(bytes)?;
        if header.core.purpose != Purpose::Volume {
            return Err(Error::format(
                "it is a document or stream and not a volume's key",
            ));
        }
        self.open_checked(&header)
    }

    /// The checks before the purpose's: a header of this keyring's workspace.
    fn own_header<'a>(&self, bytes: &'a [u8]) -> Result<Header<'a>> {
        let header = Header::parse(bytes)?;
        header.check_form()?;
        self.check_workspace(&header)?;
        Ok(header)
    }

    /// The checks from the allow-list on.
    fn open_checked(&self, header: &Header<'_>) -> Result<(Dek, DecryptEntry)> {
        let usage = Usage::new(self.clock.now());
        let (unwrapped, recipients) = if header.is_compact() {
            let row_bytes = self.row(header)?;
            let row = Header::parse(&row_bytes).map_err(|_| bad_row(&header.core.dek_id))?;
            if row.core_bytes != header.core_bytes
                || row.bytes.len() != row_bytes.len()
                || row.is_compact()
            {
                return Err(bad_row(&header.core.dek_id));
            }
            let unwrapped = self.unwrap_recipients(&row, None)?;
            verify_mac(&unwrapped.dek, header)?;
            (unwrapped, self.known_holders(&row.recipients))
        } else {
            (
                self.unwrap_recipients(header, None)?,
                self.known_holders(&header.recipients),
            )
        };
        let Unwrapped { dek, holder, .. } = unwrapped;
        let mut holders = recipients;
        holders.retain(|h| h.key != holder.key);
        holders.insert(0, holder);
        self.check_others(&holders)?;
        let entry = DecryptEntry {
            keys: BodyKeys::of(&dek, header.core_bytes),
            header: header.bytes.to_vec(),
            holders,
            usage,
            last_used: AtomicU64::new(0),
        };
        Ok((dek, entry))
    }

    fn check_workspace(&self, header: &Header<'_>) -> Result<()> {
        if header.core.workspace != self.workspace {
            return Err(self.discreet(Error::WorkspaceMismatch {
                envelope: header.core.workspace.clone(),
                keyring: self.workspace.clone(),
            }));
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
                let provider = self.provider_for(r).ok()?;
                Some(self.holder(r.key_id.clone(), provider, r.wrapped_at))
            })
            .collect()
    }

    /// The provider that an envelope names, if it also owns the key.
    fn provider_for(&self, recipient: &Recipient<'_>) -> Result<usize> {
        let fits = |p: &Arc<dyn KeyProvider>| {
            p.name() == recipient.provider && self.owns(&**p, &recipient.key_id)
        };
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
        let at = self.at_once();
        let condition = |key: &KeyId| {
            let known = holders.iter().find(|h| h.key == *key);
            known.map(|holder| self.condition(holder, &at))
        };
        let gone = holders.iter().find(|h| {
            self.condition(h, &at) == Condition::Gone && !self.is_superseded(h, &holders, &at)
        });
        if let Some(holder) = gone {
            // The provider knows better why: disabled, destroyed, or open modes. A remote key may have come back: it is asked now and then.
            let mut same = allowed().filter(|(_, r)| r.key_id == holder.key);
            let Some((place, recipient)) = same.next() else {
                return Err(self.reason(holder));
            };
            return match self.unwrap_one(recipient) {
                Ok(unwrapped) if holder.health.is_some() => self.verified(header, place, unwrapped),
                Err(e @ Error::Provider(_)) if holder.health.is_some() || !e.is_retryable() => {
                    Err(e)
                }
                _ => Err(self.reason(holder)),
            };
        }
        let mut candidates: Vec<_> = allowed().collect();
        // A key that works is asked before one that is unknown, and that before one in trouble.
        candidates.sort_by_key(|(_, r)| match condition(&r.key_id) {
            Some(Condition::Fresh) | None => 0,
            Some(Condition::Old | Condition::Unknown) => 1,
            Some(Condition::Lost | Condition::Gone) => 2,
        });
        let mut failure: Option<Error> = None;
        for (place, recipient) in candidates {
            match self.unwrap_one(recipient) {
                Ok(unwrapped) => return self.verified(header, place, unwrapped),
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
        let provider = self.provider_for(recipient)?;
        let holder = self.holder(recipient.key_id.clone(), provider, recipient.wrapped_at);
        let capsule = self.unwrap_by(&holder, recipient.algorithm, recipient.wrapped)?;
        Ok((capsule, holder))
    }

    /// What came out of an unwrap is the DEK of this header.
    fn verified(
        &self,
        header: &Header<'_>,
        recipient: usize,
        (capsule, holder): (SecretBytes, Holder),
    ) -> Result<Unwrapped> {
        let dek = capsule::open(capsule.expose(), &header.core)?;
        verify_mac(&dek, header)?;
        Ok(Unwrapped {
            dek,
            recipient,
            holder,
        })
    }

    /// That no other key of the envelope forbids that this one opened it: one that wasn't heard of for too long is asked, if it still can be.
    fn check_others(&self, holders: &[Holder]) -> Result<()> {
        for holder in &holders[1..] {
            if self.condition(holder, &self.at_once()) == Condition::Lost
                && let Some(health) = self.health_here(holder)
            {
                let _ = self.ask_again(&health);
            }
            let at = self.at_once();
            match self.condition(holder, &at) {
                Condition::Gone if !self.is_superseded(holder, holders, &at) => {
                    return Err(self.reason(holder));
                }
                Condition::Lost => return Err(lost(holder)),
                _ => {}
            }
        }
        Ok(())
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
