//! The system's numbers for cmkit's errors.

use cmkit::Error;
use fuser::Errno;

/// What a program that uses the file gets. The full sentence can't be told here; counters and logs of the disk have it.
pub(super) fn of(error: &Error) -> Errno {
    match error.root() {
        Error::InvalidArgument { .. } => Errno::EINVAL,
        Error::Policy { .. } => Errno::EROFS,
        Error::Busy { .. } => Errno::EBUSY,
        Error::NotPermitted { .. } => Errno::EPERM,
        Error::Io { source, .. } => match source.raw_os_error().map(Errno::from_i32) {
            Some(no_room @ (Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM)) => no_room,
            // Anything else, such as EINTR or EAGAIN, would have the program try again or think of its own mistake.
            _ => Errno::EIO,
        },
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn programs_get_numbers_that_they_understand() {
        let io = |code| Error::Io {
            operation: "write",
            path: None,
            source: Arc::new(io::Error::from_raw_os_error(code)),
        };
        let cases = [
            (Error::DamagedBlock { block: 7 }, Errno::EIO),
            (Error::InvalidState { problem: "gone" }, Errno::EIO),
            (io(Errno::ENOSPC.code()), Errno::ENOSPC),
            (io(Errno::EAGAIN.code()), Errno::EIO),
            (io(Errno::EIO.code()).in_file("x"), Errno::EIO),
        ];
        for (error, expected) in cases {
            assert_eq!(of(&error), expected, "{error}");
        }
    }
}
