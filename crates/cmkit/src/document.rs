//! Data in memory: one call, one envelope.

mod compact;
mod open;
mod seal;

pub use self::open::{decrypted_len, decrypted_len_of};

#[cfg(test)]
pub(crate) mod tests;
