//! Keys for authenticated blocks: no I/O.

#![allow(unsafe_code)]

use cmkit::{BlockKey, BlockSeal, BlockSize};

use crate::arg::{Handle, Output};
use crate::call::{Outcome, invalid};
use crate::census::cmk_text_list;
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;

/// Bytes in a block's seal: what opens the block again besides the key, its version and its tag. 22 zeros are the seal of a block that was never
/// written.
pub const CMK_BLOCK_SEAL_LEN: usize = 22;

/// A key for blocks of 4096, 16384 or 65536 bytes: AES-256-GCM, with the block's number and a version as nonce. Ciphertext is as long as plaintext and goes where
/// that would; a seal of CMK_BLOCK_SEAL_LEN bytes for each block is kept by the caller, in memory, where nobody can change it or roll it back. Seals aren't secret.
///
/// Any number of threads may use one at the same time. It does no I/O and takes no lock for longer than a call's encryption: it fits between a request's
/// submission and its completion. It belongs to the process that made it: in a forked child everything but cmk_block_key_destroy and _free is
/// CMK_ERR_INVALID_STATE. A virtual machine that is restored from a snapshot, or cloned, would use nonces again: don't snapshot one that is writing.
pub struct cmk_block_key(BlockKey, Process);

impl Handle for cmk_block_key {}

/// The process that made a key. Asked before a lock is taken, which a thread that isn't here may have had at the fork.
pub(super) struct Process(u32);

impl Process {
    pub(super) fn this() -> Self {
        Self(std::process::id())
    }

    pub(super) fn is_foreign(&self) -> bool {
        std::process::id() != self.0
    }
}

/// Makes a key in this process's memory and nowhere else, which goes when it is freed. `block_size` is 4096, 16384 or 65536.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_random(
    block_size: u32,
    out: *mut *mut cmk_block_key,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        let key = BlockKey::random(BlockSize::from_bytes(block_size)?)?;
        *out = Box::into_raw(Box::new(cmk_block_key(key, Process::this())));
        Ok(())
    })
}

/// Makes a key whose data key the keyring's keys wrap. Nothing of it is stored: it goes like a random one, and stops when the keyring's keys are taken away
/// (cmk_block_key_check). The keyring may be freed before it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_new_block_key(
    keyring: *const cmk_keyring,
    block_size: u32,
    out: *mut *mut cmk_block_key,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); => {
        let key = keyring.0.new_block_key(BlockSize::from_bytes(block_size)?)?;
        *out = Box::into_raw(Box::new(cmk_block_key(key, Process::this())));
        Ok(())
    })
}

/// The bytes in a block; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_block_size(key: *const cmk_block_key) -> u32 {
    value!(0; key = shared(key); => key.0.block_size().bytes())
}

/// The full ids of the keys that wrap its data key; none for a random key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_key_ids(
    key: *const cmk_block_key,
    out: *mut *mut cmk_text_list,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); key = shared(key); => {
        *out = cmk_text_list::handle(key.0.key_ids().iter().map(|id| id.as_str()));
        Ok(())
    })
}

/// That the key may still be used: to be called before each request. It looks at most once a second, and asks a provider when the last yes is too old, which may block. When
/// the keyring's keys were taken away the key is wiped and this fails; when they are back, this makes it again, and what was written before can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_check(
    key: *const cmk_block_key,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; key = shared(key); => Ok(key.0.check()?))
}

/// Encrypts whole blocks in place, the first of which has the number `first_block`, and writes a seal for each: `seals_len` is CMK_BLOCK_SEAL_LEN times the number of
/// blocks. Numbers are below 2^48. Each call takes new versions, so what is encrypted twice has two ciphertexts, and only the last seal counts.
///
/// After a failure `data` and `seals` are zero. CMK_ERR_POLICY: the key has encrypted 2^50 bytes. CMK_ERR_INVALID_STATE: destroyed, taken away, or another process's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_encrypt(
    key: *const cmk_block_key,
    first_block: u64,
    data: *mut u8,
    len: usize,
    seals: *mut u8,
    seals_len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; data = range(data, len); seals = range(seals, seals_len); key = shared(key); => {
        data.must_be_apart_from_range(&seals)?;
        check_seals(seals.capacity())?;
        both(data, seals, |data, seals| key.0.encrypt_blocks(first_block, data, seals_of_mut(seals)))
    })
}

/// Decrypts whole blocks in place. Those whose seal is all zero, which were never written, become zeros.
///
/// After a failure all of `data` is zero. CMK_ERR_AUTHENTICATION: a block isn't what its seal was given for, and cmk_error_block says which.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_decrypt(
    key: *const cmk_block_key,
    first_block: u64,
    data: *mut u8,
    len: usize,
    seals: *const u8,
    seals_len: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; data = range(data, len); seals = bytes(seals, seals_len); key = shared(key); => {
        data.must_be_apart_from(seals)?;
        check_seals(seals.len())?;
        data.fill(|data| {
            key.0.decrypt_blocks(first_block, data, seals_of(seals))?;
            Ok::<_, cmkit::Error>(data.len())
        })
    })
}

/// Wipes the key for good: what it encrypted can't be read any more, by nobody. Any thread may call it while others use the key; their later calls fail with
/// CMK_ERR_INVALID_STATE. The handle has to be freed all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_destroy(key: *const cmk_block_key) {
    value!((); key = shared(key); => key.0.destroy())
}

/// Whether the key was destroyed; true for NULL and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_is_destroyed(key: *const cmk_block_key) -> bool {
    value!(true; key = shared(key); => key.1.is_foreign() || key.0.is_destroyed())
}

/// Wipes the key and ends its handle. In a forked child that is only the child's copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_block_key_free(key: *mut cmk_block_key) {
    free!(key)
}

fn check_seals(len: usize) -> Outcome {
    if len.is_multiple_of(CMK_BLOCK_SEAL_LEN) {
        return Ok(());
    }
    Err(invalid(format!(
        "seals_len is {len}, which isn't {CMK_BLOCK_SEAL_LEN} bytes for each block"
    )))
}

/// Lets `write` fill two ranges: both, or neither.
fn both(
    first: Output<'_>,
    second: Output<'_>,
    write: impl FnOnce(&mut [u8], &mut [u8]) -> cmkit::Result<()>,
) -> Outcome {
    first.fill(|first| {
        second.fill(|second| write(first, second).map(|()| second.len()))?;
        Ok::<_, crate::call::Fault>(first.len())
    })
}

/// Bytes as seals; their number was checked.
fn seals_of(bytes: &[u8]) -> &[BlockSeal] {
    // SAFETY: a seal is laid out as its bytes are, all of whose values are valid.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / CMK_BLOCK_SEAL_LEN) }
}

fn seals_of_mut(bytes: &mut [u8]) -> &mut [BlockSeal] {
    let count = bytes.len() / CMK_BLOCK_SEAL_LEN;
    // SAFETY: as above; the bytes are borrowed for as long.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
}

const _: () = assert!(CMK_BLOCK_SEAL_LEN == BlockSeal::LEN && align_of::<BlockSeal>() == 1);
