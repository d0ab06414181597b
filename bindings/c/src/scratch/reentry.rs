//! Refuses a callback that calls the volume which is calling it: blocks are locked while their bytes are on the way, so it would wait for itself.

use std::cell::RefCell;

use crate::call::{Outcome, wrong_state};

thread_local! {
    /// The volumes that are working on this thread.
    static WORKING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// For as long as it is there, the volume isn't entered again by this thread.
pub(super) struct Inside;

pub(super) fn enter(volume: usize) -> Outcome<Inside> {
    if is_inside(volume) {
        return Err(wrong_state(
            "a callback of the volume's backing or keyring called that volume, which would wait for itself",
        ));
    }
    Ok(enter_quietly(volume))
}

/// The same for a server's thread, which nothing calls from a callback.
pub(super) fn enter_quietly(volume: usize) -> Inside {
    // At a thread's end the list is gone, and callbacks aren't watched any more.
    let _ = WORKING.try_with(|working| working.borrow_mut().push(volume));
    Inside
}

pub(super) fn is_inside(volume: usize) -> bool {
    WORKING
        .try_with(|working| working.borrow().contains(&volume))
        .unwrap_or(false)
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = WORKING.try_with(|working| working.borrow_mut().pop());
    }
}
