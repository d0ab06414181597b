//! Data in memory.

#![allow(unsafe_code)]

use crate::arg::Place;
use crate::call::invalid;
use crate::context::{cmk_context, or_empty};
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;

/// How many bytes an envelope of so much plaintext has. Exact for the data key in use; the first call may ask the provider to wrap
/// one. When a data key expires, the next envelope can have another length (its key id may be longer): on
/// CMK_ERR_BUFFER_TOO_SMALL, ask again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_encrypted_len(
    keyring: *const cmk_keyring,
    plaintext_len: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out_len = out(out_len, 0); keyring = shared(keyring); => {
        *out_len = length(keyring.0.encrypted_len(plaintext_len as u64)?)?;
        Ok(())
    })
}

/// Encrypts bytes into an envelope. `out` may be `plaintext` itself: in place, the plaintext at the front; then a failure loses it.
/// Any other overlap is an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_encrypt(
    keyring: *const cmk_keyring,
    plaintext: *const u8,
    plaintext_len: usize,
    context: *const cmk_context,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = output(out, capacity, out_len); keyring = shared(keyring);
        plaintext = bytes(plaintext, plaintext_len); context = optional(context);
    => {
        let context = or_empty(context);
        match out.place_of(plaintext)? {
            Place::Apart => out.fill(|out| keyring.0.encrypt_into(plaintext, context, out)),
            Place::Same => {
                if capacity < plaintext_len {
                    return Err(invalid("the capacity is below the length of the plaintext in it"));
                }
                out.fill(|buffer| keyring.0.encrypt_in_place(buffer, plaintext_len, context))
            }
        }
    })
}

/// How many bytes a compact envelope of so much plaintext has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_compact_len(
    keyring: *const cmk_keyring,
    plaintext_len: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out_len = out(out_len, 0); keyring = shared(keyring); => {
        *out_len = length(keyring.0.compact_len(plaintext_len as u64)?)?;
        Ok(())
    })
}

/// Encrypts bytes into a compact envelope, whose wrapped data key is kept in the keyring's key store. Doesn't work in place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_encrypt_compact(
    keyring: *const cmk_keyring,
    plaintext: *const u8,
    plaintext_len: usize,
    context: *const cmk_context,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = output(out, capacity, out_len); keyring = shared(keyring);
        plaintext = bytes(plaintext, plaintext_len); context = optional(context);
    => {
        out.must_be_apart_from(plaintext)?;
        out.fill(|out| keyring.0.encrypt_compact_into(plaintext, or_empty(context), out))
    })
}

/// How many bytes of plaintext an envelope has, by its own lengths: not authenticated, but never less than what decrypting gives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_decrypted_len(
    envelope: *const u8,
    envelope_len: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out_len = out(out_len, 0); envelope = bytes(envelope, envelope_len); => {
        *out_len = length(cmkit::decrypted_len(envelope)?)?;
        Ok(())
    })
}

/// Decrypts an envelope of either form. `out` may be `envelope` itself: in place, the plaintext moves to the front and zeros follow;
/// then a failure loses the envelope, and the capacity is at least its length. Any other overlap is an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_decrypt(
    keyring: *const cmk_keyring,
    envelope: *const u8,
    envelope_len: usize,
    context: *const cmk_context,
    out: *mut u8,
    capacity: usize,
    out_len: *mut usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = output(out, capacity, out_len); keyring = shared(keyring);
        envelope = bytes(envelope, envelope_len); context = optional(context);
    => {
        let context = or_empty(context);
        match out.place_of(envelope)? {
            Place::Apart => out.fill(|out| keyring.0.decrypt_into(envelope, context, out)),
            Place::Same => {
                if capacity < envelope_len {
                    return Err(invalid("the capacity is below the length of the envelope in it"));
                }
                out.fill(|buffer| keyring.0.decrypt_in_place(&mut buffer[..envelope_len], context))
            }
        }
    })
}

/// Whether bytes begin like an envelope of a version that this library reads. It looks at 9 of them and says nothing about whether
/// the envelope is whole, authentic or yours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_is_envelope(bytes: *const u8, len: usize) -> bool {
    value!(false; bytes = bytes(bytes, len); => cmkit::is_envelope(bytes))
}

fn length(len: u64) -> crate::call::Outcome<usize> {
    usize::try_from(len).map_err(|_| invalid("it is longer than this machine's memory can be"))
}
