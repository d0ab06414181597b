//! The NBD server against clients that do everything, also what they shouldn't.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod device;
mod errors;
mod handshake;
mod leaving;
mod server;
mod transmission;
