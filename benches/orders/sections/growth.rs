//! Does a shop get slower as its tables grow? A million orders beside the first ten thousand.

use std::time::Duration;

use super::crowd::CONNECTIONS;
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::load::{self, Counted, Load};
use crate::service::{Kind, Service};
use crate::world::World;

/// The two sides.
pub(crate) const YOUNG: &str = "grouped, 10,000 orders before";
pub(crate) const GROWN: &str = "grouped, a grown table";
/// The larger tables right behind a checkpoint.
pub(crate) const BEHIND_CHECKPOINT: &str = "grouped, a grown table behind a checkpoint";
/// The figure that says how grown.
pub(crate) const ORDERS_BEFORE: &str = "orders in the grown table";
/// Counted times that go by before most pages of the larger tables have been touched.
const TOUCHING: u32 = 4;
/// Orders in the smaller tables.
const YOUNG_ORDERS: u32 = 10_000;

/// The section. A cell writes more orders than the smaller tables begin with, and a round a third
/// of what the larger ones do, so both begin anew in each.
pub(crate) async fn run(bench: &mut Bench<'_>) -> Outcome<()> {
    let orders = bench.options.grown();
    bench.figure(ORDERS_BEFORE, orders.into(), "orders");
    for round in 0..bench.options.rounds() {
        let mut grown = bench.world(1).await?;
        grown.grow(orders).await?;
        let mut young = bench.world(1).await?;
        young.grow(YOUNG_ORDERS).await?;
        if round % 2 == 0 {
            on_young(bench, &mut young, round).await?;
            on_grown(bench, &mut grown, round).await?;
        } else {
            on_grown(bench, &mut grown, round).await?;
            on_young(bench, &mut young, round).await?;
        }
        bench.audit(&mut young).await?;
        bench.audit(&mut grown).await?;
        // What is left in place would be vacuumed while the next round is measured.
        bench.server.clear().await?;
    }
    Ok(())
}

async fn on_young(bench: &mut Bench<'_>, world: &mut World, round: u32) -> Outcome<()> {
    let service = bench.service(Kind::Engine("grouped"), world).await?;
    world.checkpoint().await?;
    warm(&service, world, bench.options.counted()).await?;
    cell(bench, world, &service, YOUNG, round).await?;
    service.stop().await
}

/// Once at its worst and once in its ordinary state. Behind a checkpoint the first touch of a page
/// logs all of it. Small tables have soon touched all theirs; the random keys of a grown index take
/// many orders to do so.
async fn on_grown(bench: &mut Bench<'_>, world: &mut World, round: u32) -> Outcome<()> {
    let service = bench.service(Kind::Engine("grouped"), world).await?;
    world.checkpoint().await?;
    cell(bench, world, &service, BEHIND_CHECKPOINT, round).await?;
    warm(&service, world, bench.options.counted() * TOUCHING).await?;
    cell(bench, world, &service, GROWN, round).await?;
    service.stop().await
}

async fn cell(
    bench: &mut Bench<'_>,
    world: &mut World,
    service: &Service,
    who: &str,
    round: u32,
) -> Outcome<()> {
    let driver = Driver::Orders(service);
    bench.turn(world, Turn { who, driver, connections: CONNECTIONS, round }).await
}

/// Orders that do not count.
async fn warm(service: &Service, world: &World, lasting: Duration) -> Outcome<()> {
    let load = Load {
        address: service.address,
        asked: world.orders(),
        counted: Counted::Confirmed,
        connections: CONNECTIONS,
        lasting,
    };
    load::drive(&load).await?;
    Ok(())
}
