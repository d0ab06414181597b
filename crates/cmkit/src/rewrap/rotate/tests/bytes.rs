//! Envelopes in memory.

use std::sync::atomic::Ordering;

use super::super::RotateOutcome::{Added, Finished, NotOurs, Replaced, UpToDate, Waiting};
use super::*;
use crate::envelope::Header;
use crate::{AllowEntry, ErrorKind, header_len};

#[test]
fn the_new_wrap_comes_and_a_day_later_the_old_one_goes() {
    let scene = Scene::new();
    let old = scene.newest("a");
    let envelope = scene.seal(&["a"]);
    let new = scene.rotate_key("a");
    let keyring = scene.keyring(&["a"]);
    let rotation = keyring.rotation(&Rotate::default()).unwrap();
    assert_eq!(rotation.newest().len(), 1);
    assert!(rotation.newest()[0].created.is_some());

    let added = rotation.rotate(&envelope).unwrap();
    assert_eq!(
        (added.outcome, added.old_kept_until),
        (Added, Some(START + DAY))
    );
    let both = added.envelope.unwrap();
    assert_eq!(keys_of(&both), [old.clone(), new.clone()]);
    let body = |e: &[u8]| e[header_len(e).unwrap()..].to_vec();
    assert_eq!(body(&both), body(&envelope));
    assert!(scene.opens(&both, &["a"]));

    scene.pass(DAY - 1);
    let waiting = rotation.rotate(&both).unwrap();
    assert_eq!(
        (waiting.outcome, waiting.old_kept_until),
        (Waiting, Some(START + DAY))
    );
    assert!(waiting.envelope.is_none());

    scene.pass(1);
    let finished = rotation.rotate(&both).unwrap();
    assert_eq!(
        (finished.outcome, finished.old_kept_until),
        (Finished, None)
    );
    let done = finished.envelope.unwrap();
    assert_eq!(keys_of(&done), [new]);
    let again = rotation.rotate(&done).unwrap();
    assert_eq!(again.outcome, UpToDate);
    assert!(again.envelope.is_none());

    scene.keys.local.disable(&old).unwrap();
    assert!(scene.opens(&done, &["a"]));
    assert!(!scene.opens(&envelope, &["a"]));
}

#[test]
fn nothing_kept_means_replaced_in_its_place() {
    let scene = Scene::new();
    let envelope = scene.seal(&["a", "b"]);
    let new = scene.rotate_key("a");
    let rotation = scene.keyring(&["a"]).rotation(&at_once()).unwrap();
    let rotated = rotation.rotate(&envelope).unwrap();
    assert_eq!((rotated.outcome, rotated.old_kept_until), (Replaced, None));
    let rotated = rotated.envelope.unwrap();
    assert_eq!(keys_of(&rotated), [new, scene.newest("b")]);
    assert!(scene.opens(&rotated, &["a"]) && scene.opens(&rotated, &["b"]));
    // Also where an earlier run kept the old one.
    let kept = scene.keyring(&["a"]).rotation(&Rotate::default()).unwrap();
    let both = kept.rotate(&envelope).unwrap().envelope.unwrap();
    let finished = rotation.rotate(&both).unwrap();
    assert_eq!(finished.outcome, Finished);
    assert_eq!(keys_of(&finished.envelope.unwrap()).len(), 2);
}

#[test]
fn each_wrapping_key_follows_its_own_newest_and_others_stay() {
    let scene = Scene::new();
    let envelope = scene.seal(&["a", "b", "c"]);
    let [a, c] = ["a", "c"].map(|name| scene.rotate_key(name));
    scene.rotate_key("b");
    let rotation = scene.keyring(&["c", "a"]).rotation(&at_once()).unwrap();
    let rotated = rotation.rotate(&envelope).unwrap().envelope.unwrap();
    let [before, after] = [&envelope, &rotated].map(|e| Header::parse(e).unwrap());
    let ids: Vec<_> = after.recipients.iter().map(|r| r.key_id.clone()).collect();
    assert_eq!([&ids[0], &ids[2]], [&a, &c]);
    assert_eq!(after.recipients[1].encoded, before.recipients[1].encoded);
    assert_eq!(after.core_bytes, before.core_bytes);

    // One is added, one is up to date: what is reported is what was done.
    scene.rotate_key("a");
    let rotation = scene
        .keyring(&["a", "c"])
        .rotation(&Rotate::default())
        .unwrap();
    assert_eq!(rotation.rotate(&rotated).unwrap().outcome, Added);
}

#[test]
fn what_has_no_wrapping_key_is_not_ours() {
    let scene = Scene::new();
    let envelope = scene.seal(&["b"]);
    scene.rotate_key("b");
    let keyring = scene
        .builder()
        .wrap_with(key("a"))
        .allow(AllowEntry::Key(key("b")))
        .build()
        .unwrap();
    let rotated = keyring
        .rotation(&at_once())
        .unwrap()
        .rotate(&envelope)
        .unwrap();
    assert_eq!(rotated.outcome, NotOurs);
    assert!(rotated.envelope.is_none());
}

#[test]
fn the_newest_version_is_asked_for_once() {
    let scene = Scene::new();
    let envelopes: Vec<_> = (0..5).map(|_| scene.seal(&["a", "b"])).collect();
    scene.rotate_key("a");
    let rotation = scene.keyring(&["a", "b"]).rotation(&at_once()).unwrap();
    for envelope in &envelopes {
        assert_eq!(rotation.rotate(envelope).unwrap().outcome, Replaced);
    }
    assert_eq!(scene.keys.newest.load(Ordering::SeqCst), 2, "two keys");
}

#[test]
fn a_dry_run_wraps_nothing() {
    let scene = Scene::new();
    let envelope = scene.seal(&["a"]);
    scene.rotate_key("a");
    let wraps = scene.wraps();
    let rotation = scene.keyring(&["a"]).rotation(&Rotate::default().dry_run());
    let told = rotation.unwrap().rotate(&envelope).unwrap();
    assert_eq!(
        (told.outcome, told.old_kept_until),
        (Added, Some(START + DAY))
    );
    assert!(told.envelope.is_none());
    assert_eq!(scene.wraps(), wraps);
}

#[test]
fn sixteen_recipients_leave_no_room_beside() {
    let scene = Scene::new();
    let names: Vec<String> = (0..16).map(|n| format!("k{n}")).collect();
    for name in &names {
        scene.keys.local.create_key(name, KeyType::Oct256).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let envelope = scene.seal(&names);
    scene.rotate_key("k3");
    let keyring = scene.keyring(&["k3"]);
    let error = keyring
        .rotation(&Rotate::default())
        .unwrap()
        .rotate(&envelope);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert!(error.to_string().contains("keep_old 0"), "{error}");
    let rotated = keyring
        .rotation(&at_once())
        .unwrap()
        .rotate(&envelope)
        .unwrap();
    assert_eq!(rotated.outcome, Replaced);
    assert_eq!(keys_of(&rotated.envelope.unwrap()).len(), 16);
}

#[test]
fn a_version_that_is_given_stays() {
    let scene = Scene::new();
    let held = scene.newest("a");
    let envelope = scene.seal(&["a", "b"]);
    scene.rotate_key("a");
    let pinned = |b: KeyringBuilder| b.wrap_with(KeyRef::from(held.clone()));
    let alone = pinned(scene.builder()).build().unwrap();
    let error = alone.rotation(&at_once()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    let bare = scene.builder().build().unwrap();
    assert_eq!(
        bare.rotation(&at_once()).unwrap_err().kind(),
        ErrorKind::Policy
    );
    // Beside the same key without one, and another.
    for name in ["a", "b"] {
        let keyring = pinned(scene.builder())
            .wrap_with(key(name))
            .build()
            .unwrap();
        let rotation = keyring.rotation(&at_once()).unwrap();
        let rotated = rotation.rotate(&envelope).unwrap();
        assert!(rotated.envelope.is_none(), "{name}: {rotated:?}");
    }
}

#[test]
fn a_provider_that_cannot_tell_shows_by_wrapping() {
    let scene = Scene::new();
    let envelope = scene.seal(&["a"]);
    let new = scene.rotate_key("a");
    *scene.keys.says.lock().unwrap() = Some(None);
    let rotation = scene.keyring(&["a"]).rotation(&at_once()).unwrap();
    assert_eq!(
        rotation.newest(),
        [NewestKey {
            key: new.clone(),
            created: None
        }]
    );
    let rotated = rotation.rotate(&envelope).unwrap().envelope.unwrap();
    assert_eq!(keys_of(&rotated), [new]);

    let other = NewestKey {
        key: scene.newest("b"),
        created: None,
    };
    *scene.keys.says.lock().unwrap() = Some(Some(other));
    let error = scene.keyring(&["a"]).rotation(&at_once()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongVault);
}

#[test]
fn nothing_goes_before_the_new_wrap_was_seen_to_work() {
    let scene = Scene::new();
    let envelope = scene.seal(&["a"]);
    let new = scene.rotate_key("a");
    let keyring = scene.keyring(&["a"]);
    let rotation = keyring.rotation(&Rotate::default()).unwrap();
    let both = rotation.rotate(&envelope).unwrap().envelope.unwrap();
    *scene.keys.broken.lock().unwrap() = Some(new);
    let denied = |envelope: &[u8]| rotation.rotate(envelope).unwrap_err().kind();
    assert_eq!(denied(&envelope), ErrorKind::AccessDenied);
    scene.pass(DAY);
    assert_eq!(denied(&both), ErrorKind::AccessDenied);
    *scene.keys.broken.lock().unwrap() = None;
    assert_eq!(rotation.rotate(&both).unwrap().outcome, Finished);
}

#[test]
fn what_is_not_authentic_is_not_changed() {
    let scene = Scene::new();
    let mut envelope = scene.seal(&["a"]);
    scene.rotate_key("a");
    let rotation = scene.keyring(&["a"]).rotation(&at_once()).unwrap();
    let header = header_len(&envelope).unwrap();
    let wraps = scene.wraps();
    assert_eq!(
        rotation.rotate(&envelope[..header - 1]).unwrap_err().kind(),
        ErrorKind::Truncated
    );
    envelope[header - 1] ^= 1;
    assert_eq!(
        rotation.rotate(&envelope).unwrap_err().kind(),
        ErrorKind::Authentication
    );
    assert_eq!(
        rotation.rotate(b"a letter").unwrap_err().kind(),
        ErrorKind::Format
    );
    assert_eq!(scene.wraps(), wraps);
}

#[test]
fn a_wrap_from_the_future_waits_and_can_be_finished_at_once() {
    let scene = Scene::new();
    scene.pass(10 * DAY);
    let envelope = scene.seal(&["a"]);
    scene.rotate_key("a");
    let keyring = scene.keyring(&["a"]);
    let rotation = keyring.rotation(&Rotate::default()).unwrap();
    let both = rotation.rotate(&envelope).unwrap().envelope.unwrap();
    // A clock that was set back.
    scene.seconds.store(0, Ordering::SeqCst);
    assert_eq!(rotation.rotate(&both).unwrap().outcome, Waiting);
    let at_once = keyring.rotation(&at_once()).unwrap();
    assert_eq!(at_once.rotate(&both).unwrap().outcome, Finished);
}

#[test]
fn an_old_version_that_is_named_as_newest_does_not_drop_the_new_wrap_at_once() {
    let scene = Scene::new();
    let first = scene.newest("a");
    let envelope = scene.seal(&["a"]);
    scene.pass(48 * 3600);
    scene.rotate_key("a");
    let rotate = |envelope: &[u8]| {
        let rotation = scene.keyring(&["a"]).rotation(&Rotate::default()).unwrap();
        rotation.rotate(envelope).unwrap()
    };
    let both = rotate(&envelope).envelope.unwrap();
    scene.pass(60);
    let stale = NewestKey {
        key: first,
        created: None,
    };
    *scene.keys.says.lock().unwrap() = Some(Some(stale));
    let waiting = rotate(&both);
    assert_eq!(waiting.outcome, Waiting);
    assert!(waiting.envelope.is_none());
}
