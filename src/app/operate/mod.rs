//! The operator's commands around a sale.
//!
//! | when | command | rooms |
//! |---|---|---|
//! | weeks before | `import users FILE` | `import`, `user_file` |
//! | the day before | `rehearse` | `rehearse`, `stage`, `interrupts`, `verdict` |
//! | its buyers | | `crowd`, `press`, `latency` |
//! | the day after | `report --sale ID` | `report`, `metrics_page` |
//! | for a try | `seed` | `seed` |
//! | the day after | `export orders\|ledger\|sales` | `export` |
//!
//! Results go to standard output, progress and sentences to standard error. Exit codes are 0, 1
//! (it failed, or the books are off) and 2 (it was asked wrongly).

pub mod crowd;
pub(super) mod export;
pub(super) mod import;
mod interrupts;
pub mod latency;
mod metrics_page;
pub(super) mod output;
pub mod press;
mod progress;
pub(super) mod rehearse;
pub(super) mod report;
pub(super) mod seed;
mod stage;
mod user_file;
mod verdict;
