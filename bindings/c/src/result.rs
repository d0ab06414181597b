//! Result codes: one for each row of docs/errors.md.

use cmkit::ErrorKind;

/// What a function came to: CMK_OK or one of the CMK_ERR_... codes. The numbers never change and are never used for anything else.
pub type cmk_result = u32;

/// Done.
pub const CMK_OK: u32 = 0;

/// Not authentic: the data was changed or damaged, or the key or the context is another one.
pub const CMK_ERR_AUTHENTICATION: u32 = 100;
/// Not an envelope, or of a newer cmkit.
pub const CMK_ERR_FORMAT: u32 = 101;
/// The end is missing.
pub const CMK_ERR_TRUNCATED: u32 = 102;
/// A rewrap in place was interrupted: run it again on that file.
pub const CMK_ERR_REWRAP_INTERRUPTED: u32 = 103;

/// Another workspace, or the keyring's set-up says no.
pub const CMK_ERR_POLICY: u32 = 200;
/// None of the envelope's keys is on the keyring's allow-list.
pub const CMK_ERR_KEY_NOT_ALLOWED: u32 = 201;
/// There is no such key or version.
pub const CMK_ERR_KEY_NOT_FOUND: u32 = 202;
/// The key version is disabled.
pub const CMK_ERR_KEY_DISABLED: u32 = 203;
/// The provider, or the modes of the key directory, refuse access.
pub const CMK_ERR_ACCESS_DENIED: u32 = 204;
/// The key is there and can't be used: its file is damaged, or it has no private half.
pub const CMK_ERR_KEY_UNUSABLE: u32 = 205;

/// The key was deleted; its owner can perhaps recover it.
pub const CMK_ERR_KEY_DELETED: u32 = 206;
/// The key doesn't meet a rule for keys; the message says which.
pub const CMK_ERR_KEY_POLICY: u32 = 207;
/// Another vault or key than the one that was asked for.
pub const CMK_ERR_WRONG_VAULT: u32 = 208;

/// The provider asks to slow down: cmk_error_retry_after_ms.
pub const CMK_ERR_THROTTLED: u32 = 300;
/// The provider is out of reach.
pub const CMK_ERR_UNAVAILABLE: u32 = 301;
/// The provider doesn't know who is asking.
pub const CMK_ERR_IDENTITY: u32 = 302;
/// The provider failed in another way.
pub const CMK_ERR_PROVIDER: u32 = 303;
/// The key store failed, or doesn't hold the data key.
pub const CMK_ERR_KEY_STORE: u32 = 304;

/// It exists already and was left as it is.
pub const CMK_ERR_ALREADY_EXISTS: u32 = 400;
/// An argument is out of range, or NULL where it must not be.
pub const CMK_ERR_INVALID_ARGUMENT: u32 = 401;
/// The output buffer is too small: cmk_error_bytes_needed.
pub const CMK_ERR_BUFFER_TOO_SMALL: u32 = 402;
/// The stream failed before, is finished or in use, or belongs to another process.
pub const CMK_ERR_INVALID_STATE: u32 = 403;
/// Something else uses it: mounted, locked, or a job of that name runs.
pub const CMK_ERR_BUSY: u32 = 404;

/// Reading or writing failed: cmk_error_system_code.
pub const CMK_ERR_IO: u32 = 500;
/// The caller's callback asked to stop. Nothing was kept.
pub const CMK_ERR_CANCELLED: u32 = 501;

/// A fault in cmkit, or no randomness.
pub const CMK_ERR_INTERNAL: u32 = 900;
/// This build, or this version, lacks the function.
pub const CMK_UNSUPPORTED: u32 = 901;
/// A fault in cmkit was caught. Please report it.
pub const CMK_PANIC: u32 = 902;

/// Every code and its name.
pub(crate) const NAMES: &[(cmk_result, &std::ffi::CStr)] = &[
    (CMK_OK, c"CMK_OK"),
    (CMK_ERR_AUTHENTICATION, c"CMK_ERR_AUTHENTICATION"),
    (CMK_ERR_FORMAT, c"CMK_ERR_FORMAT"),
    (CMK_ERR_TRUNCATED, c"CMK_ERR_TRUNCATED"),
    (CMK_ERR_REWRAP_INTERRUPTED, c"CMK_ERR_REWRAP_INTERRUPTED"),
    (CMK_ERR_POLICY, c"CMK_ERR_POLICY"),
    (CMK_ERR_KEY_NOT_ALLOWED, c"CMK_ERR_KEY_NOT_ALLOWED"),
    (CMK_ERR_KEY_NOT_FOUND, c"CMK_ERR_KEY_NOT_FOUND"),
    (CMK_ERR_KEY_DISABLED, c"CMK_ERR_KEY_DISABLED"),
    (CMK_ERR_ACCESS_DENIED, c"CMK_ERR_ACCESS_DENIED"),
    (CMK_ERR_KEY_UNUSABLE, c"CMK_ERR_KEY_UNUSABLE"),
    (CMK_ERR_KEY_DELETED, c"CMK_ERR_KEY_DELETED"),
    (CMK_ERR_KEY_POLICY, c"CMK_ERR_KEY_POLICY"),
    (CMK_ERR_WRONG_VAULT, c"CMK_ERR_WRONG_VAULT"),
    (CMK_ERR_THROTTLED, c"CMK_ERR_THROTTLED"),
    (CMK_ERR_UNAVAILABLE, c"CMK_ERR_UNAVAILABLE"),
    (CMK_ERR_IDENTITY, c"CMK_ERR_IDENTITY"),
    (CMK_ERR_PROVIDER, c"CMK_ERR_PROVIDER"),
    (CMK_ERR_KEY_STORE, c"CMK_ERR_KEY_STORE"),
    (CMK_ERR_ALREADY_EXISTS, c"CMK_ERR_ALREADY_EXISTS"),
    (CMK_ERR_INVALID_ARGUMENT, c"CMK_ERR_INVALID_ARGUMENT"),
    (CMK_ERR_BUFFER_TOO_SMALL, c"CMK_ERR_BUFFER_TOO_SMALL"),
    (CMK_ERR_INVALID_STATE, c"CMK_ERR_INVALID_STATE"),
    (CMK_ERR_BUSY, c"CMK_ERR_BUSY"),
    (CMK_ERR_IO, c"CMK_ERR_IO"),
    (CMK_ERR_CANCELLED, c"CMK_ERR_CANCELLED"),
    (CMK_ERR_INTERNAL, c"CMK_ERR_INTERNAL"),
    (CMK_UNSUPPORTED, c"CMK_UNSUPPORTED"),
    (CMK_PANIC, c"CMK_PANIC"),
];

pub(crate) fn code_of(kind: ErrorKind) -> cmk_result {
    match kind {
        ErrorKind::Authentication => CMK_ERR_AUTHENTICATION,
        ErrorKind::Format => CMK_ERR_FORMAT,
        ErrorKind::Truncated => CMK_ERR_TRUNCATED,
        ErrorKind::RewrapInterrupted => CMK_ERR_REWRAP_INTERRUPTED,
        ErrorKind::Policy => CMK_ERR_POLICY,
        ErrorKind::KeyNotAllowed => CMK_ERR_KEY_NOT_ALLOWED,
        ErrorKind::KeyNotFound => CMK_ERR_KEY_NOT_FOUND,
        ErrorKind::KeyDisabled => CMK_ERR_KEY_DISABLED,
        ErrorKind::AccessDenied => CMK_ERR_ACCESS_DENIED,
        ErrorKind::KeyUnusable => CMK_ERR_KEY_UNUSABLE,
        ErrorKind::KeyDeleted => CMK_ERR_KEY_DELETED,
        ErrorKind::KeyPolicy => CMK_ERR_KEY_POLICY,
        ErrorKind::WrongVault => CMK_ERR_WRONG_VAULT,
        ErrorKind::Throttled => CMK_ERR_THROTTLED,
        ErrorKind::Unavailable => CMK_ERR_UNAVAILABLE,
        ErrorKind::Identity => CMK_ERR_IDENTITY,
        ErrorKind::Provider => CMK_ERR_PROVIDER,
        ErrorKind::KeyStore => CMK_ERR_KEY_STORE,
        ErrorKind::AlreadyExists => CMK_ERR_ALREADY_EXISTS,
        ErrorKind::InvalidArgument => CMK_ERR_INVALID_ARGUMENT,
        ErrorKind::BufferTooSmall => CMK_ERR_BUFFER_TOO_SMALL,
        ErrorKind::InvalidState => CMK_ERR_INVALID_STATE,
        ErrorKind::Busy => CMK_ERR_BUSY,
        ErrorKind::Io => CMK_ERR_IO,
        ErrorKind::Cancelled => CMK_ERR_CANCELLED,
        // A kind that this file doesn't know yet; a test compares it with docs/errors.md.
        _ => CMK_ERR_INTERNAL,
    }
}
