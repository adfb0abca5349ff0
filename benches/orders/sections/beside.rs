//! What runs beside orders: observation, and a storm of readers.

use std::time::Duration;

use http::Uri;

use super::crowd::CONNECTIONS;
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::load::{Asked, Counted};
use crate::service::{Kind, Service};

/// The two sides of the cost of observation.
pub(crate) const OBSERVED: &str = "grouped, scraped, JSON logs at info";
pub(crate) const UNOBSERVED: &str = "grouped, not scraped, logs off";
/// The two sides of the read storm.
pub(crate) const READS: &str = "GET /api/sales/{id}";
pub(crate) const LIVE: &str = "GET /livez";
/// How many read at once.
pub(crate) const READERS: u16 = 512;
/// How often Prometheus asks, at its most eager.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// Only the line that says where the service listens.
const QUIET: &[(&str, &str)] = &[("FLASHDEAL_LOG", "off,flashdeal::app::commands=info")];
const LOUD: &[(&str, &str)] = &[("FLASHDEAL_LOG", "info"), ("FLASHDEAL_LOG_FORMAT", "json")];

/// Metrics scraped every second and JSON logs, beside neither.
pub(crate) async fn observation(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    let kind = Kind::Engine("grouped");
    let loud = bench.service_with(kind, &world.url, LOUD).await?;
    let quiet = bench.service_with(kind, &world.url, QUIET).await?;
    for round in 0..bench.options.rounds() {
        bench.settle(&mut world).await?;
        let observed =
            Turn { who: OBSERVED, driver: Driver::Orders(&loud), connections: CONNECTIONS, round };
        let unobserved = Turn { who: UNOBSERVED, driver: Driver::Orders(&quiet), ..observed };
        for both in 0..2 {
            if (both + round) % 2 == 0 {
                tokio::select! {
                    done = bench.turn(&mut world, observed) => done?,
                    failed = scrape(&loud) => return failed,
                }
            } else {
                bench.turn(&mut world, unobserved).await?;
            }
        }
        bench.audit(&mut world).await?;
    }
    loud.stop().await?;
    quiet.stop().await
}

/// Asks for metrics until it is dropped; ends only by failing.
async fn scrape(service: &Service) -> Outcome<()> {
    let mut every = tokio::time::interval(SCRAPE_EVERY);
    loop {
        every.tick().await;
        if service.page("/metrics").await?.is_empty() {
            return Err("the page of metrics is empty".into());
        }
    }
}

/// Reads of one sale beside `/livez`.
pub(crate) async fn reads(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    let service = bench.service(Kind::Engine("grouped"), &world).await?;
    let path = format!("/api/sales/{}", world.sales[0]);
    let sale = Asked::Page(path.parse::<Uri>()?);
    let live = Asked::Page(Uri::from_static("/livez"));
    for round in 0..bench.options.rounds() {
        let mut pages = [(LIVE, &live), (READS, &sale)];
        pages.rotate_left(round as usize % 2);
        for (who, asked) in pages {
            let driver = Driver::Asking(&service, asked, Counted::Shown);
            bench.turn(&mut world, Turn { who, driver, connections: READERS, round }).await?;
        }
        bench.audit(&mut world).await?;
    }
    service.stop().await
}
