//! From a command line to a running service and back: everything is put together here, nothing is
//! decided here.

pub mod arguments;
mod audits;
pub mod banner;
mod capacity;
pub mod cli;
pub mod command_line;
pub mod commands;
pub mod config;
pub mod database;
pub mod demo;
mod gauges;
pub mod log_writer;
pub mod monitor;
pub mod operate;
pub mod serve;
pub mod signals;
pub mod telemetry;
mod token;
