//! What every test stands on.
//!
//! * `postgres`: one real server for the whole run, a database for each test, cloned from a
//!   migrated template.
//! * `service`: the service, in this process (`Service::start`), with its own database and a port
//!   that the system picks; `finish` checks the books and stops it.
//! * `api`: one call over HTTP; the answer is checked against `openapi.yaml` before a test sees it.
//! * `crowd`: many requests over keep-alive connections, until each answer is definite.
//! * `contract`: `openapi.yaml` as a judge of answers.
//! * `data_dir`: a data directory of the embedded server, seen from outside.
//! * `load`: buyers who go on while the service dies under them.
//! * `openssl`: real keys and certificates.
//! * `process`: the real binary as a child process, for what only a process can suffer.

pub(crate) mod api;
pub(crate) mod contract;
pub(crate) mod crowd;
pub(crate) mod data_dir;
pub(crate) mod load;
pub(crate) mod locks;
pub(crate) mod openssl;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod service;

pub(crate) use service::Service;

/// How orders may be decided (`FLASHDEAL_ENGINE`).
pub(crate) const ENGINES: [&str; 3] = ["grouped", "pessimistic", "optimistic"];
