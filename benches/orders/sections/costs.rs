//! What an order costs the database: statements, write-ahead log, flushes. Measured apart, because
//! counting slows the server down and its counters lag.

use std::time::Duration;

use super::hot::{GROUPED, OPTIMISTIC, PESSIMISTIC};
use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::load::{self, Counted, Load};
use crate::service::{Kind, Service};
use crate::world::World;

/// Who is counted, at how many connections.
const COUNTED: &[(&str, Kind, &[u16])] = &[
    (PESSIMISTIC, Kind::Engine("pessimistic"), &[1, 256]),
    (OPTIMISTIC, Kind::Engine("optimistic"), &[1]),
    (GROUPED, Kind::Engine("grouped"), &[1, 256, 1_024]),
];
/// Sessions that were closed have ended within this time.
const SETTLED: Duration = Duration::from_millis(500);
/// What belongs to orders; the service also asks how the database is. The last two are the reads of
/// `optimistic`: sale, then wallets.
const OF_ORDERS: &str = "^(BEGIN|COMMIT|ROLLBACK)|idempotency_keys|lock_for_orders\
                         |INSERT INTO orders|FROM sales WHERE id|LEFT JOIN wallets w";

/// The section.
pub(crate) async fn run(bench: &mut Bench<'_>) -> Outcome<()> {
    let mut world = bench.world(1).await?;
    let counts = bench.server.is_own() && prepare(&mut world).await?;
    if !counts {
        println!("statements are not counted: no pg_stat_statements on a server of our own");
    }
    for (who, kind, connections) in COUNTED {
        for connections in *connections {
            cell(bench, &mut world, (who, *kind, *connections), counts).await?;
        }
    }
    bench.audit(&mut world).await
}

/// A service of its own: sessions report their counters late, but at the latest when they end.
async fn cell(
    bench: &mut Bench<'_>,
    world: &mut World,
    (who, kind, connections): (&str, Kind, u16),
    counts: bool,
) -> Outcome<()> {
    let flushes_before = flushes(world).await;
    let orders_before = world.counters().await?.orders;
    let service = bench.service(kind, world).await?;
    warm(&service, world, connections).await?;
    if counts {
        sqlx::query("SELECT pg_stat_statements_reset()").execute(&mut world.session).await?;
    }
    let turn = Turn { who, driver: Driver::Orders(&service), connections, round: 0 };
    bench.turn(world, turn).await?;
    let (statements, groups) = if counts { statements(world).await? } else { (0, 0) };
    service.stop().await?;
    tokio::time::sleep(SETTLED).await;
    let orders_all = (world.counters().await?.orders - orders_before).max(1) as f64;
    let flushes_after = flushes(world).await;
    let name = |what: &str| format!("{who} × {connections}, {what}");
    if let (Some(before), Some(after)) = (flushes_before, flushes_after) {
        bench.figure(&name("flushes"), (after - before) as f64 / orders_all, "per order");
    }
    if let Some(bytes) = bench.results.rows.last().and_then(|row| row.wal_bytes) {
        bench.figure(&name("WAL"), bytes, "bytes per order");
    }
    if counts {
        let orders = bench.results.rows.last().map_or(1, |row| row.answers.max(1)) as f64;
        bench.figure(&name("statements"), statements as f64 / orders, "per order");
        let (statements, groups) = (statements as f64, groups.max(1) as f64);
        bench.figure(&name("statements of a transaction"), statements / groups, "on average");
        bench.figure(&name("orders of a transaction"), orders / groups, "on average");
    }
    Ok(())
}

/// Opens the service's sessions, whose first statements are not those of an order.
async fn warm(service: &Service, world: &World, connections: u16) -> Outcome<()> {
    let load = Load {
        address: service.address,
        asked: world.orders(),
        counted: Counted::Confirmed,
        connections,
        lasting: Duration::from_millis(300),
    };
    load::drive(&load).await?;
    Ok(())
}

/// Lets the server count the statements of sessions that are yet to be opened in this database;
/// whether it can.
async fn prepare(world: &mut World) -> Outcome<bool> {
    let made = sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    if made.execute(&mut world.session).await.is_err() {
        return Ok(false);
    }
    let track = "DO $$ BEGIN EXECUTE format(
                   'ALTER DATABASE %I SET pg_stat_statements.track = top', current_database());
                 END $$";
    sqlx::query(track).execute(&mut world.session).await?;
    let asked = sqlx::query("SELECT count(*) FROM pg_stat_statements");
    Ok(asked.execute(&mut world.session).await.is_ok())
}

/// Statements of orders, and the transactions among them that committed.
async fn statements(world: &mut World) -> Outcome<(i64, i64)> {
    let query = "SELECT coalesce(sum(calls), 0)::bigint,
                        coalesce(sum(calls) FILTER (WHERE query ~ '^COMMIT'), 0)::bigint
                 FROM pg_stat_statements WHERE query ~ $1";
    Ok(sqlx::query_as(query).bind(OF_ORDERS).fetch_one(&mut world.session).await?)
}

/// How often the server has flushed its log; `None` where it does not say. The table moved in
/// PostgreSQL 18.
async fn flushes(world: &mut World) -> Option<i64> {
    let queries = [
        "SELECT wal_sync FROM pg_stat_wal",
        "SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'",
    ];
    for query in queries {
        if let Ok(count) = sqlx::query_scalar(query).fetch_one(&mut world.session).await {
            return count;
        }
    }
    None
}
