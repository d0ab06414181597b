//! Directories of files, and making names in them durable.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// Brings the names in a directory to the disk: a file that was created, renamed or removed stays so after a crash.
///
/// As far as the system lets this user ask for it: what was done to the names is done, and is no failure for that.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    // Windows has no such call, and needs none.
    if cfg!(unix) {
        match File::open(path).and_then(|d| d.sync_all()) {
            // One may make files in directories that one may not read; read-only and some network file systems have nothing to wait for.
            Err(e) if !can_not_be_asked(e.kind()) => return Err(Error::io_at("sync", path, e)),
            _ => {}
        }
    }
    Ok(())
}

/// The directory that a file is in, or will be.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn can_not_be_asked(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::Unsupported
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Root may read every directory; for anybody else this one can't be opened.
    #[test]
    fn a_directory_that_may_not_be_read_is_no_failure() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("box");
        std::fs::create_dir(&inside).unwrap();
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o300)).unwrap();
        sync_dir(&inside).unwrap();
        assert!(sync_dir(&dir.path().join("none")).is_err());
    }
}
