//! Files: the destination appears whole or not at all.

mod atomic;
mod decrypt;
mod encrypt;
mod options;
mod source;
mod stripes;

pub use self::atomic::{AtomicFile, Overwrite};
pub use self::options::{FileOptions, Progress};

#[cfg(test)]
mod tests;
