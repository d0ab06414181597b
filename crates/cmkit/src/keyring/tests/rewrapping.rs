//! The same DEK under another KEK.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fakes::{Call, Fake};
use super::{Scene, TEXT, key, none};
use crate::envelope::{FILE_BLOCK, Header};
use crate::{
    AllowEntry, ErrorKind, HeaderPadding, KeyId, KeyRef, KeyState, LocalKeyProvider,
    ProviderErrorKind, Rewrap, StreamOptions, header_len,
};

const KEYS: [&str; 3] = ["test:a", "test:b", "test:c"];

/// An envelope for three keys, and a keyring that may use the one of that name.
fn three(opener: &str) -> (Scene, Vec<u8>) {
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| {
        KEYS.iter().fold(b, |b, name| b.wrap_with(key(name)))
    });
    let envelope = writer.seal();
    let scene = Scene::with(&fake, |b| b.allow(AllowEntry::Key(key(opener))));
    fake.forget_calls();
    (scene, envelope)
}

fn rewrap(scene: &Scene, envelope: &[u8], to: &Rewrap) -> Result<Vec<u8>, ErrorKind> {
    scene.keyring.rewrap(envelope, to).map_err(|e| e.kind())
}

fn to(name: &str) -> Rewrap {
    Rewrap::to(key(name))
}

/// Each recipient's key and bytes.
fn recipients(envelope: &[u8]) -> Vec<(String, Vec<u8>)> {
    let header = Header::parse(envelope).unwrap();
    header
        .recipients
        .iter()
        .map(|r| (r.key_id.name().to_owned(), r.encoded.to_vec()))
        .collect()
}

fn open_with(scene: &Scene, name: &str, envelope: &[u8]) -> Result<Vec<u8>, ErrorKind> {
    Scene::with(&scene.fake, |b| b.allow(AllowEntry::Key(key(name)))).open(envelope)
}

#[test]
fn the_recipient_that_opened_is_replaced_and_the_others_stay() {
    for (place, opener) in KEYS.iter().enumerate() {
        let (scene, old) = three(opener);
        let new = rewrap(&scene, &old, &to("test:d")).unwrap();
        let [before, after] = [&old, &new].map(|e| recipients(e));
        assert_eq!(after.len(), 3);
        for n in 0..3 {
            if n == place {
                assert_eq!(after[n].0, "d");
            } else {
                assert_eq!(after[n], before[n], "byte for byte");
            }
        }
        let [old_header, new_header] = [&old, &new].map(|e| Header::parse(e).unwrap());
        assert_eq!(new_header.core_bytes, old_header.core_bytes);
        assert_eq!(
            new[new_header.bytes.len()..],
            old[old_header.bytes.len()..],
            "the body"
        );
        for (name, opens) in [
            ("test:a", place != 0),
            ("test:b", place != 1),
            ("test:c", place != 2),
            ("test:d", true),
        ] {
            assert_eq!(open_with(&scene, name, &new).is_ok(), opens, "{name}");
        }
    }
}

#[test]
fn only_drops_the_others() {
    let (scene, old) = three("test:b");
    let new = rewrap(&scene, &old, &to("test:d").only()).unwrap();
    let names: Vec<_> = recipients(&new).into_iter().map(|r| r.0).collect();
    assert_eq!(names, ["d"]);
    assert_eq!(open_with(&scene, "test:d", &new).unwrap(), TEXT);
}

#[test]
fn a_target_that_is_a_recipient_already_is_there_once() {
    let (scene, old) = three("test:b");
    let new = rewrap(&scene, &old, &to("test:c")).unwrap();
    let names: Vec<_> = recipients(&new).into_iter().map(|r| r.0).collect();
    assert_eq!(names, ["a", "c"]);
    let again = rewrap(&scene, &old, &to("test:b")).unwrap();
    assert_eq!(recipients(&again).len(), 3);
    assert_eq!(open_with(&scene, "test:b", &again).unwrap(), TEXT);
}

#[test]
fn a_header_in_gives_a_header_out() {
    let (scene, old) = three("test:a");
    let header = &old[..header_len(&old).unwrap()];
    let new = rewrap(&scene, header, &to("test:d")).unwrap();
    assert_eq!(header_len(&new).unwrap(), new.len());
    // With the old body behind it, it is the rewrapped envelope.
    let whole = [&new[..], &old[header.len()..]].concat();
    assert_eq!(open_with(&scene, "test:d", &whole).unwrap(), TEXT);
}

#[test]
fn padding_keeps_the_length() {
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| b.wrap_with(key("test:a")));
    let padded = StreamOptions::default().padded_header(HeaderPadding::FileBlock);
    let stream = writer
        .keyring
        .encryptor_with(Vec::new(), &none(), padded)
        .unwrap();
    let old = stream.finish().unwrap();
    assert_eq!(header_len(&old).unwrap(), FILE_BLOCK);
    for len in [1, 2, 50, 127] {
        let name = format!("test:{}", "n".repeat(len));
        let new = rewrap(&writer, &old, &to(&name)).unwrap();
        assert_eq!(header_len(&new).unwrap(), FILE_BLOCK, "name of {len}");
        assert_eq!(open_with(&writer, &name, &new).unwrap(), b"");
    }
    // Without padding there is none afterwards.
    let plain = rewrap(&writer, &writer.seal(), &to("test:b")).unwrap();
    assert_eq!(Header::parse(&plain).unwrap().padding, None);
}

#[test]
fn a_target_whose_wrap_is_garbage_is_refused() {
    let (scene, old) = three("test:a");
    scene.fake.garbles.store(true, Ordering::SeqCst);
    assert_eq!(
        rewrap(&scene, &old, &to("test:d")),
        Err(ErrorKind::Authentication)
    );
    scene.fake.garbles.store(false, Ordering::SeqCst);

    // A target that wraps and then can't unwrap.
    scene.fake.hook(|call| match call {
        Call::Unwrap(key) if key.starts_with("test:d") => Err(crate::ProviderError::new(
            ProviderErrorKind::Denied,
            "as told",
        )),
        _ => Ok(()),
    });
    assert_eq!(
        rewrap(&scene, &old, &to("test:d")),
        Err(ErrorKind::AccessDenied)
    );
    scene.fake.unhook();

    // One that gives another capsule back: right in form, for another DEK.
    let (other_scene, other) = three("test:a");
    let header = Header::parse(&other).unwrap();
    let capsule = crate::crypto::key_wrap::unwrap(
        &super::fakes::kek(&header.recipients[0].key_id),
        header.recipients[0].wrapped,
    );
    drop(other_scene);
    let mut capsule = capsule.unwrap().to_vec();
    let own = {
        let header = Header::parse(&old).unwrap();
        let kek = super::fakes::kek(&header.recipients[0].key_id);
        crate::crypto::key_wrap::unwrap(&kek, header.recipients[0].wrapped)
            .unwrap()
            .to_vec()
    };
    // The binding of this envelope, the DEK of the other.
    capsule[40..].copy_from_slice(&own[40..]);
    let fake = Arc::clone(&scene.fake);
    scene.fake.hook(move |call| {
        let about_target = matches!(call, Call::Unwrap(key) if key.starts_with("test:d"));
        *fake.capsule.lock().unwrap() = about_target.then(|| capsule.clone());
        Ok(())
    });
    assert_eq!(
        rewrap(&scene, &old, &to("test:d")),
        Err(ErrorKind::Authentication)
    );
    scene.fake.unhook();
}

#[test]
fn a_target_that_wraps_with_another_key_is_refused() {
    let (scene, old) = three("test:a");
    *scene.fake.says.lock().unwrap() = Some(KeyId::parse(&format!("test:e/{:032x}", 0)).unwrap());
    assert_eq!(rewrap(&scene, &old, &to("test:d")), Err(ErrorKind::Policy));
}

#[test]
fn a_public_key_alone_is_no_target() {
    let dir = tempfile::tempdir().unwrap();
    let local = LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
    let rsa = local.create_key("rsa", crate::KeyType::Rsa3072).unwrap();
    let public = local.export_public(&rsa).unwrap();
    let other = LocalKeyProvider::open_or_create(dir.path().join("others")).unwrap();
    other
        .import(&KeyRef::local("public").unwrap(), public.as_bytes())
        .unwrap();
    let fake = Arc::new(Fake::default());
    let scene = Scene::with(&fake, |b| {
        b.provider(Arc::new(other)).wrap_with(key("test:a"))
    });
    let envelope = scene.seal();
    assert_eq!(
        rewrap(&scene, &envelope, &to("local:public")),
        Err(ErrorKind::KeyUnusable)
    );
}

#[test]
fn every_check_up_to_the_header_comes_first() {
    let (scene, old) = three("test:a");
    let header = header_len(&old).unwrap();
    let mut forged = old.clone();
    forged[header - 1] ^= 1;
    assert_eq!(
        rewrap(&scene, &forged, &to("test:d")),
        Err(ErrorKind::Authentication)
    );
    assert_eq!(
        rewrap(&scene, &old[..header - 1], &to("test:d")),
        Err(ErrorKind::Truncated)
    );
    let wraps = |scene: &Scene| scene.wraps();
    assert_eq!(wraps(&scene), 0, "nothing was wrapped");
    let stranger = Scene::with(&scene.fake, |b| b.allow(AllowEntry::Key(key("test:x"))));
    assert_eq!(
        rewrap(&stranger, &old, &to("test:d")),
        Err(ErrorKind::KeyNotAllowed)
    );
    scene
        .fake
        .set_state(&format!("test:a/{:032x}", 0), KeyState::Revoked);
    assert_eq!(
        rewrap(&scene, &old, &to("test:d")),
        Err(ErrorKind::KeyDisabled)
    );
    assert_eq!(wraps(&scene), 0);
}

#[test]
fn the_workspace_is_the_envelopes_own() {
    let (scene, old) = three("test:a");
    let tenant = Scene::with(&scene.fake, |b| {
        b.workspace("other").allow(AllowEntry::Key(key("test:a")))
    });
    let new = tenant.keyring.rewrap(&old, &to("test:d")).unwrap();
    assert_eq!(
        crate::inspect(&new).unwrap().workspace,
        crate::inspect(&old).unwrap().workspace
    );
    let reader = Scene::with(&scene.fake, |b| b.allow(AllowEntry::Key(key("test:d"))));
    assert!(reader.open(&new).is_ok());
    assert!(tenant.open(&new).is_err());
}

#[test]
fn the_cache_of_opened_headers_plays_no_part() {
    let (scene, old) = three("test:a");
    scene.open(&old).unwrap();
    let unwraps = scene.unwraps();
    rewrap(&scene, &old, &to("test:d")).unwrap();
    assert_eq!(
        scene.unwraps(),
        unwraps + 2,
        "the old wrap, and the new one"
    );
}

#[test]
fn a_vaults_recipient_stays_in_its_vault() {
    const HERE: &str = "https://here.vault.example/keys";
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| {
        b.wrap_with(key(&format!("{HERE}/a")))
            .wrap_with(key("test:local"))
    });
    let old = writer.seal();
    fake.forget_calls();
    let by = |opener: &str| Scene::with(&fake, |b| b.allow(AllowEntry::Key(key(opener))));
    let vault = by(&format!("{HERE}/a"));
    let elsewhere = ["https://there.vault.example/keys/a", "test:d"];
    for name in elsewhere {
        assert_eq!(
            rewrap(&vault, &old, &to(name)),
            Err(ErrorKind::WrongVault),
            "{name}"
        );
        // Nor by dropping it in favour of what takes the place of another one.
        let local = by("test:local");
        let only = to(name).only();
        assert_eq!(rewrap(&local, &old, &only), Err(ErrorKind::WrongVault));
        assert_eq!(rewrap(&vault, &old, &only), Err(ErrorKind::WrongVault));
    }
    assert_eq!(vault.wraps(), 0, "nothing was wrapped");
    let error = vault.keyring.rewrap(&old, &to(elsewhere[0])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(HERE) && text.contains(elsewhere[0]), "{text}");

    // Within the vault, from a local key, and where it is meant.
    rewrap(&vault, &old, &to(&format!("{HERE}/b")).only()).unwrap();
    rewrap(&by("test:local"), &old, &to(elsewhere[0])).unwrap();
    rewrap(&vault, &old, &to(elsewhere[0]).allow_other_vault()).unwrap();
    let only = to(elsewhere[1]).only().allow_other_vault();
    let new = rewrap(&by("test:local"), &old, &only).unwrap();
    assert_eq!(open_with(&writer, "test:d", &new).unwrap(), TEXT);
}
