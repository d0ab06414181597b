//! Key stores by callbacks.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;

use cmkit::{DekId, Error, KeyStore, StoredKey};

use crate::builder::cmk_keyring_builder;
use crate::call::Outcome;
use crate::callback::{Owned, cmk_destroy_callback, required};
use crate::error::cmk_error;
use crate::result::{CMK_OK, cmk_result};
use crate::sink::{Answer, Question, cmk_sink};
use crate::structure::Structure;

/// Looks a row up by its id of 16 bytes. Returns CMK_OK after cmk_sink_put and, where there is one, cmk_sink_put_tag; CMK_OK without
/// either means that there is no such row.
pub type cmk_store_get_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, id: *const u8, sink: *mut cmk_sink) -> cmk_result,
>;

/// Stores a row unless there is one of this id. Returns CMK_OK after cmk_sink_put_done. A stored row must be durable by then: data is
/// encrypted under its data key right after.
pub type cmk_store_put_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        id: *const u8,
        row: *const u8,
        row_len: usize,
        sink: *mut cmk_sink,
    ) -> cmk_result,
>;

/// Replaces a row unless it changed since `get` gave this tag (or, where it gives none, unless it differs from it). Returns CMK_OK after
/// cmk_sink_put_done.
pub type cmk_store_replace_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        id: *const u8,
        row: *const u8,
        row_len: usize,
        tag: *const u8,
        tag_len: usize,
        sink: *mut cmk_sink,
    ) -> cmk_result,
>;

/// Lists the ids of all rows, in any order: cmk_sink_put_id for each, then CMK_OK.
pub type cmk_store_list_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, sink: *mut cmk_sink) -> cmk_result>;

/// A key store: it keeps wrapped data keys by their ids, for the compact form. A row has at most 64 KiB and is not secret.
///
/// Fill it with zeros, set struct_size, then the members. It is copied. The callbacks are called from any thread, several at a time, and may
/// block. They must not call the keyring that is calling them, which is refused with CMK_ERR_POLICY, and must not free it. A failure is
/// returned as a CMK_ERR_... and arrives as CMK_ERR_KEY_STORE.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_key_store {
    /// sizeof(cmk_key_store).
    pub struct_size: usize,
    /// The first argument of every callback.
    pub userdata: *mut c_void,
    /// Looks a row up.
    pub get: cmk_store_get_callback,
    /// Stores a row.
    pub put_if_absent: cmk_store_put_callback,
    /// Replaces a row.
    pub replace_if_unchanged: cmk_store_replace_callback,
    /// Lists all rows.
    pub list: cmk_store_list_callback,
    /// Or NULL. Called exactly once, when the last builder, keyring and unfinished encryptor that know the store are gone; not if
    /// setting it failed.
    pub destroy: cmk_destroy_callback,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL.
unsafe impl Structure for cmk_key_store {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// Keeps the data keys of the compact form in a store of the caller's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_key_store(
    builder: *mut cmk_keyring_builder,
    store: *const cmk_key_store,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); store = structure(store); => {
        let store = CallbackStore::new(&store)?;
        let owned = store.userdata.clone();
        let previous = builder.0.enter()?.key_store.replace(Arc::new(store));
        owned.own();
        // After the builder was left: it may call back.
        drop(previous);
        Ok(())
    })
}

type Get = unsafe extern "C" fn(*mut c_void, *const u8, *mut cmk_sink) -> cmk_result;
type Put =
    unsafe extern "C" fn(*mut c_void, *const u8, *const u8, usize, *mut cmk_sink) -> cmk_result;
type Replace = unsafe extern "C" fn(
    *mut c_void,
    *const u8,
    *const u8,
    usize,
    *const u8,
    usize,
    *mut cmk_sink,
) -> cmk_result;
type List = unsafe extern "C" fn(*mut c_void, *mut cmk_sink) -> cmk_result;

struct CallbackStore {
    userdata: Arc<Owned>,
    get: Get,
    put: Put,
    replace: Replace,
    list: List,
}

impl CallbackStore {
    fn new(store: &cmk_key_store) -> Outcome<Self> {
        Ok(Self {
            userdata: Owned::new(store.userdata, store.destroy),
            get: required("get", store.get)?,
            put: required("put_if_absent", store.put_if_absent)?,
            replace: required("replace_if_unchanged", store.replace_if_unchanged)?,
            list: required("list", store.list)?,
        })
    }
}

fn ask(
    question: Question,
    callback: impl FnOnce(*mut cmk_sink) -> cmk_result,
) -> cmkit::Result<Answer> {
    match cmk_sink::ask(question, callback) {
        (CMK_OK, answer) => Ok(answer),
        (code, answer) => Err(answer.store_error(code)),
    }
}

fn done(answer: &Answer) -> cmkit::Result<bool> {
    answer.yes.ok_or_else(|| Error::KeyStore {
        problem: "the key store's callback returned CMK_OK, but not whether it was done (cmk_sink_put_done)".into(),
        retryable: false,
    })
}

impl KeyStore for CallbackStore {
    fn get(&self, id: &DekId) -> cmkit::Result<Option<StoredKey>> {
        // SAFETY: the header asks for callbacks that can be called with these arguments from any thread.
        let answer = ask(Question::Row, |sink| unsafe {
            (self.get)(self.userdata.pointer(), id.0.as_ptr(), sink)
        })?;
        Ok(answer.bytes.map(|bytes| {
            let bytes = bytes.to_vec();
            StoredKey {
                tag: answer.tag.unwrap_or_else(|| bytes.clone()),
                bytes,
            }
        }))
    }

    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> cmkit::Result<bool> {
        // SAFETY: as for `get`.
        done(&ask(Question::YesOrNo, |sink| unsafe {
            (self.put)(
                self.userdata.pointer(),
                id.0.as_ptr(),
                bytes.as_ptr(),
                bytes.len(),
                sink,
            )
        })?)
    }

    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> cmkit::Result<bool> {
        // SAFETY: as for `get`.
        done(&ask(Question::YesOrNo, |sink| unsafe {
            let (userdata, id) = (self.userdata.pointer(), id.0.as_ptr());
            (self.replace)(
                userdata,
                id,
                bytes.as_ptr(),
                bytes.len(),
                tag.as_ptr(),
                tag.len(),
                sink,
            )
        })?)
    }

    fn list(&self) -> cmkit::Result<Vec<DekId>> {
        // SAFETY: as for `get`.
        Ok(ask(Question::Ids, |sink| unsafe {
            (self.list)(self.userdata.pointer(), sink)
        })?
        .ids)
    }
}
