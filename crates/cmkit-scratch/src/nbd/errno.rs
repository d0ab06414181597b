//! The protocol's error numbers, and which of them an error becomes.

use std::io::ErrorKind as IoKind;

use cmkit::Error;

/// The error numbers that the protocol has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Errno {
    Perm = 1,
    Io = 5,
    Inval = 22,
    NoSpc = 28,
    Overflow = 75,
    NotSup = 95,
    Shutdown = 108,
}

impl Errno {
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    /// What a device's error is on the wire.
    ///
    /// A disk that is destroyed never comes back, which is what ESHUTDOWN tells clients; a key that was taken away may be given back: EIO. ENOMEM
    /// isn't sent, as the specification asks.
    pub(super) fn of(error: &Error) -> Self {
        match error.root() {
            Error::InvalidArgument { .. } => Self::Inval,
            Error::InvalidState { .. } => Self::Shutdown,
            Error::Policy { .. } | Error::NotPermitted { .. } => Self::Perm,
            Error::Io { source, .. } => match source.kind() {
                IoKind::StorageFull | IoKind::QuotaExceeded | IoKind::FileTooLarge => Self::NoSpc,
                IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => Self::Perm,
                _ => Self::Io,
            },
            _ => Self::Io,
        }
    }
}
