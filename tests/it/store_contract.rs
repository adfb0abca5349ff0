//! One suite for both lives of the store's port: what an engine may rely on, statement by
//! statement (`keys`, `records`), what only PostgreSQL must guard against (`guards`), and groups of
//! orders on both stores and against the same orders one by one (`groups`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use flashdeal::adapters::memory::MemoryStore;
use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::domain::id::{Id, UserId};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::support::postgres::TestDatabase;
use worlds::year;

/// Runs each function on a fresh store of each kind and checks the books behind it.
macro_rules! on_both_stores {
    ($($test:ident,)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $test() {
                let store = crate::store_contract::memory().await;
                super::$test(&store).await;
                let found = flashdeal::domain::books::check(&store.world().await.books);
                assert!(found.is_empty(), "{found:#?}");
            })*
        }
        mod on_postgresql {
            $(#[tokio::test]
            async fn $test() {
                let (store, database) = crate::store_contract::postgresql().await;
                super::$test(&store).await;
                crate::support::service::assert_balanced(&database).await;
            })*
        }
    };
}

mod entering;
mod groups;
mod guards;
mod keys;
mod plans;
mod records;
mod resting;
pub(crate) mod worlds;

const BUYER: UserId = Id::new(Uuid::from_u128(0xb1));
const OTHER: UserId = Id::new(Uuid::from_u128(0xb2));
const SALE: u128 = 0x5a1e;

/// A store in memory whose clock stands.
async fn memory() -> MemoryStore {
    let store = MemoryStore::default();
    store.world().await.now = year(2026);
    store
}

/// A store on a database of its own.
async fn postgresql() -> (PgStore, TestDatabase) {
    let database = TestDatabase::create().await;
    let pool = PgPoolOptions::new().max_connections(12);
    let pool = pool.connect_with(database.options()).await.unwrap();
    (PgStore::admitted(pool), database)
}
