//! The shell: everything that touches a process, a socket, a file or another system.

pub mod http;
pub mod memory;
pub mod postgres;
pub mod token;
