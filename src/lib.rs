//! FlashDeal: a flash-sale order service on PostgreSQL.
//!
//! Seven rooms, one direction: `domain` ← `ports` ← `logic` ← `adapters` ← `app`. The map, with
//! the reasons, is `docs/ARCHITECTURE.md`; the test `tidy` keeps the direction.

pub mod adapters;
pub mod app;
pub mod domain;
pub mod logic;
pub mod ports;

/// Many small requests on several threads: measured, not believed (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
