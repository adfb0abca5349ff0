//! What every test stands on.
//!
//! * `postgres`: one real server for the whole run, a database for each test, cloned from a
//!   migrated template.
//! * `service`: the service, in this process (`Service::start`), with its own database and a port
//!   that the system picks; `finish` checks the books and stops it.
//! * `api`: one call over HTTP; the answer is checked against `openapi.yaml` before a test sees it.
//! * `crowd`: many requests over keep-alive connections, until each answer is definite.
//! * `contract`: `openapi.yaml` as a judge of answers.
//! * `locks`: rows held by a session of the test's own, and waits on what the server shows.
//! * `relay`: a wire to PostgreSQL that breaks where it is told to.
//! * `process`: the real binary as a child process, for what only a process can suffer.

#![allow(dead_code, reason = "modules arrive one by one")]

pub(crate) mod api;
pub(crate) mod contract;
pub(crate) mod crowd;
pub(crate) mod locks;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod service;

pub(crate) use service::Service;
