//! Making names durable.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// Brings the names in a directory to the disk: a file that was created, renamed or removed stays so after a crash.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    // Windows has no such call, and needs none.
    if cfg!(unix) {
        File::open(path)
            .and_then(|d| d.sync_all())
            .map_err(|e| Error::io_at("sync", path, e))?;
    }
    Ok(())
}
