//! The backing that a path names.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use cmkit::{Error, Result};

use super::file::open_error;
use super::{Access, Backing, DeviceBacking, FileBacking};

/// Opens the file or block device of a name, all of it.
///
/// # Errors
/// * [`Error::InvalidArgument`]: it is neither.
/// * Those of [`FileBacking::open`] and [`DeviceBacking::open`].
pub fn open_path(path: &Path, access: Access) -> Result<Box<dyn Backing>> {
    let metadata = fs::metadata(path).map_err(|e| open_error("open", path, e))?;
    let kind = metadata.file_type();
    // Either looks again at what it has opened.
    if kind.is_file() {
        Ok(Box::new(FileBacking::open(path, access)?))
    } else if kind.is_block_device() {
        Ok(Box::new(DeviceBacking::open(path, access)?))
    } else {
        let what = if kind.is_dir() {
            "a directory"
        } else {
            "something else"
        };
        Err(Error::InvalidArgument {
            problem: format!(
                "{}: it is {what}; a disk's bytes go to a regular file or a block device",
                path.display()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cmkit::ErrorKind;

    #[test]
    fn files_and_devices_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, [0; 100]).unwrap();
        assert_eq!(open_path(&file, Access::ReadOnly).unwrap().len(), 100);
        for path in [dir.path(), Path::new("/dev/null")] {
            let error = open_path(path, Access::ReadWrite).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("regular file or a block device"));
        }
        let none = open_path(&dir.path().join("none"), Access::ReadWrite);
        assert_eq!(none.err().unwrap().kind(), ErrorKind::Io);
    }
}
