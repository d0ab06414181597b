//! A backing on a block device.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cmkit::{Error, Result};
use rustix::fs::OFlags;

use super::file::{flags, open_error, punch_hole};
use super::{Access, Backing, Punched, check, explain_end, read_only};
use crate::aligned::AlignedBuffer;
use crate::failure::{io as failed, len_of};
use crate::mount::table;

/// Bytes that are transferred at once when memory or range isn't aligned.
const BOUNCE: usize = 256 << 10;

/// Buffers that are kept for the next such transfer.
const KEPT: usize = 8;

/// A block device, past the page cache (`O_DIRECT`), with nobody else using it (`O_EXCL`: not mounted, no swap, no part of another device).
///
/// Whole sectors from and to memory that begins at a multiple of the sector size go straight through; anything else takes a copy, and a write of
/// part of a sector reads it first. It has the device's size, rounded down to whole sectors.
///
/// Giving room back needs a device that can write zeros without being sent them; others, also some that know discard, say
/// [`Unsupported`](Punched::Unsupported).
pub struct DeviceBacking {
    file: File,
    len: u64,
    name: String,
    access: Access,
    sector: usize,
    buffers: Mutex<Vec<AlignedBuffer>>,
    /// Held while a part of a sector is replaced: two callers may write its two halves at once.
    partial: Mutex<()>,
}

impl DeviceBacking {
    /// Opens a block device. Symbolic links, such as those in `/dev/disk/by-id`, are followed.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it isn't a block device, or has no medium.
    /// * [`Error::Busy`]: it is mounted or in use otherwise; names the mount point where it is mounted.
    /// * [`Error::NotPermitted`]: this user may not, or the device is read-only and [`Access::ReadWrite`] is asked for.
    /// * [`Error::Io`]: it can't be opened.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let name = path.display().to_string();
        // Before it is opened: opening some devices does something, such as winding a tape.
        let metadata = fs::metadata(path).map_err(|e| open_error("open", path, e))?;
        check_kind(&metadata, &name)?;
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        options.custom_flags(flags(OFlags::EXCL | OFlags::DIRECT));
        let file = open_exclusive(&options, path)
            .map_err(|e| device_error(path, metadata.rdev(), access, e))?;
        // The name may mean something else by now.
        let metadata = file.metadata().map_err(|e| failed("look at", &name, e))?;
        check_kind(&metadata, &name)?;

        // Some drivers open it all the same, and fail each write.
        if access == Access::ReadWrite && is_read_only(metadata.rdev()) {
            return Err(write_protected(&name));
        }
        let sector = rustix::fs::ioctl_blksszget(&file);
        let sector = sector.map_err(|e| failed("get the sector size of", &name, e.into()))?;
        let size = (&file).seek(SeekFrom::End(0));
        let size = size.map_err(|e| failed("get the size of", &name, e))?;
        if !sector.is_power_of_two() || sector as usize > BOUNCE {
            return Err(Error::InvalidArgument {
                problem: format!(
                    "{name}: it has sectors of {sector} bytes, which is not supported"
                ),
            });
        }
        if size < u64::from(sector) {
            return Err(no_medium(&name));
        }
        Ok(Self {
            file,
            len: size - size % u64::from(sector),
            name,
            access,
            sector: sector as usize,
            buffers: Mutex::default(),
            partial: Mutex::default(),
        })
    }

    /// Bytes that the device reads and writes at once: 512 or 4096.
    #[must_use]
    pub fn sector_size(&self) -> usize {
        self.sector
    }

    /// The system's number for this disk, which no other one gets until the machine starts again.
    pub(crate) fn sequence(&self) -> Option<u64> {
        let dir = format!(
            "/sys/dev/block/{}",
            numbers(self.file.metadata().ok()?.rdev())
        );
        // A partition's is its disk's.
        let mut files = ["diskseq", "../diskseq"].iter();
        let text = files.find_map(|file| fs::read_to_string(format!("{dir}/{file}")).ok())?;
        text.trim().parse().ok()
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(read_only()),
        }
    }

    /// Whether a range is whole sectors.
    fn is_whole(&self, offset: u64, len: usize) -> bool {
        (offset | len as u64).is_multiple_of(self.sector as u64)
    }

    fn is_direct(&self, data: &[u8], offset: u64) -> bool {
        self.is_whole(offset, data.len()) && data.as_ptr().addr().is_multiple_of(self.sector)
    }

    /// Calls `work` for each part of a range, with a buffer for the whole sectors around it, where those begin on the device, and where the part
    /// is: in the sectors and in the range.
    fn each(
        &self,
        offset: u64,
        len: usize,
        mut work: impl FnMut(&mut [u8], u64, Part) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            buffers.pop()
        }
        .unwrap_or_else(|| AlignedBuffer::new(BOUNCE));
        let mut done = 0;
        let mut result = Ok(());
        while done < len && result.is_ok() {
            let at = offset + done as u64;
            // Less than a sector.
            let before = usize::try_from(at % self.sector as u64).unwrap_or(0);
            let here = (BOUNCE - before).min(len - done);
            let sectors = (before + here).next_multiple_of(self.sector);
            let part = Part {
                inside: before..before + here,
                done,
            };
            result = work(&mut buffer[..sectors], at - before as u64, part);
            done += here;
        }
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < KEPT {
            buffers.push(buffer);
        }
        result
    }

    /// Fills a buffer's first and last sector, unless the part covers them.
    fn read_edges(&self, sectors: &mut [u8], start: u64, part: &Part) -> io::Result<()> {
        let last = sectors.len() - self.sector;
        let has_head = part.inside.start > 0;
        if has_head {
            self.file
                .read_exact_at(&mut sectors[..self.sector], start)
                .map_err(explain_end)?;
        }
        let has_tail = part.inside.end < sectors.len();
        if has_tail && !(has_head && last == 0) {
            self.file
                .read_exact_at(&mut sectors[last..], start + last as u64)
                .map_err(explain_end)?;
        }
        Ok(())
    }
}

/// A part of a transfer.
struct Part {
    /// Where it is in the sectors.
    inside: std::ops::Range<usize>,
    /// Bytes of the transfer before it.
    done: usize,
}

fn check_kind(metadata: &fs::Metadata, name: &str) -> Result<()> {
    if metadata.file_type().is_block_device() {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        problem: format!("{name}: it is not a block device"),
    })
}

fn no_medium(name: &str) -> Error {
    Error::InvalidArgument {
        problem: format!("{name}: there is no medium in the device, or nothing is attached to it"),
    }
}

fn write_protected(name: &str) -> Error {
    Error::NotPermitted {
        problem: format!("{name}: the device is read-only; nothing can be written to it"),
    }
}

/// Opens a device with `O_EXCL`. A program that is just being started has the descriptors of this process for a moment, and so has one that looks at a new device:
/// what is busy is tried again for a fifth of a second.
pub(crate) fn open_exclusive(options: &OpenOptions, path: &Path) -> io::Result<File> {
    for _ in 0..10 {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
    options.open(path)
}

fn device_error(path: &Path, device: u64, access: Access, error: io::Error) -> Error {
    let name = path.display();
    // Not every one of these has an `ErrorKind`.
    let errno = rustix::io::Errno::from_io_error(&error);
    match errno {
        Some(rustix::io::Errno::BUSY) => Error::Busy {
            problem: busy(&name.to_string(), device),
        },
        Some(rustix::io::Errno::NXIO | rustix::io::Errno::NOMEDIUM) => no_medium(&name.to_string()),
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ROFS)
            if access == Access::ReadWrite && is_read_only(device) =>
        {
            write_protected(&name.to_string())
        }
        _ => open_error("open", path, error),
    }
}

fn busy(name: &str, device: u64) -> String {
    match mount_point(device) {
        Some(point) => {
            format!("{name}: it is mounted on {point}; unmount it if nothing on it is needed")
        }
        None => format!(
            "{name}: it is in use, mounted in part, as swap, or by another device or program; `lsblk {name}` shows more"
        ),
    }
}

fn is_read_only(device: u64) -> bool {
    let path = format!("/sys/dev/block/{}/ro", numbers(device));
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

fn numbers(device: u64) -> String {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    format!("{major}:{minor}")
}

/// Where a device is mounted, as far as this process sees it.
fn mount_point(device: u64) -> Option<String> {
    let number = (rustix::fs::major(device), rustix::fs::minor(device));
    let table = table::read().ok()?;
    let found = table.of_device(number).next();
    found.map(|entry| entry.dir.display().to_string())
}

impl Backing for DeviceBacking {
    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        check(offset, len_of(data), self.len)?;
        if self.is_direct(data, offset) {
            return self.file.read_exact_at(data, offset).map_err(explain_end);
        }
        self.each(offset, data.len(), |sectors, start, part| {
            let read = self.file.read_exact_at(sectors, start);
            read.map_err(explain_end)?;
            let into = &mut data[part.done..part.done + part.inside.len()];
            into.copy_from_slice(&sectors[part.inside]);
            Ok(())
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        check(offset, len_of(data), self.len)?;
        if self.is_direct(data, offset) {
            return self.file.write_all_at(data, offset);
        }
        let _held = (!self.is_whole(offset, data.len()))
            .then(|| self.partial.lock().unwrap_or_else(PoisonError::into_inner));
        self.each(offset, data.len(), |sectors, start, part| {
            self.read_edges(sectors, start, &part)?;
            let from = &data[part.done..part.done + part.inside.len()];
            sectors[part.inside].copy_from_slice(from);
            self.file.write_all_at(sectors, start)
        })
    }

    /// O_DIRECT passes by the page cache, not by the device's own.
    fn flush(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => self.file.sync_data(),
            Access::ReadOnly => Ok(()),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        self.check_writable()?;
        check(offset, len, self.len)?;
        // Whole sectors within; the rest stays taken.
        let sector = self.sector as u64;
        let start = offset.next_multiple_of(sector);
        let end = (offset + len) / sector * sector;
        punch_hole(&self.file, start, end.saturating_sub(start))
    }

    fn is_blocking(&self) -> bool {
        true
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }
}

#[cfg(test)]
mod tests;
