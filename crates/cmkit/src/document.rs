//! Data in memory: one call, one envelope.

mod compact;
mod open;
mod seal;

pub(crate) use self::open::open_to_vec;
pub use self::open::{decrypted_len, decrypted_len_of};
pub(crate) use self::seal::seal_to_vec;

#[cfg(test)]
pub(crate) mod tests;
