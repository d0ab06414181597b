//! A key provider of one's own, around another one: it writes down who asked for which key.

use std::sync::{Arc, Mutex};

use cmkit::{
    EncryptionContext, KeyId, KeyProvider, KeyRef, KeyState, KeyType, Keyring, LocalKeyProvider,
    ProviderError, SecretBytes, UnwrapRequest, WrapRequest, WrappedKey,
};

/// Forwards everything; the envelopes are those of the provider inside.
struct Audited<P> {
    inner: P,
    log: Mutex<Vec<String>>,
}

impl<P> Audited<P> {
    fn note(&self, line: String) {
        // A thread that panicked while it wrote a line left whole lines behind.
        let mut log = self
            .log
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        log.push(line);
    }
}

impl<P: KeyProvider> KeyProvider for Audited<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn owns(&self, key: &KeyRef) -> bool {
        self.inner.owns(key)
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let wrapped = self.inner.wrap(request)?;
        self.note(format!("wrapped with {}", wrapped.key));
        Ok(wrapped)
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.note(format!("unwrapping with {}", request.key));
        self.inner.unwrap(request)
    }

    fn state(&self, key: &KeyId) -> KeyState {
        self.inner.state(key)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = LocalKeyProvider::open_or_create("keys")?;
    keys.create_key("team", KeyType::Oct256)?;
    let audited = Arc::new(Audited {
        inner: keys,
        log: Mutex::default(),
    });
    let keyring = Keyring::builder()
        .provider(Arc::clone(&audited) as _)
        .wrap_with(KeyRef::local("team")?)
        .build()?;
    let context = EncryptionContext::empty();
    for _ in 0..100 {
        let envelope = keyring.encrypt(b"attack at dawn", &context)?;
        assert_eq!(keyring.decrypt(&envelope, &context)?, b"attack at dawn");
    }
    // A hundred messages, and one call each: the keyring keeps the DEK within its policy.
    let log = audited
        .log
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    assert_eq!(log.len(), 2);
    println!("{}", log.join("\n"));
    Ok(())
}
