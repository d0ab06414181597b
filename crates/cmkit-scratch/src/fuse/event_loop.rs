//! What each of fuser's event loops has for itself.

use std::cell::RefCell;

use zeroize::Zeroize;

use super::disk::MAX_REQUEST;

/// Plaintext on its way to the kernel; one for each event loop, erased when that ends.
struct Buffer(Vec<u8>);

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Calls `work` with room for an answer.
pub(super) fn with_buffer(len: u64, work: impl FnOnce(&mut [u8])) {
    thread_local! {
        static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer(Vec::new())) };
    }
    flushes_io();
    // The kernel asks for no more than 32 bits say.
    let len = usize::try_from(len).unwrap_or(0);
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.0.len() < len {
            // Growing could leave a copy behind.
            buffer.0.zeroize();
            buffer.0 = vec![0; len.next_multiple_of(MAX_REQUEST as usize)];
        }
        work(&mut buffer.0[..len]);
    });
}

/// Tells the kernel once that this thread is what memory is written back through: when memory is short it must not wait for its own disk.
pub(super) fn flushes_io() {
    thread_local! {
        static TOLD: () = {
            // For root only; a user's disk doesn't carry a mounted file system.
            let _ = rustix::process::configure_io_flusher_behavior(true);
        };
    }
    TOLD.with(|()| ());
}
