//! Keys from elsewhere and to elsewhere.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use cmkit::{AtomicFile, KeyId, KeyRef, LocalKeyProvider, Overwrite, SecretBytes};

use super::{failed, print};
use crate::args::PublicFormat;
use crate::failure::{Doing, Failure, Result};
use crate::pipe;
use crate::place::cannot;

/// Bytes in the longest key file.
const MAX_LEN: u64 = 64 * 1024;

pub(super) fn import(provider: &LocalKeyProvider, key: &KeyRef, path: &Path) -> Result {
    let text = read(path)?;
    let id = provider
        .import(key, text.expose())
        .map_err(|e| failed(e.in_file(path)))?;
    print(&format!("{id}\n"))
}

/// The file, wiped when it is dropped.
fn read(path: &Path) -> Result<SecretBytes> {
    let file = if path.as_os_str() == "-" {
        pipe::stdin()
    } else {
        File::open(path)
    };
    let file = file.map_err(|e| cannot("open", path, &e))?;
    // Sized beforehand: a buffer that grows would leave pieces of the key behind.
    let mut text = Vec::with_capacity(usize::try_from(MAX_LEN + 2).unwrap_or_default());
    let read = file.take(MAX_LEN + 1).read_to_end(&mut text);
    let text = SecretBytes::new(text);
    read.map_err(|e| cannot("read", path, &e))?;
    Ok(text)
}

pub(super) fn export(
    provider: &LocalKeyProvider,
    key: &KeyRef,
    public: Option<PublicFormat>,
    output: Option<&Path>,
    force: bool,
) -> Result {
    let id = version(provider, key)?;
    let output = output.filter(|path| path.as_os_str() != "-");
    if let Some(format) = public {
        let text = match format {
            PublicFormat::Pem => provider.export_public(&id),
            PublicFormat::Jwk => provider.export_public_jwk(&id),
        };
        return write(text.map_err(failed)?.as_bytes(), output, force);
    }
    if output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a KEK in the clear is not written to a terminal; name a file with `-o`, or pipe it on",
        ));
    }
    let text = provider.export(&id).map_err(failed)?;
    write(text.expose(), output, force)
}

/// The version meant: the newest where none is given.
fn version(provider: &LocalKeyProvider, key: &KeyRef) -> Result<KeyId> {
    if let Some(version) = key.version() {
        return key.with_version(version).map_err(failed);
    }
    let versions = provider.show(key).map_err(failed)?;
    let newest = versions.into_iter().find(|v| v.newest);
    newest
        .map(|v| v.id)
        .ok_or_else(|| Failure::usage(format!("key {key} has no version to export")))
}

fn write(text: &[u8], output: Option<&Path>, force: bool) -> Result {
    let Some(path) = output else {
        let mut stdout = pipe::stdout().map_err(|e| Failure::print(&e))?;
        return stdout.write_all(text).map_err(|e| Failure::print(&e));
    };
    let overwrite = if force {
        Overwrite::Replace
    } else {
        Overwrite::Refuse
    };
    // Its mode is 0600 unless told otherwise.
    let mut file =
        AtomicFile::create(path, overwrite).map_err(|e| Failure::of(&e, Doing::Encrypt))?;
    file.write_all(text)
        .map_err(|e| cannot("write", path, &e))?;
    file.commit(None)
        .map_err(|e| Failure::of(&e.in_file(path), Doing::Encrypt))
}
