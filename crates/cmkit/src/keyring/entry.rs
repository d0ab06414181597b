//! What the caches hold: a DEK's expanded keys, its headers, and how much it was used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::health::KeyHealth;
use super::message_key::Form;
use super::policy::DekPolicy;
use crate::context::EncryptionContext;
use crate::crypto::{ExpandKey, hmac_sha256, sha256};
use crate::envelope::{FIXED_PREFIX_LEN, MAC_LEN, MAGIC, SUITE, VERSION};
use crate::key_id::KeyId;
use crate::seams::Moment;
use crate::secret::Dek;

const MAC_LABEL: &[u8] = b"cmkit/v1/header-mac\0";
const BODY_LABEL: &[u8] = b"cmkit/v1/body\0";
const CONTEXT_LABEL: &[u8] = b"cmkit/v1/body-context\0";

/// The key that authenticates headers (docs/format.md, sections 6 and 7).
pub(crate) struct MacKey(Box<Zeroizing<[u8; 32]>>);

impl MacKey {
    pub(crate) fn of(dek: &Dek) -> Self {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        ExpandKey::new(dek.expose()).expand(&[MAC_LABEL, &SUITE.to_be_bytes()], &mut **key);
        Self(key)
    }

    pub(crate) fn mac(&self, authenticated: &[u8]) -> [u8; MAC_LEN] {
        hmac_sha256(&self.0, &[authenticated])
    }
}

/// What bodies are sealed and opened with (docs/format.md, sections 6 and 8).
pub(crate) struct BodyKeys {
    pub(crate) body: ExpandKey,
    /// Everything that the body's context hashes before the encryption context.
    context_head: Vec<u8>,
}

impl BodyKeys {
    pub(crate) fn of(dek: &Dek, core_bytes: &[u8]) -> Self {
        let mut input_key = Zeroizing::new([0; 32]);
        ExpandKey::new(dek.expose()).expand(&[BODY_LABEL, &SUITE.to_be_bytes()], &mut *input_key);
        let mut context_head =
            Vec::with_capacity(CONTEXT_LABEL.len() + FIXED_PREFIX_LEN + 2 + core_bytes.len());
        context_head.extend_from_slice(CONTEXT_LABEL);
        context_head.extend_from_slice(&MAGIC);
        context_head.extend_from_slice(&[VERSION, 0]);
        context_head.extend_from_slice(&SUITE.to_be_bytes());
        // A parsed or built CORE has a u16 length.
        context_head.extend_from_slice(
            &u16::try_from(core_bytes.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        context_head.extend_from_slice(core_bytes);
        Self {
            body: ExpandKey::new(&input_key),
            context_head,
        }
    }

    pub(crate) fn body_context(&self, context: &EncryptionContext) -> [u8; 32] {
        sha256(&[&self.context_head, context.canonical()])
    }
}

/// How old a DEK is and how much it did, against the policy.
pub(crate) struct Usage {
    since: Moment,
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    /// `since` is the time before the provider was asked, so that a slow answer makes no key younger.
    pub(crate) fn new(since: Moment) -> Self {
        Self {
            since,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Takes one message if the policy allows another one.
    pub(crate) fn take_message(&self, policy: &DekPolicy, now: Moment) -> bool {
        now.age(self.since) < policy.max_age
            && self.bytes.load(Ordering::Relaxed) < policy.max_bytes
            && self
                .messages
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                    (n < policy.max_messages).then(|| n + 1)
                })
                .is_ok()
    }

    pub(crate) fn since(&self) -> Moment {
        self.since
    }

    /// Whether it takes no other message.
    pub(crate) fn is_used_up(&self, policy: &DekPolicy, now: Moment) -> bool {
        now.age(self.since) >= policy.max_age
            || self.bytes.load(Ordering::Relaxed) >= policy.max_bytes
            || self.messages.load(Ordering::Relaxed) >= policy.max_messages
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        // Saturates: an overflow must not make a used-up DEK fresh.
        let add = |n: u64| Some(n.saturating_add(bytes));
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// A key version that wraps a DEK.
pub(crate) struct Holder {
    pub(crate) key: KeyId,
    /// The place in the keyring of the provider that knows it.
    pub(crate) provider: usize,
    /// Seconds since 1970.
    pub(crate) wrapped_at: u64,
    /// What the process with this id knows of it; `None` for a provider that isn't remote.
    pub(crate) health: Option<Arc<KeyHealth>>,
    pub(crate) process: u32,
}

/// A DEK that this keyring generated.
pub(crate) struct EncryptEntry {
    pub(crate) keys: BodyKeys,
    /// The header of the form [`Form::Full`] or [`Form::Compact`].
    pub(crate) plain_header: Vec<u8>,
    /// The one of [`Form::Padded`]; empty for a DEK in a key store.
    pub(crate) padded_header: Vec<u8>,
    pub(crate) recipients: Vec<Holder>,
    pub(crate) usage: Usage,
}

impl EncryptEntry {
    pub(crate) fn header(&self, form: Form) -> &[u8] {
        match form {
            Form::Full | Form::Compact => &self.plain_header,
            Form::Padded => &self.padded_header,
        }
    }
}

/// A DEK that came out of an unwrap, and the header that it verified.
pub(crate) struct DecryptEntry {
    pub(crate) keys: BodyKeys,
    pub(crate) header: Vec<u8>,
    /// The key that unwrapped it, then the envelope's other keys that this keyring allows.
    pub(crate) holders: Vec<Holder>,
    pub(crate) usage: Usage,
    /// The cache's tick of the last use.
    pub(crate) last_used: AtomicU64,
}
