//! Standard input and output as plain files, and copying between streams.

use std::fs::File;
use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use crate::signals::Signals;

/// As much as a pipe can be made to hold without privileges.
const BUFFER: usize = 1 << 20;

/// Which end of a copy failed.
pub(crate) enum End {
    Reading(io::Error),
    Writing(io::Error),
}

/// Copies to the end; how many bytes, or which end failed after how many.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<u64, (End, u64)> {
    let mut buffer = Zeroizing::new(vec![0; BUFFER]);
    let mut done = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(done),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err((End::Reading(e), done)),
        };
        to.write_all(&buffer[..n])
            .map_err(|e| (End::Writing(e), done))?;
        done += n as u64;
    }
}

/// Standard input, unbuffered.
pub(crate) fn stdin() -> io::Result<File> {
    imp::own(io::stdin())
}

/// Standard output, without the search for line ends that the library's makes.
pub(crate) fn stdout() -> io::Result<File> {
    imp::own(io::stdout())
}

/// A reader that gives up when a signal came, also while it waits for a pipe or a terminal.
pub(crate) struct Interruptible<'a> {
    file: File,
    signals: &'a Signals,
}

impl<'a> Interruptible<'a> {
    pub(crate) fn new(file: File, signals: &'a Signals) -> Self {
        imp::widen(&file, BUFFER);
        Self { file, signals }
    }
}

impl Read for Interruptible<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.signals.stop_asked() {
            if imp::wait(&self.file)? {
                return self.file.read(buffer);
            }
        }
        Err(cmkit::Error::Cancelled.into())
    }
}

/// A writer with room for large writes, where it is a pipe.
pub(crate) fn widened(file: File) -> File {
    imp::widen(&file, BUFFER);
    file
}

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    pub(super) fn own(stream: impl AsFd) -> io::Result<File> {
        Ok(File::from(stream.as_fd().try_clone_to_owned()?))
    }

    /// Whether there is something to read. `false`: not within a quarter of a second, or a signal came.
    pub(super) fn wait(file: &File) -> io::Result<bool> {
        let mut fds = [PollFd::new(file, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 250_000_000,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn widen(file: &File, size: usize) {
        // Not a pipe, or not allowed: it works as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(file, size);
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn widen(_: &File, _: usize) {}
}

#[cfg(windows)]
mod imp {
    use std::fs::File;
    use std::io;
    use std::os::windows::io::AsHandle;

    pub(super) fn own(stream: impl AsHandle) -> io::Result<File> {
        Ok(File::from(stream.as_handle().try_clone_to_owned()?))
    }

    pub(super) fn wait(_: &File) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn widen(_: &File, _: usize) {}
}
