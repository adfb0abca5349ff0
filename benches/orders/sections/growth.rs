//! Does a shop get slower as its tables grow? A million orders beside the first ten thousand.

use super::crowd::CONNECTIONS;
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::load::{self, Counted, Load};
use crate::service::{Kind, Service};
use crate::world::World;

/// The two sides.
pub(crate) const YOUNG: &str = "grouped, 10,000 orders before";
pub(crate) const GROWN: &str = "grouped, a grown table";
/// The figure that says how grown.
pub(crate) const ORDERS_BEFORE: &str = "orders in the grown table";
/// Orders in the smaller tables.
const YOUNG_ORDERS: u32 = 10_000;

/// The section.
pub(crate) async fn run(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut grown = bench.world(1).await?;
    let orders = bench.options.grown();
    grown.grow(orders).await?;
    bench.audit(&mut grown).await?;
    bench.figure(ORDERS_BEFORE, orders.into(), "orders");
    for round in 0..bench.options.rounds() {
        // A cell writes more orders than the smaller tables begin with, so they begin anew.
        let mut young = bench.world(1).await?;
        young.grow(YOUNG_ORDERS).await?;
        if round % 2 == 0 {
            cell(bench, &mut young, YOUNG, round).await?;
            cell(bench, &mut grown, GROWN, round).await?;
        } else {
            cell(bench, &mut grown, GROWN, round).await?;
            cell(bench, &mut young, YOUNG, round).await?;
        }
        bench.audit(&mut young).await?;
    }
    bench.audit(&mut grown).await
}

/// A checkpoint, and orders that do not count: behind a checkpoint the first touch of a page logs
/// all of it, and a grown index has more pages to touch than a short cell could pay for.
async fn cell(bench: &mut Bench<'_>, world: &mut World, who: &str, round: u32) -> Outcome<()> {
    let service: Service = bench.service(Kind::Engine("grouped"), world).await?;
    world.checkpoint().await?;
    let load = Load {
        address: service.address,
        asked: world.orders(),
        counted: Counted::Confirmed,
        connections: CONNECTIONS,
        lasting: bench.options.counted(),
    };
    load::drive(&load).await?;
    let driver = Driver::Orders(&service);
    bench.turn(world, Turn { who, driver, connections: CONNECTIONS, round }).await?;
    service.stop().await
}
