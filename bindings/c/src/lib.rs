//! libcmkit, the C face of cmkit: `include/cmkit.h` is made from this crate.
//!
//! Every export is a literal `extern "C" fn` whose body is one of the macros of [`call`](mod@call): they check the pointers and catch
//! panics. The doc comments are those of the header, so they speak C.

#![allow(non_camel_case_types, reason = "the names are those of the header")]

#[macro_use]
mod call;

mod arg;
mod structure;

// In the order of the header.
mod result;

mod error;

mod buffer;

mod context;

mod local;

mod callback;

mod sink;

mod provider;

mod identity;

mod key_vault;

mod doctor;

mod key_store;

mod keyring;

mod builder;

mod freshness;

mod audit;

mod document;

mod stream;

mod reader;

mod file;

mod rewrap;

mod rotation;

mod census;

mod inspection;

mod scratch;

pub use audit::*;
pub use buffer::*;
pub use builder::*;
pub use callback::*;
pub use census::*;
pub use context::*;
pub use doctor::*;
pub use document::*;
pub use error::*;
pub use file::*;
pub use freshness::*;
pub use identity::*;
pub use inspection::*;
pub use key_store::*;
pub use key_vault::*;
pub use keyring::*;
pub use local::*;
pub use provider::*;
pub use reader::*;
pub use result::*;
pub use rewrap::*;
pub use rotation::*;
pub use scratch::*;
pub use sink::*;
pub use stream::*;

#[cfg(test)]
mod tests;
