//! libcmkit, the C face of cmkit: `include/cmkit.h` is made from this crate.
//!
//! Every export is a literal `extern "C" fn` whose body is one of the macros of [`call`](mod@call): they check the pointers and catch
//! panics. The doc comments are those of the header, so they speak C.

#![allow(non_camel_case_types, reason = "the names are those of the header")]

#[macro_use]
mod call;

mod arg;

// In the order of the header.
mod result;

mod error;

mod buffer;

mod context;

mod local;

mod keyring;

mod builder;

mod document;

mod inspection;

pub use buffer::*;
pub use builder::*;
pub use context::*;
pub use document::*;
pub use error::*;
pub use inspection::*;
pub use keyring::*;
pub use local::*;
pub use result::*;

#[cfg(test)]
mod tests;
