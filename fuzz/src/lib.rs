//! What the fuzz targets share: the golden vectors, a provider of their KEKs, and a reader of fuzz input.

#![forbid(unsafe_code)]

mod input;
mod kek;
mod vectors;

pub use input::Input;
pub use kek::Keks;
pub use vectors::{Vector, plaintext, remac, vectors};
