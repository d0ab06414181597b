//! Loop devices: a block device that is a file.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cmkit::{Error, Result};

use crate::failure::io_at;
use crate::mount::{check_permitted, table};
use crate::origin::Origin;
use crate::{program, usage};

/// Sectors of a whole block: what is smaller would be read, changed and written here.
const SECTOR: &str = "4096";

/// Between two looks at whether it is gone.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a dropped one waits for itself to go.
const GRACE: Duration = Duration::from_secs(2);

/// Others attach devices, too, and may be faster.
const ATTEMPTS: u32 = 5;

/// A loop device over a file, `/dev/loopN`, with sectors of 4096 bytes.
///
/// Dropping it detaches it, waiting up to 2 s; in a forked child that does nothing.
#[derive(Debug)]
pub struct LoopDevice {
    device: PathBuf,
    backing: PathBuf,
    direct: bool,
    origin: Origin,
    /// Detached: the next of that name is another.
    gone: bool,
}

impl LoopDevice {
    /// Makes a device of a file, whose length must be a multiple of 4096 bytes.
    ///
    /// # Errors
    /// * [`Error::NotPermitted`]: needs root; or `losetup` isn't there (Debian's package `mount`).
    /// * [`Error::Io`]: what `losetup` said.
    pub fn attach(file: &Path) -> Result<Self> {
        check_permitted()?;
        let backing = file.canonicalize().map_err(|e| io_at("open", file, e))?;
        let device = match set_up(&backing, "on") {
            Ok(device) => device,
            // An older kernel, or a file system that can't: slower, through the page cache.
            Err(first) => set_up(&backing, "off").map_err(|_| first)?,
        };
        let mut attached = Self {
            direct: false,
            device,
            backing,
            origin: Origin::here(),
            gone: false,
        };
        attached.direct = attached.read("dio").is_some_and(|text| text == b"1");
        Ok(attached)
    }

    /// The device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.device
    }

    /// The file.
    #[must_use]
    pub fn backing(&self) -> &Path {
        &self.backing
    }

    /// Whether it goes past the page cache. If not, which is when the file's system refuses, what is written is in memory twice, and slower.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Detaches it; see [`detach_path`].
    ///
    /// # Errors
    /// * Those of [`detach_path`].
    pub fn detach(&mut self, deadline: Instant) -> Result<()> {
        if !self.gone && self.origin.is_here() {
            detach_path(&self.device, &self.backing, deadline)?;
            self.gone = true;
        }
        Ok(())
    }

    fn read(&self, attribute: &str) -> Option<Vec<u8>> {
        attribute_of(&self.device, attribute)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = self.detach(Instant::now() + GRACE);
    }
}

/// Detaches a loop device if it is over `backing`, and waits until it really is gone. Otherwise: nothing.
///
/// # Errors
/// * [`Error::Busy`]: still in use at the deadline, by whom; it goes by itself when that ends.
/// * [`Error::NotPermitted`], [`Error::Io`]: as for [`LoopDevice::attach`].
pub fn detach_path(device: &Path, backing: &Path, deadline: Instant) -> Result<()> {
    if !is_over(device, backing) {
        return Ok(());
    }
    // A device that is in use is only marked to go with its last user, and that is a success.
    if let Err(error) = program::run("losetup", &[Path::new("-d"), device], device)
        && is_over(device, backing)
    {
        return Err(error);
    }
    while is_over(device, backing) {
        if Instant::now() >= deadline {
            return Err(busy(device)?);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The loop devices over a file, given as an absolute path without links.
#[must_use]
pub fn find(backing: &Path) -> Vec<PathBuf> {
    let found = all().into_iter().filter(|(_, file)| file == backing);
    found.map(|(device, _)| device).collect()
}

/// All loop devices that are in use, and their files.
pub(crate) fn all() -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .filter(|entry| entry.file_name().as_bytes().starts_with(b"loop"))
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .filter_map(|device| Some((backing_of(&device)?, device)))
        .map(|(backing, device)| (device, backing))
        .collect();
    all.sort();
    all
}

/// A device's file. Of one that was unlinked the name that it had.
fn backing_of(device: &Path) -> Option<PathBuf> {
    let mut name = attribute_of(device, "backing_file")?;
    const DELETED: &[u8] = b" (deleted)";
    if name.ends_with(DELETED) {
        name.truncate(name.len() - DELETED.len());
    }
    Some(OsString::from_vec(name).into())
}

fn is_over(device: &Path, backing: &Path) -> bool {
    backing_of(device).is_some_and(|found| found == backing)
}

fn attribute_of(device: &Path, attribute: &str) -> Option<Vec<u8>> {
    let dir = Path::new("/sys/block")
        .join(device.file_name()?)
        .join("loop");
    let mut text = fs::read(dir.join(attribute)).ok()?;
    if text.ends_with(b"\n") {
        text.pop();
    }
    Some(text)
}

fn set_up(backing: &Path, direct: &str) -> Result<PathBuf> {
    let direct = format!("--direct-io={direct}");
    let args = [&direct, "--sector-size", SECTOR, "--show", "--find"].map(Path::new);
    let args = [&args[..], &[backing]].concat();
    let mut attempt = 1;
    loop {
        match program::run("losetup", &args, backing) {
            Ok(name) => return Ok(PathBuf::from(name)),
            Err(error @ Error::NotPermitted { .. }) => return Err(error),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => thread::sleep(PAUSE * attempt),
        }
        attempt += 1;
    }
}

fn busy(device: &Path) -> Result<Error> {
    let rdev = fs::metadata(device)
        .map(|metadata| metadata.rdev())
        .map_err(|e| io_at("open", device, e))?;
    let number = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let users = usage::of_device(number, &table::read()?);
    Ok(Error::Busy {
        problem: format!(
            "{}: in use by {}; it is detached when that ends",
            device.display(),
            usage::list(&users)
        ),
    })
}
