//! 1 KiB documents under a cached DEK against the same primitives called bare.

use std::cell::RefCell;
use std::time::Duration;

use cmkit::EncryptionContext;

use super::{Row, Target};
use crate::bare::Document;
use crate::measure::{repetitions, side_by_side};

const SIZE: usize = 1024;

/// One row.
///
/// # Panics
/// When encryption fails.
#[must_use]
pub fn rows() -> Vec<Row> {
    let (keyring, _dir) = crate::keyring();
    let context = EncryptionContext::new([("doc", "42")]).expect("a context");
    let plaintext = [7; SIZE];
    let bare = Document::new(&[1; 32]);
    // As much to hash as cmkit hashes for this context.
    let head = [3; 90];
    let out = RefCell::new([0; 2 * SIZE]);
    let ours = || {
        keyring
            .encrypt_into(&plaintext, &context, &mut *out.borrow_mut())
            .expect("sealed");
    };
    let mut peer = || bare.seal(&head, &plaintext, &mut out.borrow_mut()[..SIZE + 72]);
    let n = repetitions(&mut peer, Duration::from_millis(200));
    let [ours, peer] = side_by_side([&mut || (0..n).for_each(|_| ours()), &mut || {
        (0..n).for_each(|_| peer())
    }]);
    let ns = |seconds: f64| format!("{:.0} ns", seconds / f64::from(n) * 1e9);
    vec![Row {
        what: "1 KiB document, cached DEK / bare primitives".into(),
        ours: ns(ours),
        peer: ns(peer),
        figure: ours / peer,
        target: Target::AtMost(1.15),
    }]
}
