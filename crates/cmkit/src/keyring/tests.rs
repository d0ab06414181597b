//! What a keyring promises: when it asks its providers, when it doesn't, and what it refuses.

mod audited;
mod fakes;
mod flights;
mod forged;
mod opening;
mod redaction;
mod remote;
mod rewrapping;
mod sealing;
mod store;
#[cfg(target_os = "linux")]
mod wiping;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::fakes::{Call, Fake};
use crate::seams::{Clock, Random};
use crate::{
    DekId, DekPolicy, EncryptionContext, ErrorKind, KeyRef, Keyring, KeyringBuilder, inspect,
};

/// A keyring over a [`Fake`], at a time that stands still until it is told to pass.
struct Scene {
    fake: Arc<Fake>,
    keyring: Keyring,
    seconds: Arc<AtomicU64>,
}

impl Scene {
    /// Wraps with `test:a`.
    fn new(policy: DekPolicy) -> Self {
        Self::with(&Arc::default(), |builder| {
            builder.policy(policy).wrap_with(key("test:a"))
        })
    }

    fn with(fake: &Arc<Fake>, set_up: impl FnOnce(KeyringBuilder) -> KeyringBuilder) -> Self {
        let (clock, seconds) = Clock::manual(1_750_000_000);
        let builder = Keyring::builder()
            .provider(Arc::clone(fake) as _)
            .clock(clock);
        let keyring = set_up(builder).build().unwrap();
        Self {
            fake: Arc::clone(fake),
            keyring,
            seconds,
        }
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn seal(&self) -> Vec<u8> {
        self.keyring.encrypt(TEXT, &none()).unwrap()
    }

    /// Seals and says which DEK did it.
    fn dek(&self) -> DekId {
        dek_of(&self.seal())
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        self.keyring
            .decrypt(envelope, &none())
            .map_err(|e| e.kind())
    }

    fn wraps(&self) -> usize {
        self.fake.count(|call| matches!(call, Call::Wrap(_)))
    }

    fn unwraps(&self) -> usize {
        self.fake.count(|call| matches!(call, Call::Unwrap(_)))
    }
}

const TEXT: &[u8] = b"attack at dawn";

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

fn key(text: &str) -> KeyRef {
    KeyRef::parse(text).unwrap()
}

fn dek_of(envelope: &[u8]) -> DekId {
    inspect(envelope).unwrap().dek_id
}

fn fixed_random(seed: u8) -> Random {
    Random::Fixed {
        seed,
        counter: AtomicU64::new(0),
    }
}
