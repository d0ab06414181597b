//! Keys in a directory, and looking after them.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::Arc;

use cmkit::{KeyId, KeyInfo, KeyType, LocalKeyProvider};

use crate::arg::Handle;
use crate::buffer::cmk_buffer;
use crate::call::{Outcome, invalid};
use crate::error::{c_string, cmk_error};
use crate::result::cmk_result;

/// A directory of keys, "local:NAME/VERSION". Any number of threads and processes may use one at the same time. The directory and what
/// is in it must be private to its owner (modes 0700 and 0600); otherwise everything fails with CMK_ERR_ACCESS_DENIED.
pub struct cmk_local_provider(pub(crate) Arc<LocalKeyProvider>);

impl Handle for cmk_local_provider {}

/// Bytes that hold any key id and the NUL behind it.
pub const CMK_KEY_ID_CAPACITY: usize = 513;

/// 256 random bits, for A256KW.
pub const CMK_KEY_TYPE_OCT_256: u32 = 1;
/// RSA with a modulus of 3072 bits, for RSA-OAEP-256.
pub const CMK_KEY_TYPE_RSA_3072: u32 = 2;
/// RSA with a modulus of 4096 bits, for RSA-OAEP-256.
pub const CMK_KEY_TYPE_RSA_4096: u32 = 3;

const TYPES: [(u32, KeyType); 3] = [
    (CMK_KEY_TYPE_OCT_256, KeyType::Oct256),
    (CMK_KEY_TYPE_RSA_3072, KeyType::Rsa3072),
    (CMK_KEY_TYPE_RSA_4096, KeyType::Rsa4096),
];

fn key_type(number: u32) -> Outcome<KeyType> {
    let found = TYPES.iter().find(|(known, _)| *known == number);
    found
        .map(|(_, kind)| *kind)
        .ok_or_else(|| invalid(format!("{number} is no CMK_KEY_TYPE_...")))
}

/// The directory for keys when nobody names one: CMKIT_HOME, else cmkit in XDG_DATA_HOME, else ~/.local/share/cmkit. Nothing is
/// created. The buffer's data is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_default_dir(
    out: *mut *mut cmk_buffer,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        *out = cmk_buffer::handle(cmkit::default_dir()?.as_os_str().as_bytes().to_vec());
        Ok(())
    })
}

/// Opens a key directory that exists; NULL means cmk_default_dir.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_open(
    dir: *const c_char,
    out: *mut *mut cmk_local_provider,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); dir = optional_path(dir); => {
        let provider = match dir {
            Some(dir) => LocalKeyProvider::open(dir)?,
            None => LocalKeyProvider::open(cmkit::default_dir()?)?,
        };
        *out = Box::into_raw(Box::new(cmk_local_provider(Arc::new(provider))));
        Ok(())
    })
}

/// Opens a key directory, which is made with mode 0700 if it is missing; NULL means cmk_default_dir.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_open_or_create(
    dir: *const c_char,
    out: *mut *mut cmk_local_provider,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); dir = optional_path(dir); => {
        let provider = match dir {
            Some(dir) => LocalKeyProvider::open_or_create(dir)?,
            None => LocalKeyProvider::open_or_create(cmkit::default_dir()?)?,
        };
        *out = Box::into_raw(Box::new(cmk_local_provider(Arc::new(provider))));
        Ok(())
    })
}

/// Makes the first version of a key. `type` is a CMK_KEY_TYPE_... Its id goes to `id`, which is NULL or has at least
/// CMK_KEY_ID_CAPACITY bytes. A key of this name, be it a disabled one, is CMK_ERR_ALREADY_EXISTS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_create_key(
    provider: *const cmk_local_provider,
    name: *const c_char,
    r#type: u32,
    id: *mut c_char,
    id_capacity: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; id = id_output(id, id_capacity); provider = shared(provider); name = text(name); => {
        id.set(&provider.0.create_key(name, key_type(r#type)?)?);
        Ok(())
    })
}

/// Makes the first version of a key unless there is one, be it a disabled one. `*created` says whether it did; `id` is empty
/// when it did not. Of several processes that do so at once, exactly one creates it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_create_key_if_absent(
    provider: *const cmk_local_provider,
    name: *const c_char,
    r#type: u32,
    created: *mut bool,
    id: *mut c_char,
    id_capacity: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; created = optional_out(created, false); id = id_output(id, id_capacity); provider = shared(provider);
        name = text(name);
    => {
        if let Some(new) = provider.0.create_key_if_absent(name, key_type(r#type)?)? {
            id.set(&new);
            if let Some(created) = created {
                *created = true;
            }
        }
        Ok(())
    })
}

/// Makes a new version of a key, which wrapping uses from now on. `id` as for cmk_local_provider_create_key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_rotate(
    provider: *const cmk_local_provider,
    name: *const c_char,
    id: *mut c_char,
    id_capacity: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; id = id_output(id, id_capacity); provider = shared(provider); name = text(name); => {
        id.set(&provider.0.rotate(name)?);
        Ok(())
    })
}

/// Takes a key version, "local:NAME/VERSION", out of use: it neither wraps nor unwraps, at once in this process and within a
/// second in others.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_disable(
    provider: *const cmk_local_provider,
    id: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; provider = shared(provider); id = text(id); => {
        Ok(provider.0.disable(&KeyId::parse(id)?)?)
    })
}

/// Puts a disabled key version back into use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_enable(
    provider: *const cmk_local_provider,
    id: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; provider = shared(provider); id = text(id); => {
        Ok(provider.0.enable(&KeyId::parse(id)?)?)
    })
}

/// Ends a provider. Keyrings made with it stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_free(provider: *mut cmk_local_provider) {
    free!(provider)
}

/// The versions of all keys of a directory, as they were when it was listed.
pub struct cmk_key_list(Vec<Row>);

struct Row {
    id: CString,
    info: KeyInfo,
}

impl Handle for cmk_key_list {}

impl cmk_key_list {
    fn info(&self, index: usize) -> Option<&KeyInfo> {
        self.0.get(index).map(|row| &row.info)
    }
}

/// Lists all versions of all keys, by name and then by age, the oldest first; destroyed ones included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_local_provider_list(
    provider: *const cmk_local_provider,
    out: *mut *mut cmk_key_list,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); provider = shared(provider); => {
        let rows = provider.0.list()?.into_iter().map(|info| Row { id: c_string(info.id.as_str()), info });
        *out = Box::into_raw(Box::new(cmk_key_list(rows.collect())));
        Ok(())
    })
}

/// How many versions a list has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_len(list: *const cmk_key_list) -> usize {
    value!(0; list = shared(list); => list.0.len())
}

/// The full id of a version, "local:NAME/VERSION"; NULL beyond the end. It lives as long as the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_id(list: *const cmk_key_list, index: usize) -> *const c_char {
    value!(ptr::null(); list = shared(list); => list.0.get(index).map_or(ptr::null(), |row| row.id.as_ptr()))
}

/// The type of a version, a CMK_KEY_TYPE_...; 0 where its file is damaged, or beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_type(list: *const cmk_key_list, index: usize) -> u32 {
    value!(0; list = shared(list); => {
        let kind = list.info(index).and_then(|info| info.key_type);
        TYPES.iter().find(|(_, known)| Some(*known) == kind).map_or(0, |(number, _)| *number)
    })
}

/// What has become of a version: "enabled", "disabled", "destroyed", "half destroyed" or "damaged"; NULL beyond the end. Never to be
/// freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_state(
    list: *const cmk_key_list,
    index: usize,
) -> *const c_char {
    value!(ptr::null(); list = shared(list); => match list.info(index).map(|info| info.state.name()) {
        Some("enabled") => c"enabled".as_ptr(),
        Some("disabled") => c"disabled".as_ptr(),
        Some("destroyed") => c"destroyed".as_ptr(),
        Some("half destroyed") => c"half destroyed".as_ptr(),
        Some(_) => c"damaged".as_ptr(),
        None => ptr::null(),
    })
}

/// Whether a version is the one that wrapping without a version uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_newest(list: *const cmk_key_list, index: usize) -> bool {
    value!(false; list = shared(list); => list.info(index).is_some_and(|info| info.newest))
}

/// Whether only the public half of a version is there, so that it wraps and can't unwrap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_public_only(list: *const cmk_key_list, index: usize) -> bool {
    value!(false; list = shared(list); => list.info(index).is_some_and(|info| info.public_only))
}

/// When a version was made, in seconds since 1970; 0 where its file is damaged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_created(list: *const cmk_key_list, index: usize) -> u64 {
    value!(0; list = shared(list); => list.info(index).and_then(|info| info.created).unwrap_or(0))
}

/// Ends a list and its texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_list_free(list: *mut cmk_key_list) {
    free!(list)
}
