//! The open model: orders arrive by chance, whoever is still waiting. Only here can latency be
//! read as what a buyer would see.

use super::hot::GROUPED;
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::histogram::Histogram;
use crate::service::Kind;

/// Connections that arrivals may use, and those of the closed loop that finds the maximum.
pub(crate) const CONNECTIONS: u16 = 1_024;
/// Shares of the maximum, with the contender's name and the figure's.
pub(crate) const SHARES: [(f64, &str, &str); 2] = [
    (0.5, "grouped, open at 50 %", "p99 at 50 % / median group transaction"),
    (0.8, "grouped, open at 80 %", "p99 at 80 % / median group transaction"),
];

/// The section.
pub(crate) async fn run(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    let service = bench.service(Kind::Engine("grouped"), &world).await?;
    for round in 0..bench.options.rounds() {
        bench.settle(&mut world).await?;
        let turn = Turn {
            who: GROUPED,
            driver: Driver::Orders(&service),
            connections: CONNECTIONS,
            round,
        };
        let before = Histogram::of_groups(&service.page("/metrics").await?);
        bench.turn(&mut world, turn).await?;
        let after = Histogram::of_groups(&service.page("/metrics").await?);
        if let Some(median_ms) = after.median_ms_since(&before) {
            bench.figure("median group transaction, closed loop", median_ms, "ms");
        }
        let most = bench.results.rows.last().map_or(0.0, |row| row.per_second);
        for (share, who, figure) in SHARES {
            let before = Histogram::of_groups(&service.page("/metrics").await?);
            let driver = Driver::Open(&service, (most * share).max(1.0));
            bench.turn(&mut world, Turn { who, driver, ..turn }).await?;
            let after = Histogram::of_groups(&service.page("/metrics").await?);
            let median_ms = after.median_ms_since(&before).ok_or("no group was counted")?;
            bench.figure(&format!("median group transaction, {who}"), median_ms, "ms");
            let p99_ms = bench.results.rows.last().map_or(f64::NAN, |row| row.p99_ms);
            bench.figure(figure, p99_ms / median_ms, "times");
        }
        bench.audit(&mut world).await?;
    }
    service.stop().await
}
