//! Directories that only their owner changes, and the JSON files in them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use cmkit::{AtomicFile, Error, Overwrite, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{io as failed, io_at};

/// Bytes in a file, at most; ours have a few thousand.
const MAX_LEN: u64 = 1 << 20;

/// Makes sure that a directory is there (new ones get mode 0700), belongs to this user, and can't be written by others.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    if !exists(path)? {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let name = path.display().to_string();
        builder.create(path).map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => not_permitted(
                path,
                "this user may not make it; make it first, owned by this user",
            ),
            _ => failed("create", &name, e),
        })?;
    }
    check_dir(path)
}

fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_at("look at", path, e)),
    }
}

/// The same for one that has to be there.
pub(crate) fn check_dir(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path);
    let metadata = metadata.map_err(|e| io_at("look at", path, e))?;
    if metadata.is_symlink() {
        return Err(not_permitted(
            path,
            "it is a symbolic link, which somebody else may have made; name the directory itself",
        ));
    }
    if !metadata.is_dir() {
        return Err(Error::InvalidArgument {
            problem: format!("{}: it is not a directory", path.display()),
        });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(not_permitted(
            path,
            &format!(
                "it belongs to user {}, and this is user {user}; use a directory of this user's own",
                metadata.uid()
            ),
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(not_permitted(
            path,
            "others may write to it; run `chmod go-w` on it after a look at what is in it",
        ));
    }
    Ok(())
}

fn not_permitted(path: &Path, problem: &str) -> Error {
    Error::NotPermitted {
        problem: format!("{}: {problem}", path.display()),
    }
}

/// Whether a name is a file's: 1 to 64 of `0-9A-Za-z._-`, the first no dot.
pub(crate) fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        problem: format!(
            "{name:?} can't be {what}'s name: that is 1 to 64 of the characters 0-9 A-Z a-z . _ - and begins with no dot"
        ),
    })
}

/// Puts a file in the place of an old one, in one step and on the disk. Mode 0600.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::InvalidArgument {
        problem: format!("{}: it can't be written as JSON: {e}", path.display()),
    })?;
    text.push(b'\n');
    let mut file = AtomicFile::create(path, Overwrite::Replace)?;
    let written = file.write_all(&text);
    written.map_err(|e| io_at("write", path, e))?;
    file.commit(None)
}

/// `None`: there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let name = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("open", &name, e)),
    };
    let mut text = Vec::new();
    let read = file.take(MAX_LEN + 1).read_to_end(&mut text);
    read.map_err(|e| failed("read", &name, e))?;
    if text.len() as u64 > MAX_LEN {
        return Err(Error::InvalidArgument {
            problem: format!("{name}: it is longer than {MAX_LEN} bytes, and not cmkit's"),
        });
    }
    let value = serde_json::from_slice(&text).map_err(|e| Error::InvalidArgument {
        problem: format!("{name}: it isn't what cmkit wrote: {e}; look at it and move it away"),
    })?;
    Ok(Some(value))
}

/// The names of the JSON files in a directory, without `.json`, sorted. None where there is no directory.
pub(crate) fn json_names(dir: &Path) -> Result<Vec<String>> {
    let fail = |e| io_at("list", dir, e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        // Not the temporary files of a process that was killed.
        if let Some(name) = name.to_str().and_then(|n| n.strip_suffix(".json"))
            && is_name(name)
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cmkit::ErrorKind;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    #[test]
    fn a_directory_is_made_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_dir(&path).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let refusal = |path: &Path| private_dir(path).unwrap_err();

        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(refusal(&link).to_string().contains("symbolic link"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(refusal(&file).kind(), ErrorKind::InvalidArgument);
        for mode in [0o720, 0o702, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(refusal(&path).kind(), ErrorKind::AccessDenied);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(65534), None).unwrap();
            let refused = refusal(&path);
            assert_eq!(refused.kind(), ErrorKind::AccessDenied);
            assert!(refused.to_string().contains("user 65534"), "{refused}");
        }
    }

    #[test]
    fn names() {
        for good in ["a", "job-7", "A.b_c", "0.json", &"x".repeat(64)] {
            check_name("a job", good).unwrap();
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "a/b",
            "a b",
            "é",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(check_name("a job", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_ours_is_an_error_and_not_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.json");
        assert!(read_json::<Vec<u8>>(&path).unwrap().is_none());
        for text in ["", "{", "{}", "[300]", "\u{0}"] {
            fs::write(&path, text).unwrap();
            let error = read_json::<Vec<u8>>(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        File::create(&path).unwrap().set_len(MAX_LEN + 1).unwrap();
        let error = read_json::<Vec<u8>>(&path).unwrap_err();
        assert!(error.to_string().contains("longer"));
    }
}
