//! The private module `cmkit._cmkit`: what the Python package `cmkit` calls.
//!
//! Every function that Python can call has one body, inside [`error::guard`]: a panic becomes an `InternalError`, never a
//! `PanicException`. No lock of ours is held while waiting for the interpreter.

mod arguments;
mod audit;
#[cfg(target_os = "linux")]
mod block_device;
mod block_key;
mod buffer;
mod census;
mod credential;
mod document;
mod error;
mod file;
mod inspect;
mod interrupt;
mod kek;
mod key_store;
mod keyring;
mod large;
mod local;
mod maintenance;
#[cfg(target_os = "linux")]
mod nbd;
mod owned;
mod policy;
mod provider;
mod pyfile;
mod raised;
mod reader;
mod rotation;
#[cfg(target_os = "linux")]
mod scratch;
mod streams;
mod vault;
#[cfg(target_os = "linux")]
mod volume;
mod xts_key;

use pyo3::prelude::*;

#[pymodule(name = "_cmkit")]
mod module {
    #[pymodule_export]
    use crate::block_key::BlockKey;
    #[pymodule_export]
    use crate::census::Census;
    #[pymodule_export]
    use crate::inspect::{decrypted_len, default_dir, header_len, inspect, is_envelope};
    #[pymodule_export]
    use crate::kek::KeyEncryptionKey;
    #[pymodule_export]
    use crate::key_store::DirectoryKeyStore;
    #[pymodule_export]
    use crate::keyring::Keyring;
    #[pymodule_export]
    use crate::local::LocalKeyProvider;
    #[pymodule_export]
    use crate::maintenance::MaintenanceContext;
    #[pymodule_export]
    use crate::policy::{AllowHost, DekPolicy, Freshness};
    #[pymodule_export]
    use crate::reader::{RawReader, open_raw_reader};
    #[pymodule_export]
    use crate::rotation::Rotation;
    #[pymodule_export]
    use crate::streams::{
        RawDecryptor, RawEncryptor, open_raw_decryptor, open_raw_encryptor, open_raw_writer,
    };
    #[pymodule_export]
    use crate::vault::KeyVaultProvider;
    #[pymodule_export]
    use crate::xts_key::XtsKey;
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use crate::{
        nbd::NbdServer,
        scratch::{RawScratch, begin_scratch, recover_scratch_in},
        volume::Volume,
    };

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ERROR_CLASSES", crate::error::classes(module.py())?)
    }
}
