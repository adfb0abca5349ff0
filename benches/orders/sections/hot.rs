//! One hot sale: the engines and the yardsticks that say what their numbers mean.

use crate::Outcome;
use crate::bench::{Bench, Driver, Turn};
use crate::pgbench::Script;
use crate::process;
use crate::service::{Kind, Service, Setup};

/// Names are unique: ratios are found by them.
pub(crate) const GROUPED: &str = "grouped";
pub(crate) const PESSIMISTIC: &str = "pessimistic";
/// One connection for orders: nobody waits in the database.
pub(crate) const PESSIMISTIC_ALONE: &str = "pessimistic, pool of 2";
pub(crate) const OPTIMISTIC: &str = "optimistic";
pub(crate) const STATEMENTS: &str = "pgbench, same statements";
pub(crate) const FUNCTION_CALL: &str = "pgbench, one function call";
pub(crate) const GROUPS: &str = "groups of 256 without HTTP";
pub(crate) const ECHO: &str = "echo";
pub(crate) const BARE: &str = "bare hyper";

/// Everybody who answers HTTP here, and at how many connections. Names and figures of memory.
const SERVICES: &[(&str, Kind, Option<u16>, &[u16])] = &[
    (GROUPED, Kind::Engine("grouped"), None, &[1, 16, 256, 1_024]),
    (PESSIMISTIC, Kind::Engine("pessimistic"), None, &[1, 16, 256, 1_024]),
    (PESSIMISTIC_ALONE, Kind::Engine("pessimistic"), Some(2), &[16]),
    (OPTIMISTIC, Kind::Engine("optimistic"), None, &[1, 16, 256, 1_024]),
    (ECHO, Kind::Echo, None, &[1, 16, 256, 1_024]),
    (BARE, Kind::Bare, None, &[256]),
];

/// Everybody who does not.
const SESSIONS: &[(&str, Driver<'static>, &[u16])] = &[
    (STATEMENTS, Driver::Pgbench(Script::Statements), &[1, 16, 64]),
    (FUNCTION_CALL, Driver::Pgbench(Script::FunctionCall), &[1, 8, 32, 64]),
    (GROUPS, Driver::Groups, &[1, 2]),
];

/// The section. Each round begins with tables of its own, as the one before began: on those of the
/// rounds before it, the last would be measured on a million orders. What those cost is a section
/// of its own (`growth`).
pub(crate) async fn run(bench: &mut Bench<'_>) -> Outcome<()> {
    for round in 0..bench.options.rounds() {
        let mut world = bench.world(1).await?;
        let mut services = Vec::new();
        for (who, kind, pool, _) in SERVICES {
            let db_connections = pool.or(bench.options.db_connections);
            let setup = Setup { kind: *kind, url: &world.url, db_connections, settings: &[] };
            services.push((*who, Service::start(setup).await?));
        }
        bench.settle(&mut world).await?;
        for turn in turns(&services, round) {
            bench.turn(&mut world, turn).await?;
        }
        bench.audit(&mut world).await?;
        for (who, service) in services {
            if let Some(bytes) = process::memory_peak(service.pid) {
                bench.figure(&memory(who), bytes as f64 / 1_000_000.0, "MB");
            }
            service.stop().await?;
        }
        // What is left in place would be vacuumed while the next round is measured.
        bench.server.clear().await?;
    }
    Ok(())
}

/// The figure's name of a service's memory.
pub(crate) fn memory(who: &str) -> String {
    format!("memory of {who} at its most")
}

/// One round, fewest connections first, so that those who are compared follow each other; every
/// other round the other way round, so that nobody is always first behind a checkpoint.
fn turns<'a>(services: &'a [(&'static str, Service)], round: u32) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let listed = SERVICES.iter().map(|(who, kind, _, connections)| (*who, *kind, *connections));
    for ((who, kind, at), (_, service)) in listed.zip(services) {
        let driver = match kind {
            Kind::Engine(_) => Driver::Orders(service),
            Kind::Echo | Kind::Bare => Driver::Echo(service),
        };
        turns.extend(at.iter().map(|count| Turn { who, driver, connections: *count, round }));
    }
    for (who, driver, at) in SESSIONS {
        let turn = |count: &u16| Turn { who, driver: *driver, connections: *count, round };
        turns.extend(at.iter().map(turn));
    }
    turns.sort_by_key(|turn| turn.connections);
    if round % 2 == 1 {
        turns.reverse();
    }
    turns
}
