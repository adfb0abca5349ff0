//! Use cases: what the shop does, in the order in which it does it, on ports only.

pub mod accounts;
pub mod admission;
pub mod fault;
pub mod ids;
pub mod keyed;
pub mod known_sales;
pub mod last_audit;
pub mod orders;
pub mod pace;
pub mod rate;
pub mod sales;
pub mod transact;
