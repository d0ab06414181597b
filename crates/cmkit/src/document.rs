//! Data in memory: one call, one envelope.

mod compact;
mod open;
mod seal;

pub use self::open::decrypted_len;

#[cfg(test)]
pub(crate) mod tests;
