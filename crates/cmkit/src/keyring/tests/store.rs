//! The compact form.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fakes::{Fake, Rows};
use super::{Scene, TEXT, dek_of, key, none};
use crate::{ErrorKind, Purpose, Rewrap, inspect};

fn scene(fake: &Arc<Fake>, rows: &Arc<Rows>) -> Scene {
    Scene::with(fake, |b| {
        b.wrap_with(key("test:a")).key_store(Arc::clone(rows) as _)
    })
}

fn set_up() -> (Arc<Rows>, Scene) {
    let rows = Arc::default();
    (Arc::clone(&rows), scene(&Arc::default(), &rows))
}

fn seal(scene: &Scene) -> Vec<u8> {
    scene.keyring.encrypt_compact(TEXT, &none()).unwrap()
}

#[test]
fn many_documents_share_one_row() {
    let (rows, scene) = set_up();
    let envelopes = [seal(&scene), seal(&scene)];
    assert_eq!(dek_of(&envelopes[0]), dek_of(&envelopes[1]));
    assert_eq!(rows.rows.lock().unwrap().len(), 1);
    for envelope in &envelopes {
        assert!(inspect(envelope).unwrap().is_compact);
        assert_eq!(scene.open(envelope).unwrap(), TEXT);
    }
    assert_eq!((scene.wraps(), scene.unwraps()), (1, 1));
    assert_eq!(
        rows.gets.load(Ordering::SeqCst),
        1,
        "the second one is a hit"
    );
}

#[test]
fn its_dek_is_another_than_that_of_whole_envelopes() {
    let (_, scene) = set_up();
    let [whole, compact] = [scene.seal(), seal(&scene)].map(|e| inspect(&e).unwrap());
    assert_ne!(whole.dek_id, compact.dek_id);
    assert_eq!(
        [whole.purpose, compact.purpose],
        [Purpose::Data, Purpose::KeyStore]
    );
}

#[test]
fn a_row_is_there_before_anything_is_sealed() {
    let (rows, scene) = set_up();
    rows.refuses.store(true, Ordering::SeqCst);
    let error = scene.keyring.encrypt_compact(TEXT, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyStore);
    rows.refuses.store(false, Ordering::SeqCst);
    let envelope = seal(&scene);
    assert!(rows.rows.lock().unwrap().contains_key(&dek_of(&envelope)));
}

#[test]
fn without_a_store_it_says_so() {
    let (rows, scene) = set_up();
    let envelope = seal(&scene);
    let fake = &scene.fake;
    let bare = Scene::with(fake, |b| b.wrap_with(key("test:a")));
    fake.forget_calls();
    assert_eq!(bare.open(&envelope), Err(ErrorKind::Policy));
    let error = bare.keyring.encrypt_compact(TEXT, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert_eq!(
        fake.calls(),
        [],
        "no provider is asked for a DEK that nothing could keep"
    );
    drop(rows);
}

#[test]
fn rows_of_others_damaged_and_missing_ones_are_refused() {
    let (rows, one) = set_up();
    let envelope = seal(&one);
    let other = seal(&scene(&one.fake, &rows));
    let [id, other_id] = [&envelope, &other].map(|e| dek_of(e));
    let right = rows.rows.lock().unwrap()[&id].clone();
    let others = rows.rows.lock().unwrap()[&other_id].clone();
    let refuse = |row: Option<Vec<u8>>, kind| {
        match row {
            Some(row) => rows.rows.lock().unwrap().insert(id, row),
            None => rows.rows.lock().unwrap().remove(&id),
        };
        assert_eq!(scene(&one.fake, &rows).open(&envelope), Err(kind));
    };
    refuse(None, ErrorKind::KeyStore);
    refuse(Some(others), ErrorKind::KeyStore);
    refuse(Some(Vec::new()), ErrorKind::KeyStore);
    refuse(Some(envelope.clone()), ErrorKind::KeyStore);
    for len in 0..right.len() {
        refuse(Some(right[..len].to_vec()), ErrorKind::KeyStore);
    }
    for bit in 0..right.len() * 8 {
        let mut row = right.clone();
        row[bit / 8] ^= 1 << (bit % 8);
        rows.rows.lock().unwrap().insert(id, row);
        assert!(
            scene(&one.fake, &rows).open(&envelope).is_err(),
            "bit {bit}"
        );
    }
    rows.rows.lock().unwrap().insert(id, right);
    assert_eq!(scene(&one.fake, &rows).open(&envelope).unwrap(), TEXT);
}

#[test]
fn rewrapping_the_store_leaves_the_documents() {
    let (rows, writer) = set_up();
    let envelopes = [seal(&writer), seal(&scene(&writer.fake, &rows))];
    let mover = scene(&writer.fake, &rows);
    assert_eq!(
        mover
            .keyring
            .rewrap_key_store(&Rewrap::to(key("test:b")))
            .unwrap(),
        2
    );
    let reader = Scene::with(&writer.fake, |b| {
        b.wrap_with(key("test:b")).key_store(Arc::clone(&rows) as _)
    });
    for envelope in &envelopes {
        assert_eq!(reader.open(envelope).unwrap(), TEXT);
        assert_eq!(
            scene(&writer.fake, &rows).open(envelope),
            Err(ErrorKind::KeyNotAllowed)
        );
    }
    let error = mover
        .keyring
        .rewrap(&envelopes[0], &Rewrap::to(key("test:b")))
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Policy,
        "a compact envelope has nothing to rewrap"
    );
}

#[test]
fn a_concurrent_change_of_a_row_is_not_undone() {
    let (rows, writer) = set_up();
    let envelope = seal(&writer);
    let id = dek_of(&envelope);
    // Somebody adds his own rewrap just before ours is stored: ours is made again, of his.
    let other = Scene::with(&writer.fake, |b| b.wrap_with(key("test:a")));
    let row = rows.rows.lock().unwrap()[&id].clone();
    let his = other
        .keyring
        .rewrap(&row, &Rewrap::to(key("test:c")))
        .unwrap();
    *rows.meanwhile.lock().unwrap() = Some(Box::new(move |rows| {
        rows.insert(id, his);
    }));
    let mover = Scene::with(&writer.fake, |b| {
        b.wrap_with(key("test:a"))
            .allow(crate::AllowEntry::Key(key("test:c")))
            .key_store(Arc::clone(&rows) as _)
    });
    assert_eq!(
        mover
            .keyring
            .rewrap_key_store(&Rewrap::to(key("test:b")))
            .unwrap(),
        1
    );
    let keys: Vec<_> = inspect(&rows.rows.lock().unwrap()[&id]).unwrap().recipients;
    assert_eq!(keys[0].key_id.name(), "b");
    assert!(mover.unwraps() >= 2);
    // A row that is gone meanwhile is no failure.
    *rows.meanwhile.lock().unwrap() = Some(Box::new(move |rows| {
        rows.remove(&id);
    }));
    let again = Scene::with(&writer.fake, |b| {
        b.wrap_with(key("test:b")).key_store(Arc::clone(&rows) as _)
    });
    assert_eq!(
        again
            .keyring
            .rewrap_key_store(&Rewrap::to(key("test:d")))
            .unwrap(),
        0
    );
}

#[test]
fn a_rewrapped_row_is_read_again_when_its_old_key_is_taken_away() {
    let rows: Arc<Rows> = Arc::default();
    let scene = Scene::with(&Arc::default(), |b| {
        b.wrap_with(key("test:a"))
            .allow(crate::AllowEntry::Key(key("test:b")))
            .key_store(Arc::clone(&rows) as _)
    });
    let envelope = seal(&scene);
    scene.open(&envelope).unwrap();
    let to = Rewrap::to(key("test:b"));
    assert_eq!(scene.keyring.rewrap_key_store(&to).unwrap(), 1);
    let old = format!("test:a/{:032x}", 0);
    scene.fake.set_state(&old, crate::KeyState::Revoked);
    assert_eq!(scene.open(&envelope).unwrap(), TEXT);
}

#[test]
fn what_is_no_row_of_its_dek_is_not_rewrapped() {
    let (rows, scene) = set_up();
    let id = dek_of(&seal(&scene));
    let right = rows.rows.lock().unwrap()[&id].clone();
    let other = {
        let (rows, scene) = set_up();
        let id = dek_of(&seal(&scene));
        rows.rows.lock().unwrap()[&id].clone()
    };
    for wrong in [other, scene.seal(), [&right[..], b"x"].concat()] {
        rows.rows.lock().unwrap().insert(id, wrong.clone());
        let done = scene.keyring.rewrap_key_store(&Rewrap::to(key("test:b")));
        assert_eq!(done.unwrap_err().kind(), ErrorKind::KeyStore);
        assert_eq!(rows.rows.lock().unwrap()[&id], wrong, "left as it was");
    }
}
