//! The file system: a directory, and in it the file that is the disk.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use cmkit::Result;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use super::event_loop::{flushes_io, with_buffer};
use super::{FILE, errno};
use crate::device::{BlockDevice, Durability, ExtentKind, Zeroes};

const DIR_INO: INodeNo = INodeNo::ROOT;
const FILE_INO: INodeNo = INodeNo(2);

/// Nothing but the file's content ever changes.
const FOR_LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// The largest request: what Linux gives at most unless `fs.fuse.max_pages_limit` is raised.
pub(super) const MAX_REQUEST: u32 = 1 << 20;

/// Requests that the kernel lets wait here before it makes their senders wait.
const MAX_BACKGROUND: u16 = 128;

/// The bits of fallocate(2) and lseek(2).
const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

pub(super) struct Disk {
    device: Arc<dyn BlockDevice>,
    len: u64,
    read_only: bool,
    block_size: u32,
    uid: u32,
    gid: u32,
    born: SystemTime,
    stopped: Arc<AtomicBool>,
    /// Told when the session has ended.
    ended: Sender<()>,
}

impl Disk {
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        stopped: Arc<AtomicBool>,
        ended: Sender<()>,
    ) -> Self {
        let geometry = device.geometry();
        Self {
            len: device.len(),
            read_only: geometry.read_only,
            block_size: geometry.block_size,
            device,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            born: SystemTime::now(),
            stopped,
            ended,
        }
    }

    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, size, perm, nlink) = match ino {
            DIR_INO => (FileType::Directory, 0, 0o700, 2),
            FILE_INO if self.read_only => (FileType::RegularFile, self.len, 0o400, 1),
            FILE_INO => (FileType::RegularFile, self.len, 0o600, 1),
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: self.born,
            mtime: self.born,
            ctime: self.born,
            crtime: self.born,
            kind,
            perm,
            nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: self.block_size,
            flags: 0,
        })
    }

    /// Nothing for anything but the file, and nothing any more once stopped.
    fn check(&self, ino: INodeNo) -> Result<(), Errno> {
        if ino != FILE_INO {
            Err(Errno::EISDIR)
        } else if self.stopped.load(Ordering::SeqCst) {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    /// How much of a request lies on the disk.
    fn on_disk(&self, offset: u64, len: u64) -> u64 {
        len.min(self.len.saturating_sub(offset))
    }

    fn write_part(
        &self,
        ino: INodeNo,
        data: &[u8],
        offset: u64,
        durability: Durability,
    ) -> Result<u32, Errno> {
        self.check(ino)?;
        let len = self.on_disk(offset, data.len() as u64);
        if len == 0 && !data.is_empty() {
            // As on a device that is full.
            return Err(Errno::ENOSPC);
        }
        let len = u32::try_from(len).map_err(|_| Errno::EINVAL)?;
        let written = self
            .device
            .write_at(&data[..len as usize], offset, durability);
        written.map_err(|e| errno::of(&e)).map(|()| len)
    }

    fn zero_part(&self, ino: INodeNo, offset: u64, len: u64, mode: i32) -> Result<(), Errno> {
        self.check(ino)?;
        // A hole has to read as zeros: the kernel's loop device makes holes for "discard" and for "write zeroes" alike. Advice wouldn't do.
        let zeroes = match mode & !KEEP_SIZE {
            PUNCH_HOLE => Zeroes::MayPunch,
            ZERO_RANGE => Zeroes::KeepRoom,
            // Room taken in advance: the disk has all of it.
            0 if self.on_disk(offset, len) == len => return Ok(()),
            0 => return Err(Errno::ENOSPC),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let within = self.on_disk(offset, len);
        if within < len && mode & KEEP_SIZE == 0 {
            return Err(Errno::ENOSPC);
        }
        let done = self
            .device
            .write_zeroes(offset, within, zeroes, Durability::Cached);
        done.map_err(|e| errno::of(&e))
    }

    fn find(&self, ino: INodeNo, offset: u64, whence: i32) -> Result<u64, Errno> {
        self.check(ino)?;
        let wanted = match whence {
            SEEK_DATA => ExtentKind::Data,
            SEEK_HOLE => ExtentKind::Zero,
            _ => return Err(Errno::EINVAL),
        };
        if offset >= self.len {
            return Err(Errno::ENXIO);
        }
        let mut at = offset;
        let mut found = false;
        let result = self
            .device
            .extents(offset, self.len - offset, &mut |extent| {
                found = extent.kind == wanted;
                if !found {
                    at += extent.len;
                }
                !found
            });
        result.map_err(|e| errno::of(&e))?;
        match (found, wanted) {
            (true, _) => Ok(at),
            // A file ends with a hole.
            (false, ExtentKind::Zero) => Ok(self.len),
            (false, ExtentKind::Data) => Err(Errno::ENXIO),
        }
    }
}

impl Filesystem for Disk {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // An older kernel goes without.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        let _ = config.set_max_write(MAX_REQUEST);
        let _ = config.set_max_background(MAX_BACKGROUND);
        if let Err(most) = config.set_max_readahead(MAX_REQUEST) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn destroy(&mut self) {
        let _ = self.ended.send(());
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attr(FILE_INO) {
            Some(attr) if parent == DIR_INO && name == FILE => {
                reply.entry(&FOR_LONG, &attr, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Some(attr) => reply.attr(&FOR_LONG, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Times are accepted and forgotten.
        let same = size.is_none_or(|size| size == self.len);
        match self.attr(ino) {
            Some(attr) if same && mode.is_none() && uid.is_none() && gid.is_none() => {
                reply.attr(&FOR_LONG, &attr);
            }
            Some(_) => reply.error(Errno::EPERM),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.check(ino) {
            // Past the page cache, where plaintext would stay behind and be readable when the disk no longer is.
            Ok(()) => reply.opened(
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Err(errno) = self.check(ino) {
            return reply.error(errno);
        }
        let len = self.on_disk(offset, size.into());
        with_buffer(len, |data| match self.device.read_at(data, offset) {
            Ok(()) => reply.data(data),
            Err(error) => reply.error(errno::of(&error)),
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        flushes_io();
        match self.write_part(ino, data, offset, durability(flags)) {
            Ok(len) => reply.written(len),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Said at each close; what must be durable is said by fsync.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self
            .check(ino)
            .and_then(|()| self.device.flush().map_err(|e| errno::of(&e)));
        answer(done, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        if ino != DIR_INO {
            return reply.error(Errno::ENOTDIR);
        }
        let mut reply = reply;
        let entries = [
            (DIR_INO, FileType::Directory, "."),
            (DIR_INO, FileType::Directory, ".."),
            (FILE_INO, FileType::RegularFile, FILE),
        ];
        for (next, (ino, kind, name)) in (1..).zip(entries) {
            if next > offset && reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = self.len / u64::from(self.block_size);
        reply.statfs(blocks, 0, 0, 1, 0, self.block_size, 255, self.block_size);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        flushes_io();
        answer(self.zero_part(ino, offset, length, mode), reply);
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = u64::try_from(offset)
            .map_err(|_| Errno::EINVAL)
            .and_then(|offset| self.find(ino, offset, whence));
        match found.map(i64::try_from) {
            Ok(Ok(at)) => reply.offset(at),
            Ok(Err(_)) => reply.error(Errno::EOVERFLOW),
            Err(errno) => reply.error(errno),
        }
    }
}

fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// Programs that open the file with `O_SYNC` or `O_DSYNC` rely on each write.
fn durability(flags: OpenFlags) -> Durability {
    let dsync = rustix::fs::OFlags::DSYNC.bits();
    if flags.0.cast_unsigned() & dsync == 0 {
        Durability::Cached
    } else {
        Durability::Durable
    }
}
