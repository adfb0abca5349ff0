//! HTTP: warp filters route and validate, handlers call the logic, one place writes problems.
//!
//! The rule of this room: **routing may reject, what comes after it answers.** A filter may say
//! "not mine" only about path and method; everything else is a `Result` that ends in an answer, so
//! that a bad body never comes back as another route's 404.

mod answer;
mod audit_desk;
mod body;
mod caller;
mod client;
mod client_address;
mod context;
mod docs;
mod dto;
mod endpoint;
mod fields;
mod head;
mod kept;
mod keyless;
mod member;
mod meters;
mod ops;
mod orders;
mod places;
mod problem;
mod query;
mod rates;
pub mod readers;
mod routes;
mod sales;
mod sales_board;
mod server;
mod stalled;
mod storefront;
mod users;
mod verdict;
mod wallets;

pub use client::{ClientError, HttpClient, HttpReply};
pub use context::{AuthMode, Context, ContextOptions, Phase, PhaseCell};
pub use dto::AuditDto;
pub use problem::{PROBLEMS, ProblemKind};
pub use rates::Rates;
pub use routes::{ROUTES, Route};
pub use server::{Server, ServerOptions, bind, open_connections};
