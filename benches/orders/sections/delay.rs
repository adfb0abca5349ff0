//! A database that is not next door: 1 ms each way, and the seed's case, where one order takes
//! 50 ms.

use std::time::Duration;

use super::crowd::CONNECTIONS;
use super::hot::GROUPED;
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::relay::Relay;
use crate::samples::median;
use crate::service::{Kind, Service};
use crate::world::World;

/// The grouped engine with the database a millisecond away.
pub(crate) const GROUPED_1MS: &str = "grouped, 1 ms each way";
/// The seed's case.
pub(crate) const GROUPED_50MS: &str = "grouped, 50 ms for an order";
pub(crate) const PESSIMISTIC_50MS: &str = "pessimistic, 50 ms for an order";
/// The same over a relay that adds nothing.
const PESSIMISTIC_RELAYED: &str = "pessimistic, relayed without delay";
/// The same over a relay that adds [`PROBE`], about as much as it will be.
const PESSIMISTIC_PROBED: &str = "pessimistic, relayed, 5 ms each way";
const PROBE: Duration = Duration::from_millis(5);
/// At how many connections the distance is compared.
pub(crate) const COMPARED: [u16; 2] = [CONNECTIONS, 1_024];
const ORDER_MS: f64 = 50.0;

/// The section.
pub(crate) async fn run(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    near(bench, &mut world).await?;
    far(bench, &mut world).await
}

/// Local and 1 ms away in turn.
async fn near(bench: &mut Bench<'_>, world: &mut World) -> Outcome<()> {
    let relay = Relay::to(&world.url, Duration::from_millis(1))?;
    let local = bench.service(Kind::Engine("grouped"), world).await?;
    let away = bench.service_with(Kind::Engine("grouped"), relay.url(), &[]).await?;
    for round in 0..bench.options.rounds() {
        bench.settle(world).await?;
        for connections in COMPARED {
            for (who, service) in [(GROUPED, &local), (GROUPED_1MS, &away)] {
                let driver = Driver::Orders(service);
                bench.turn(world, Turn { who, driver, connections, round }).await?;
            }
        }
        bench.audit(world).await?;
    }
    local.stop().await?;
    away.stop().await
}

/// So far away that one order takes 50 ms.
async fn far(bench: &mut Bench<'_>, world: &mut World) -> Outcome<()> {
    let near_ms = lone(bench, world, PESSIMISTIC_RELAYED, Duration::ZERO).await?;
    let probed_ms = lone(bench, world, PESSIMISTIC_PROBED, PROBE).await?;
    // What an order takes grows with the way, as often as it goes there and back.
    let slope = (probed_ms - near_ms) / (PROBE.as_secs_f64() * 1_000.0);
    let each_way_ms = ((ORDER_MS - near_ms) / slope.max(1.0)).max(0.1);
    bench.figure("each way, so that one order takes 50 ms", each_way_ms, "ms");
    let relay = Relay::to(&world.url, Duration::from_secs_f64(each_way_ms / 1_000.0))?;
    let pessimistic = bench.service_with(Kind::Engine("pessimistic"), relay.url(), &[]).await?;
    let grouped = bench.service_with(Kind::Engine("grouped"), relay.url(), &[]).await?;
    for round in 0..bench.options.rounds() {
        bench.settle(world).await?;
        for connections in [1, 16] {
            let turn = turn(PESSIMISTIC_50MS, &pessimistic, connections, round);
            bench.turn(world, turn).await?;
        }
        bench.turn(world, turn(GROUPED_50MS, &grouped, 1_024, round)).await?;
        bench.audit(world).await?;
    }
    grouped.stop().await?;
    pessimistic.stop().await
}

/// What a lone order takes over a relay that adds `delay` each way, and its own time, in ms.
async fn lone(
    bench: &mut Bench<'_>,
    world: &mut World,
    who: &'static str,
    delay: Duration,
) -> Outcome<f64> {
    let relay = Relay::to(&world.url, delay)?;
    let service = bench.service_with(Kind::Engine("pessimistic"), relay.url(), &[]).await?;
    bench.turn(world, turn(who, &service, 1, 0)).await?;
    service.stop().await?;
    let rounds = bench.results.rounds(bench.section, who, 1);
    Ok(median(rounds.map(|row| row.p50_ms)).ok_or("no order was placed")?)
}

fn turn<'a>(who: &'a str, service: &'a Service, connections: u16, round: u32) -> Turn<'a> {
    Turn { who, driver: Driver::Orders(service), connections, round }
}
