//! What is measured. Each section has databases of its own, interleaves those whom it compares,
//! and checks the books behind each round.

mod beside;
mod costs;
mod crowd;
mod delay;
mod growth;
mod hot;
mod open;

/// Names of contenders and figures, by which ratios are found.
pub(crate) mod names {
    pub(crate) use super::beside::{LIVE, OBSERVED, READS, UNOBSERVED};
    pub(crate) use super::crowd::{FAILED, SECONDS, SOLD_OUT};
    pub(crate) use super::delay::{GROUPED_1MS, GROUPED_50MS, PESSIMISTIC_50MS};
    pub(crate) use super::growth::{BEHIND_CHECKPOINT, GROWN, ORDERS_BEFORE, YOUNG};
    pub(crate) use super::hot::{
        BARE, ECHO, FUNCTION_CALL, GROUPED, GROUPS, PESSIMISTIC, PESSIMISTIC_ALONE, STATEMENTS,
        memory,
    };
    pub(crate) use super::open::SHARES;
}

use std::time::Duration;

use tokio::time::timeout;

use crate::Outcome;
use crate::bench::Bench;
use crate::options::Section;

/// No section takes longer, whatever happens in it.
const SECTION_MAX: Duration = Duration::from_secs(45 * 60);

/// Runs one section.
pub(crate) async fn run(bench: &mut Bench<'_>, section: Section) -> Outcome<()> {
    bench.section = section;
    let measured = timeout(SECTION_MAX, async {
        match section {
            Section::Hot => hot::run(bench).await,
            Section::Sales => crowd::sales(bench).await,
            Section::SoldOut => crowd::sold_out(bench).await,
            Section::TenThousand => crowd::ten_thousand(bench).await,
            Section::Growth => growth::run(bench).await,
            Section::Open => open::run(bench).await,
            Section::Delay => delay::run(bench).await,
            Section::Costs => costs::run(bench).await,
            Section::Observation => beside::observation(bench).await,
            Section::Reads => beside::reads(bench).await,
        }
    });
    let outcome = measured.await.unwrap_or_else(|_elapsed| Err("it took too long".into()));
    bench.server.clear().await?;
    outcome
}
