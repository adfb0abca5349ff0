//! Crowds: many sales at once, a sold-out sale that everybody still wants, and ten thousand
//! connections with one order each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::hot::{ECHO, GROUPED};
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::load::{self, Answers, Asked, Counted, Load};
use crate::process;
use crate::service::{Kind, Service};
use crate::world::World;

/// How many connections the comparisons use.
pub(crate) const CONNECTIONS: u16 = 256;
/// Contenders of `sales`, and how many sales each has.
const SALES: &[(&str, usize)] = &[
    ("grouped, 1 sale", 1),
    ("grouped, 4 sales", 4),
    ("grouped, 16 sales", 16),
    ("grouped, 64 sales", 64),
];
/// Who refuses.
pub(crate) const SOLD_OUT: &str = "grouped, sold out";
/// Units of the sale that is sold out before the storm.
const UNITS: u32 = 100;
/// How many come at once.
const AT_ONCE: u16 = 10_000;
/// How long they may take.
const ALL_ANSWERED_MAX: Duration = Duration::from_secs(60);
/// Figures of `ten_thousand`.
pub(crate) const SECONDS: &str = "until all 10,000 were answered";
pub(crate) const FAILED: &str = "answers that were no 201";
/// The same crowd, and one unit.
const SECONDS_FOR_ONE: &str = "10,000 for one unit: until one had it and 9,999 knew";

/// The grouped engine over many sales.
pub(crate) async fn sales(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut worlds = Vec::new();
    for (_, sales) in SALES {
        let world = bench.world(*sales).await?;
        let service = bench.service(Kind::Engine("grouped"), &world).await?;
        worlds.push((world, service));
    }
    for round in 0..bench.options.rounds() {
        for ((world, service), (who, _)) in worlds.iter_mut().zip(SALES) {
            bench.settle(world).await?;
            let driver = Driver::Orders(service);
            bench.turn(world, Turn { who, driver, connections: CONNECTIONS, round }).await?;
            bench.audit(world).await?;
        }
    }
    for (_, service) in worlds {
        service.stop().await?;
    }
    Ok(())
}

/// A sold-out sale: everybody still presses Buy, and none of them has ever bought.
pub(crate) async fn sold_out(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    let service = bench.service(Kind::Engine("grouped"), &world).await?;
    let echo = bench.service(Kind::Echo, &world).await?;
    let sale = world.open_sale(UNITS).await?;
    let sales: Arc<[_]> = [sale].into();
    let mut client = flashdeal::adapters::http::HttpClient::connect(service.address).await?;
    for buyer in 1..=UNITS {
        let reply = client.send(load::order(sale, buyer)).await?;
        if reply.status != http::StatusCode::CREATED {
            return Err(format!("the last units were not sold: {}", reply.status).into());
        }
    }
    let storm = Asked::Orders { sales, buyers: UNITS + 1..=world.buyers };
    for round in 0..bench.options.rounds() {
        let driver = Driver::Echo(&echo);
        let mut turns = [Turn { who: ECHO, driver, connections: CONNECTIONS, round }; 2];
        turns[1].who = SOLD_OUT;
        turns[1].driver = Driver::Asking(&service, &storm, Counted::SoldOut);
        turns.rotate_left(round as usize % 2);
        for turn in turns {
            bench.turn(&mut world, turn).await?;
        }
        bench.audit(&mut world).await?;
    }
    service.stop().await?;
    echo.stop().await
}

/// Ten thousand connections, all open, all at once.
pub(crate) async fn ten_thousand(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    let service = bench.service(Kind::Engine("grouped"), &world).await?;
    // The pool's sessions are there before the crowd, as on the day of a sale.
    let mut client = flashdeal::adapters::http::HttpClient::connect(service.address).await?;
    client.send(load::order(world.sales[0], 1)).await?;
    for _ in 0..bench.options.rounds() {
        world.checkpoint().await?;
        let before = world.counters().await?.orders;
        let (answers, seconds) = all_at_once(&service, world.orders(), Counted::Confirmed).await?;
        let confirmed = answers.samples.len();
        let written = world.counters().await?.orders - before;
        if usize::try_from(written) != Ok(confirmed) {
            return Err(format!("{confirmed} acknowledged, {written} new orders").into());
        }
        bench.figure(SECONDS, seconds, "s");
        bench.figure("10,000 at once", f64::from(AT_ONCE) / seconds, "orders/s");
        let slowest = answers.samples.iter().map(|sample| sample.latency_us).max();
        bench.figure("the slowest answer", f64::from(slowest.unwrap_or(0)) / 1e6, "s");
        let failed = usize::from(AT_ONCE) - confirmed;
        bench.figure(FAILED, failed as f64, "answers");
        if failed > 0 {
            println!("{FAILED}, by status: {:?}", answers.others);
        }
        let seconds = for_one_unit(&service, &mut world).await?;
        bench.figure(SECONDS_FOR_ONE, seconds, "s");
        bench.audit(&mut world).await?;
    }
    if let Some(bytes) = process::memory_peak(service.pid) {
        bench.figure(&super::hot::memory(GROUPED), bytes as f64 / 1_000_000.0, "MB");
    }
    service.stop().await
}

/// The seeds' own case: ten thousand at once, and one item. One of them must have it and all others
/// must hear that it is gone; the seconds are those until the last one knows.
async fn for_one_unit(service: &Service, world: &mut World) -> Outcome<f64> {
    let sale = world.open_sale(1).await?;
    let asked = Asked::Orders { sales: [sale].into(), buyers: 1..=world.buyers };
    let (answers, seconds) = all_at_once(service, asked, Counted::SoldOut).await?;
    let (told, made) = (answers.samples.len(), answers.others);
    if told != usize::from(AT_ONCE) - 1 || made != [(201, 1)].into() {
        return Err(format!("one unit: {told} heard that it is sold out, others {made:?}").into());
    }
    Ok(seconds)
}

/// Opens all connections, then sends on all of them; the seconds count from the signal to the last
/// answer.
async fn all_at_once(service: &Service, asked: Asked, counted: Counted) -> Outcome<(Answers, f64)> {
    let load = Arc::new(Load {
        address: service.address,
        asked,
        counted,
        connections: AT_ONCE,
        lasting: Duration::ZERO,
    });
    let clients = load.connect().await?;
    let start = Arc::new(Barrier::new(clients.len() + 1));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (load, start) = (Arc::clone(&load), Arc::clone(&start));
        tasks.spawn(async move {
            let request = load.request();
            start.wait().await;
            let sent = Instant::now();
            (sent, client.send(request).await, Instant::now(), client)
        });
    }
    start.wait().await;
    let began = Instant::now();
    let gathered = timeout(ALL_ANSWERED_MAX, tasks.join_all()).await;
    let all = gathered.map_err(|_elapsed| "not all were answered")?;
    let (mut answers, mut last) = (Answers::default(), began);
    for (sent, reply, answered, _open) in all {
        last = last.max(answered);
        match reply {
            Ok(reply) => answers.add(&load, &reply, began, sent, answered),
            // No answer at all is filed under no status.
            Err(_unanswered) => *answers.others.entry(0).or_default() += 1,
        }
    }
    Ok((answers, (last - began).as_secs_f64()))
}
