//! The shop's nouns and its one decision: pure, synchronous, without I/O, clocks or frameworks.
//!
//! Everything here can be read, tested and believed without a database. The rest of the house
//! brings facts in (rows, requests, the database's clock) and carries decisions out.

pub mod books;
pub mod decision;
pub mod id;
pub mod key;
pub mod ledger;
pub mod money;
pub mod order;
pub mod quantity;
pub mod refusal;
pub mod sale;
pub mod text;
pub mod user;
pub mod wallet;

/// A moment in UTC. PostgreSQL keeps microseconds, so every instant here has at most six decimals.
pub type Instant = chrono::DateTime<chrono::Utc>;
