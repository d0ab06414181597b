//! The NBD server against clients that do everything, also what they shouldn't.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod device;
mod errors;
mod handshake;
mod leaving;
mod server;
mod transmission;
