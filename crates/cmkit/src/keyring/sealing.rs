//! DEKs for encrypting: made here, wrapped for every recipient, and used until the policy says no.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::entry::{BodyKeys, EncryptEntry, Holder, MacKey, Usage};
use super::flight::Flight;
use super::health::{self, Condition, Evidence, Timer};
use super::message_key::{Form, SealingKey};
use super::standing::{At, Standing};
use super::{Caches, Keyring, Shared};
use crate::capsule;
use crate::envelope::{self, Core, DekId, Padding, Purpose};
use crate::error::{Error, Result};
use crate::key_id::KeyRef;
use crate::provider::WrappedKey;
use crate::seams::Moment;
use crate::secret::Dek;

/// The DEKs in use, one a purpose.
///
/// Suite, workspace and wrapping keys are constant for a keyring, so the purpose alone finds the entry.
#[derive(Default)]
pub(super) struct SealState {
    data: Slot,
    key_store: Slot,
}

#[derive(Default)]
pub(super) struct Slot {
    pub(super) current: RwLock<Option<Arc<EncryptEntry>>>,
    flight: Flight,
    pause: Mutex<Option<Pause>>,
    /// Bytes in the newest DEK's header without padding; 0 before there was one.
    header_len: AtomicUsize,
}

/// A DEK that was made and wrapped just now.
pub(super) struct NewDek {
    core: Core,
    core_bytes: Vec<u8>,
    dek: Dek,
    mac_key: MacKey,
    holders: Vec<Holder>,
    pub(super) recipients: Vec<Vec<u8>>,
    usage: Usage,
}

impl NewDek {
    pub(super) fn header(&self, recipients: &[Vec<u8>], padding: Padding) -> Result<Vec<u8>> {
        let mac = |bytes: &[u8]| self.mac_key.mac(bytes);
        envelope::build(&self.core_bytes, recipients, padding, mac)?.ok_or(Error::Internal {
            problem: "a header can't be padded",
        })
    }

    /// What messages are sealed with, and the DEK itself.
    pub(super) fn into_entry(
        self,
        plain_header: Vec<u8>,
        padded_header: Vec<u8>,
    ) -> (Dek, EncryptEntry) {
        let entry = EncryptEntry {
            keys: BodyKeys::of(&self.dek, &self.core_bytes),
            plain_header,
            padded_header,
            recipients: self.holders,
            usage: self.usage,
        };
        (self.dek, entry)
    }
}

/// Until when no new DEK is tried, and why the last try failed.
struct Pause {
    until: Timer,
    failures: u32,
    error: Error,
}

impl SealState {
    pub(super) fn slots(&self) -> [&Slot; 2] {
        [&self.data, &self.key_store]
    }

    fn slot(&self, form: Form) -> &Slot {
        match form {
            Form::Full | Form::Padded => &self.data,
            Form::Compact => &self.key_store,
        }
    }
}

impl Slot {
    /// Lets go of this very entry, not of one that took its place meanwhile.
    pub(super) fn retire(&self, entry: &Arc<EncryptEntry>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|e| Arc::ptr_eq(e, entry)) {
            *current = None;
        }
    }

    pub(super) fn retire_if(&self, outdated: impl Fn(&EncryptEntry) -> bool) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|e| outdated(e)) {
            *current = None;
        }
    }

    /// The failures in a row so far; the last one while it is too early for another try.
    fn check_pause(&self, now: Moment) -> Result<u32> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        match &*pause {
            Some(pause) if !pause.until.is_due(now) => Err(pause.error.clone()),
            Some(pause) => Ok(pause.failures),
            None => Ok(0),
        }
    }
}

impl Keyring {
    /// A DEK for one message. Calls the providers when there is none that may take another message.
    pub(crate) fn sealing_key(&self, form: Form) -> Result<SealingKey> {
        self.refuse_reentry()?;
        let shared = self.shared();
        let caches = shared.caches();
        let slot = caches.seal.slot(form);
        let entry = if !shared.policy.caches() {
            shared.new_entry(form, slot)?
        } else if let Some(entry) = shared.usable(caches, slot) {
            entry
        } else {
            slot.flight.run(
                || shared.usable(caches, slot).map(Ok),
                || {
                    let entry = shared.new_entry(form, slot)?;
                    entry.usage.take_message(&shared.policy, shared.clock.now());
                    *slot.current.write().unwrap_or_else(PoisonError::into_inner) =
                        Some(Arc::clone(&entry));
                    Ok(entry)
                },
            )?
        };
        Ok(SealingKey {
            shared: Arc::clone(shared),
            entry,
            form,
            process: caches.process,
        })
    }

    /// The same, or `None` where a provider or a lock would have to be waited for.
    pub(crate) fn sealing_key_cached(&self, form: Form) -> Option<SealingKey> {
        let shared = self.shared();
        let caches = shared.caches();
        if !shared.policy.caches() || self.is_calling() {
            return None;
        }
        let entry = shared.usable(caches, caches.seal.slot(form))?;
        Some(SealingKey {
            shared: Arc::clone(shared),
            entry,
            form,
            process: caches.process,
        })
    }

    /// Bytes in the header of the next message, which must not be of the padded form. Charges nothing once there was a DEK.
    pub(crate) fn header_len(&self, form: Form) -> Result<usize> {
        match self.header_len_cached(form) {
            Some(len) => Ok(len),
            None => Ok(self.sealing_key(form)?.header().len()),
        }
    }

    /// The same, or `None` before there was a DEK.
    pub(crate) fn header_len_cached(&self, form: Form) -> Option<usize> {
        let len = self
            .shared()
            .caches()
            .seal
            .slot(form)
            .header_len
            .load(Ordering::Relaxed);
        (len > 0).then_some(len)
    }
}

impl Shared {
    /// The slot's DEK, charged for a message, if its keys are still there and the policy allows another one.
    fn usable(&self, caches: &Caches, slot: &Slot) -> Option<Arc<EncryptEntry>> {
        let current = slot.current.read().unwrap_or_else(PoisonError::into_inner);
        let entry = Arc::clone(current.as_ref()?);
        drop(current);
        let now = self.clock.now();
        let standing = self.sealing_standing(&entry, &At { now, caches });
        if matches!(standing, Standing::Good) && entry.usage.take_message(&self.policy, now) {
            return Some(entry);
        }
        slot.retire(&entry);
        None
    }

    /// A new DEK, unless a remote provider refused or failed the last try just now.
    fn new_entry(&self, form: Form, slot: &Slot) -> Result<Arc<EncryptEntry>> {
        let failures = slot.check_pause(self.clock.now())?;
        let result = self.make_entry(form, slot);
        let error = result.as_ref().err();
        let mut pause = slot.pause.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = match error.and_then(|e| Some((e, e.provider()?))) {
            Some((error, asked)) if self.providers.iter().any(|p| p.is_remote()) => Some(Pause {
                until: Timer::new(
                    self.clock.now(),
                    health::pause(failures + 1, asked.retry_after),
                ),
                failures: failures + 1,
                error: error.clone(),
            }),
            _ => None,
        };
        drop(pause);
        result
    }

    /// A new DEK, wrapped for every recipient and, for the compact form, put into the key store before its first use.
    fn make_entry(&self, form: Form, slot: &Slot) -> Result<Arc<EncryptEntry>> {
        let compact = form == Form::Compact;
        if compact {
            // A missing key store is reported before a provider is asked for a key that nothing could keep.
            self.with_key_store(|_| Ok(()))?;
        }
        let new = self.new_dek(if compact {
            Purpose::KeyStore
        } else {
            Purpose::Data
        })?;
        let full = new.header(&new.recipients, Padding::None)?;
        let (plain_header, padded_header) = if compact {
            let id = &new.core.dek_id;
            if !self.with_key_store(|store| store.put_if_absent(id, &full))? {
                return Err(Error::KeyStore {
                    problem: format!("the key store has a row for the new DEK {id} already"),
                    retryable: true,
                });
            }
            (new.header(&[], Padding::None)?, Vec::new())
        } else {
            (full, new.header(&new.recipients, Padding::FileBlock)?)
        };
        slot.header_len.store(plain_header.len(), Ordering::Relaxed);
        let (_, entry) = new.into_entry(plain_header, padded_header);
        Ok(Arc::new(entry))
    }

    /// A new DEK, wrapped for every recipient.
    pub(super) fn new_dek(&self, purpose: Purpose) -> Result<NewDek> {
        if self.wrap_with.is_empty() {
            return Err(Error::Policy {
                problem: "this keyring has no wrapping key, so it only decrypts; give it one when building it".into(),
            });
        }
        let usage = Usage::new(self.clock.now());
        let dek = Dek::try_fill(|dek| self.random.fill(dek))?;
        let mut id = [0; 16];
        self.random.fill(&mut id)?;
        let core = Core {
            dek_id: DekId(id),
            purpose,
            workspace: self.workspace.clone(),
            created: self.now_unix(),
        };
        let mut holders = Vec::with_capacity(self.wrap_with.len());
        let mut recipients = Vec::with_capacity(self.wrap_with.len());
        for key in &self.wrap_with {
            let (holder, recipient) = self.wrap(&dek, &core, key)?;
            if holders.iter().any(|h: &Holder| h.key == holder.key) {
                return Err(Error::Policy {
                    problem: format!(
                        "key {}: two of the wrapping keys are this one; give it once",
                        holder.key
                    ),
                });
            }
            holders.push(holder);
            recipients.push(recipient);
        }
        Ok(NewDek {
            core_bytes: core.encode(),
            mac_key: MacKey::of(&dek),
            core,
            dek,
            holders,
            recipients,
            usage,
        })
    }

    /// Wraps a DEK with one key: who holds it, and the recipient's bytes.
    pub(crate) fn wrap(&self, dek: &Dek, core: &Core, key: &KeyRef) -> Result<(Holder, Vec<u8>)> {
        let provider = self.provider_of(key)?;
        let capsule = capsule::seal(dek, core);
        let sent = self.clock.now();
        let wrapped = self.wrap_by(provider, key, &capsule)?;
        Self::check_wrapped_by(key, &wrapped)?;
        let wrapped_at = self.now_unix();
        let recipient =
            envelope::encode_recipient(self.providers[provider].name(), &wrapped, wrapped_at)?;
        let holder = self.holder(wrapped.key, provider, wrapped_at);
        if let Some(health) = &holder.health {
            let evidence = Evidence {
                algorithm: wrapped.algorithm,
                wrapped: wrapped.wrapped,
            };
            health.wrapped(sent, evidence, &self.freshness);
            // One that was taken away comes back only by an unwrap. So does one not heard of for long: else each message would make a DEK that can't be kept.
            let condition = health.condition(self.clock.now(), &self.freshness);
            if matches!(condition, Condition::Gone | Condition::Lost) {
                self.ask_again(health)?;
            }
        }
        Ok((holder, recipient))
    }

    pub(super) fn check_wrapped_by(key: &KeyRef, wrapped: &WrappedKey) -> Result<()> {
        let right_version = key.version().is_none_or(|v| v == wrapped.key.version());
        if wrapped.key.same_key(key) && right_version {
            return Ok(());
        }
        Err(Error::Policy {
            problem: format!(
                "key {key}: the provider wrapped with another key, {}",
                wrapped.key
            ),
        })
    }
}
