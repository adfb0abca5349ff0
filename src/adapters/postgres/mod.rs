//! PostgreSQL behind the ports. Repositories are functions on `&mut PgConnection`, one file for
//! each table; `*Record`s mirror rows and stay private to their file.

mod bought_repo;
pub mod connect;
mod database_url;
pub mod embedded;
mod error;
pub mod export_repo;
pub mod import_repo;
mod key_repo;
mod lock_repo;
mod look_repo;
mod order_lists;
mod order_repo;
mod paging;
pub mod reads;
pub mod rehearsal_repo;
pub mod report_repo;
mod sale_repo;
pub mod schema;
pub mod seed_repo;
pub mod servers;
mod session;
pub mod sessions;
pub mod stats_repo;
pub mod store;
pub mod trust;
mod user_repo;
mod verify_laws;
mod verify_repo;
mod wallet_repo;

pub use error::{store_error, words};
pub use verify_repo::audit_unhurried;
