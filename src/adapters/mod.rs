//! The shell: everything that touches a process, a socket, a file or another system.

mod claims;
mod followed;
pub mod http;
mod jwks;
pub mod key_file;
pub mod memory;
pub mod postgres;
pub mod secrets;
pub mod token;
