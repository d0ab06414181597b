//! No secret in any text: not in `Debug`, not in `Display`, not in an error.

use std::fmt::{Debug, Display, Write as _};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::fakes::{Fake, Rows, kek};
use super::{Scene, fixed_random, key};
use crate::crypto::sha256;
use crate::{
    AllowEntry, DekPolicy, EncryptionContext, Error, ErrorKind, FileOptions, HeaderPadding, KeyRef,
    KeyType, LocalKeyProvider, Overwrite, ProviderError, ProviderErrorKind, Rewrap, StreamOptions,
    error_from_io, inspect,
};

/// Long enough that no part of it is in a text by chance.
const PLAINTEXT: &str = "the quick brown fox jumps over the lazy dog";
const CONTEXT_VALUE: &str = "jane.doe@example.org";

/// Texts, and what must not be in them.
struct Watch {
    texts: String,
    secrets: Vec<(&'static str, Vec<u8>)>,
}

impl Watch {
    fn debug(&mut self, value: &dyn Debug) {
        writeln!(self.texts, "{value:?}\n{value:#?}").unwrap();
    }

    fn display(&mut self, value: &dyn Display) {
        writeln!(self.texts, "{value}").unwrap();
    }

    fn error(&mut self, error: &Error) {
        self.debug(error);
        self.display(error);
        self.debug(&error.kind());
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            self.debug(&inner);
            self.display(&inner);
            source = inner.source();
        }
        let outer = std::io::Error::from(error.clone());
        self.debug(&outer);
        self.display(&outer);
    }

    fn check(&self) {
        for (name, secret) in &self.secrets {
            for form in forms(secret) {
                assert!(!self.texts.contains(&form), "{name} as {form}");
            }
        }
    }
}

/// How bytes may stand in a text. Eight of them are a leak too.
fn forms(secret: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for part in [secret, &secret[..8], &secret[secret.len() - 8..]] {
        let hex: String = part.iter().map(|b| format!("{b:02x}")).collect();
        forms.push(hex.to_uppercase());
        forms.push(hex);
        let list: Vec<String> = part.iter().map(ToString::to_string).collect();
        forms.push(list.join(", "));
        forms.push(list.join(",\n    "));
        forms.extend(std::str::from_utf8(part).map(str::to_owned));
    }
    // The end of a base64 text depends on what follows.
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        let text = engine.encode(secret);
        forms.push(text[..text.len() - 2].to_owned());
    }
    forms
}

#[test]
fn no_text_has_a_secret() {
    let seed = 42;
    let dek = sha256(&[&[seed], &0u64.to_be_bytes()]);
    let fake = Arc::new(Fake::default());
    let rows = Arc::new(Rows::default());
    let scene = Scene::with(&fake, |b| {
        b.wrap_with(key("test:a"))
            .workspace("tenant")
            .key_store(Arc::clone(&rows) as _)
            .random(fixed_random(seed))
    });
    let context = EncryptionContext::new([("user", CONTEXT_VALUE)]).unwrap();
    let envelope = scene
        .keyring
        .encrypt(PLAINTEXT.as_bytes(), &context)
        .unwrap();
    let id = inspect(&envelope).unwrap().recipients[0].key_id.clone();
    let mac_key = super::super::MacKey::of(
        &crate::secret::Dek::try_fill::<()>(|bytes| {
            *bytes = dek;
            Ok(())
        })
        .unwrap(),
    );
    let mut watch = Watch {
        texts: String::new(),
        secrets: vec![
            ("the DEK", dek.to_vec()),
            ("the KEK", kek(&id).to_vec()),
            ("the plaintext", PLAINTEXT.as_bytes().to_vec()),
            ("the context's value", CONTEXT_VALUE.as_bytes().to_vec()),
            ("a key of the MAC's", mac_key.mac(b"").to_vec()),
        ],
    };
    public_types(&mut watch, &scene, &context, &envelope);
    for error in errors(&scene, &context, &envelope) {
        watch.error(&error);
    }
    watch.check();
    // What is watched for would be seen.
    watch.texts.push_str(PLAINTEXT);
    assert!(std::panic::catch_unwind(|| watch.check()).is_err());
}

fn public_types(watch: &mut Watch, scene: &Scene, context: &EncryptionContext, envelope: &[u8]) {
    let id = &inspect(envelope).unwrap().recipients[0].key_id;
    watch.debug(&scene.keyring);
    watch.debug(context);
    watch.debug(&inspect(envelope).unwrap());
    watch.debug(&DekPolicy::default());
    watch.debug(&AllowEntry::Key(key("test:a")));
    watch.debug(&Rewrap::to(key("test:a")));
    watch.debug(id);
    watch.display(id);
    watch.display(&inspect(envelope).unwrap().dek_id);
    watch.debug(&StreamOptions::default());
    watch.debug(&FileOptions::default());
    watch.debug(&Overwrite::Refuse);
    watch.debug(&HeaderPadding::FileBlock);
    watch.debug(&crate::StoredKey {
        bytes: envelope.to_vec(),
        tag: vec![],
    });
    let stream = scene.keyring.decryptor(envelope, context).unwrap();
    watch.debug(&stream.get_ref().len());
    let dir = tempfile::tempdir().unwrap();
    let local = LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
    let local_id = local.create_key("team", KeyType::Oct256).unwrap();
    watch.debug(&local);
    watch.debug(&local.list().unwrap());
    // The file itself has the KEK; no text about it may.
    let exported = local.export(&local_id).unwrap();
    let jwk: serde_json::Value = serde_json::from_slice(exported.expose()).unwrap();
    watch.secrets.push((
        "a local KEK",
        URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap(),
    ));
    let file = dir
        .path()
        .join(format!("keys/keys/team/{}.jwk", local_id.version()));
    let whole = std::fs::read(&file).unwrap();
    for damaged in [
        &whole[..whole.len() - 3],
        b"{}",
        &[&whole[..], b"x"].concat(),
    ] {
        std::fs::write(&file, damaged).unwrap();
        watch.debug(&local.list());
        let request = crate::WrapRequest::new(&key("local:team"), &[7; 72])
            .key
            .clone();
        let outcome =
            crate::KeyProvider::wrap(&local, &crate::WrapRequest::new(&request, &[7; 72]));
        watch.debug(&outcome.unwrap_err());
    }
    let import = local.import(&KeyRef::local("other").unwrap(), &whole[..whole.len() - 3]);
    watch.error(&import.unwrap_err());
}

/// One of as many kinds as can be had, from the calls that handle secrets.
fn errors(scene: &Scene, context: &EncryptionContext, envelope: &[u8]) -> Vec<Error> {
    let keyring = &scene.keyring;
    let other = EncryptionContext::new([("user", "somebody else")]).unwrap();
    let mut out = Vec::new();
    let mut add = |result: crate::Result<()>| out.push(result.unwrap_err());

    for len in [0, 5, 40, 100, envelope.len() - 1] {
        add(keyring.decrypt(&envelope[..len], context).map(drop));
    }
    for at in (0..envelope.len()).step_by(3) {
        let mut forged = envelope.to_vec();
        forged[at] ^= 0x10;
        add(keyring.decrypt(&forged, context).map(drop));
        add(keyring.decrypt_in_place(&mut forged, context).map(drop));
    }
    add(keyring.decrypt(envelope, &other).map(drop));
    add(keyring
        .decrypt_into(envelope, context, &mut [0; 3])
        .map(drop));
    add(keyring
        .encrypt_into(PLAINTEXT.as_bytes(), context, &mut [0; 3])
        .map(drop));
    add(keyring
        .encrypt_in_place(&mut PLAINTEXT.as_bytes().to_vec(), 1000, context)
        .map(drop));
    add(keyring.encrypted_len(u64::MAX).map(drop));
    add(EncryptionContext::new([("k", CONTEXT_VALUE.repeat(1000))]).map(drop));
    add(EncryptionContext::new([("k", CONTEXT_VALUE), ("k", CONTEXT_VALUE)]).map(drop));
    add(Scene::with(&scene.fake, |b| b.wrap_with(key("test:a")))
        .keyring
        .decrypt(envelope, context)
        .map(drop));
    add(Scene::with(&scene.fake, |b| b.workspace("tenant"))
        .keyring
        .decrypt(envelope, context)
        .map(drop));
    add(keyring
        .rewrap(envelope, &Rewrap::to(key("none:a")))
        .map(drop));

    let fresh = Scene::with(&scene.fake, |b| {
        b.wrap_with(key("test:a")).workspace("tenant")
    });
    for kind in [
        ProviderErrorKind::NotFound,
        ProviderErrorKind::Disabled,
        ProviderErrorKind::Denied,
        ProviderErrorKind::Rejected,
        ProviderErrorKind::Unusable,
        ProviderErrorKind::Throttled,
        ProviderErrorKind::Unavailable,
        ProviderErrorKind::Identity,
        ProviderErrorKind::Other,
    ] {
        fresh
            .fake
            .hook(move |_| Err(ProviderError::new(kind, "as told")));
        add(fresh
            .keyring
            .encrypt(PLAINTEXT.as_bytes(), context)
            .map(drop));
        add(fresh.keyring.decrypt(envelope, context).map(drop));
    }
    fresh.fake.unhook();
    let capsules = scene.fake.capsule.lock().unwrap().replace(vec![7; 72]);
    assert!(capsules.is_none());
    add(fresh.keyring.decrypt(envelope, context).map(drop));
    *scene.fake.capsule.lock().unwrap() = None;

    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    add(keyring.encryptor(Full, context).and_then(|mut stream| {
        stream
            .write_all(PLAINTEXT.as_bytes())
            .map_err(error_from_io)?;
        stream.finish().map(drop)
    }));
    add(keyring
        .decryptor(&envelope[..envelope.len() - 1], context)
        .and_then(|mut stream| {
            let mut text = Vec::new();
            stream
                .read_to_end(&mut text)
                .map(drop)
                .map_err(error_from_io)
        }));
    let dir = tempfile::tempdir().unwrap();
    let [source, destination] = ["source", "destination"].map(|name| dir.path().join(name));
    std::fs::write(&source, PLAINTEXT).unwrap();
    let options = FileOptions::default();
    add(keyring
        .decrypt_file(&source, &destination, context, &options)
        .map(drop));
    add(keyring
        .encrypt_file(&source, &source, context, &options)
        .map(drop));
    std::fs::write(&destination, PLAINTEXT).unwrap();
    add(keyring
        .encrypt_file(&source, &destination, context, &options)
        .map(drop));

    let kinds: std::collections::HashSet<ErrorKind> = out.iter().map(Error::kind).collect();
    assert!(kinds.len() > 14, "{kinds:?}");
    out
}
