//! The keyring handle.

#![allow(unsafe_code)]

use cmkit::Keyring;

use crate::arg::Handle;
use crate::error::cmk_error;
use crate::result::cmk_result;

/// The keys that data is encrypted under and may be decrypted with, for one workspace. It never changes; any number of threads may
/// use one at the same time. In a forked child it starts afresh, with empty caches.
pub struct cmk_keyring(pub(crate) Keyring);

impl Handle for cmk_keyring {}

impl cmk_keyring {
    pub(crate) fn handle(keyring: Keyring) -> *mut Self {
        Box::into_raw(Box::new(Self(keyring)))
    }
}

/// Makes a keyring of the user's own key directory (cmk_default_dir) that encrypts under its key local:default. The first
/// encryption creates that key if it isn't there: back the directory up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_local(
    out: *mut *mut cmk_keyring,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        *out = cmk_keyring::handle(Keyring::local()?);
        Ok(())
    })
}

/// Ends a keyring and wipes the data keys that it has cached; an encryptor that isn't finished keeps them until it is finished or
/// freed. What was opened with it goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_free(keyring: *mut cmk_keyring) {
    free!(keyring)
}
