//! The same data key under another key.

#![allow(unsafe_code)]

use std::ffi::c_char;

use cmkit::{KeyRef, Rewrap, RewrapOutcome};

use crate::buffer::cmk_buffer;
use crate::call::{Outcome, invalid};
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;

/// The recipient that was unwrapped is replaced; the others stay as they are.
pub const CMK_RECIPIENTS_KEEP: u32 = 0;
/// The new recipient is the only one.
pub const CMK_RECIPIENTS_ONLY: u32 = 1;
/// To be added to one of the others: a recipient of a vault, whose key id begins with "https:", may be replaced or dropped for a key that isn't in that vault.
/// Without it that is CMK_ERR_WRONG_VAULT, since a wrong name must not take data out of the hands of its key's owner.
pub const CMK_RECIPIENTS_OTHER_VAULT: u32 = 256;

/// Only the header of the file was written over.
pub const CMK_REWRAP_IN_PLACE: u32 = 1;
/// The new header didn't fit: the file was copied, and the copy renamed over it.
pub const CMK_REWRAP_COPIED: u32 = 2;

pub(crate) fn rewrap_number(outcome: RewrapOutcome) -> u32 {
    match outcome {
        RewrapOutcome::InPlace => CMK_REWRAP_IN_PLACE,
        _ => CMK_REWRAP_COPIED,
    }
}

fn rewrap_to(to: &str, recipients: u32) -> Outcome<Rewrap> {
    let mut rewrap = Rewrap::to(KeyRef::parse(to)?);
    if recipients & CMK_RECIPIENTS_OTHER_VAULT != 0 {
        rewrap = rewrap.allow_other_vault();
    }
    match recipients & !CMK_RECIPIENTS_OTHER_VAULT {
        CMK_RECIPIENTS_KEEP => Ok(rewrap),
        CMK_RECIPIENTS_ONLY => Ok(rewrap.only()),
        _ => Err(invalid(format!("{recipients} is no CMK_RECIPIENTS_..."))),
    }
}

/// Gives an envelope, or the header of one, with its data key wrapped by the key `to`; the body stays. `recipients` is a CMK_RECIPIENTS_...
/// It revokes nothing: an old copy of the header works for as long as the old key version does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_rewrap(
    keyring: *const cmk_keyring,
    envelope: *const u8,
    envelope_len: usize,
    to: *const c_char,
    recipients: u32,
    out: *mut *mut cmk_buffer,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); envelope = bytes(envelope, envelope_len); to = text(to); => {
        *out = cmk_buffer::handle(keyring.0.rewrap(envelope, &rewrap_to(to, recipients)?)?);
        Ok(())
    })
}

/// Rewraps a file, safe against a crash at any instruction: the same call made again completes what was interrupted. `outcome`, a
/// CMK_REWRAP_..., may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_rewrap_file(
    keyring: *const cmk_keyring,
    path: *const c_char,
    to: *const c_char,
    recipients: u32,
    outcome: *mut u32,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; outcome = optional_out(outcome, 0); keyring = shared(keyring); path = path(path); to = text(to); => {
        let done = keyring.0.rewrap_file(path, &rewrap_to(to, recipients)?)?;
        if let Some(outcome) = outcome {
            *outcome = rewrap_number(done);
        }
        Ok(())
    })
}

/// Rewraps every row of the keyring's key store; compact envelopes stay as they are. `rewritten` may be NULL. After a failure the rows done so
/// far stay done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_rewrap_key_store(
    keyring: *const cmk_keyring,
    to: *const c_char,
    recipients: u32,
    rewritten: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; rewritten = optional_out(rewritten, 0); keyring = shared(keyring); to = text(to); => {
        let done = keyring.0.rewrap_key_store(&rewrap_to(to, recipients)?)?;
        if let Some(rewritten) = rewritten {
            *rewritten = done;
        }
        Ok(())
    })
}
