//! One turn: drive, then compare what was answered with what is in the table, and write it down.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::{self, Asked, Counted, Load};
use crate::options::{Options, Section};
use crate::pgbench::{Pgbench, Script};
use crate::results::{Results, Row};
use crate::samples::{LEAD_IN, RUN_OUT, Sample, summarize};
use crate::server::Server;
use crate::service::{Kind, Service, Setup};
use crate::world::{Counters, World};
use crate::{Outcome, arrivals, groups, process};

/// Everything that stays the same while cells change.
pub(crate) struct Bench<'a> {
    /// What a person decided.
    pub(crate) options: &'a Options,
    /// The database server.
    pub(crate) server: &'a Server,
    /// The program.
    pub(crate) pgbench: Pgbench,
    /// What was measured so far.
    pub(crate) results: Results,
    /// What is being measured.
    pub(crate) section: Section,
}

/// Who drives what.
#[derive(Clone, Copy)]
pub(crate) enum Driver<'a> {
    /// HTTP orders at an engine.
    Orders(&'a Service),
    /// HTTP orders at something that writes nothing.
    Echo(&'a Service),
    /// Anything else over HTTP, which writes nothing either.
    Asking(&'a Service, &'a Asked, Counted),
    /// HTTP orders at an engine, Poisson arrivals, so many a second.
    Open(&'a Service, f64),
    /// pgbench.
    Pgbench(Script),
    /// The engine's own groups without HTTP.
    Groups,
}

/// One contender's turn.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// The name in the report.
    pub(crate) who: &'a str,
    /// How it is driven.
    pub(crate) driver: Driver<'a>,
    /// Connections or sessions.
    pub(crate) connections: u16,
    /// In which round.
    pub(crate) round: u32,
}

impl<'a> Driver<'a> {
    fn service(self) -> Option<&'a Service> {
        match self {
            Driver::Orders(service)
            | Driver::Echo(service)
            | Driver::Asking(service, ..)
            | Driver::Open(service, _) => Some(service),
            Driver::Pgbench(_) | Driver::Groups => None,
        }
    }

    fn writes(self) -> bool {
        !matches!(self, Driver::Echo(_) | Driver::Asking(..))
    }
}

impl Bench<'_> {
    /// A database of this section's own.
    pub(crate) async fn world(&self, sales: usize) -> Outcome<World> {
        World::new(self.server, self.options.buyers, sales).await
    }

    /// A service with the settings it is shipped with.
    pub(crate) async fn service(&self, kind: Kind, world: &World) -> Outcome<Service> {
        self.service_with(kind, &world.url, &[]).await
    }

    /// A service with some settings of its own.
    pub(crate) async fn service_with(
        &self,
        kind: Kind,
        url: &str,
        settings: &[(&str, &str)],
    ) -> Outcome<Service> {
        let db_connections = self.options.db_connections;
        Service::start(Setup { kind, url, db_connections, settings }).await
    }

    /// A checkpoint, and two seconds of groups that do not count: tens of thousands of orders, so
    /// that the pages that everybody writes have had their full images logged before the first
    /// turn. Fewer would leave most of them to whoever comes first.
    pub(crate) async fn settle(&self, world: &mut World) -> Outcome<()> {
        world.checkpoint().await?;
        groups::drive(world, 2, Duration::from_secs(2)).await?;
        Ok(())
    }

    /// Checks the books.
    pub(crate) async fn audit(&mut self, world: &mut World) -> Outcome<()> {
        let orders = world.audit().await?;
        self.results.audits.push((self.section, orders));
        Ok(())
    }

    /// Writes a figure down.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &'static str) {
        println!("{:>13}  {name}: {value:.3} {unit}", self.section.name());
        self.results.figure(self.section, name, value, unit);
    }

    /// One turn.
    pub(crate) async fn turn(&mut self, world: &mut World, turn: Turn<'_>) -> Outcome<()> {
        let counted = self.options.counted();
        let before = world.counters().await?;
        let service = turn.driver.service();
        let service_before = service.and_then(|service| process::cpu(service.pid));
        let (samples, others) = self.drive(world, turn, LEAD_IN + counted + RUN_OUT).await?;
        let service_after = service.and_then(|service| process::cpu(service.pid));
        let after = world.counters().await?;
        let writes = turn.driver.writes();
        compare(turn, samples.len(), before, after)?;
        let answers = samples.len().max(1) as f64;
        let spent = |after: Option<Duration>, before: Option<Duration>| {
            Some((after?.checked_sub(before?)?).as_secs_f64() * 1_000.0 / answers)
        };
        let summary = summarize(&samples, counted);
        let row = Row {
            section: self.section,
            who: turn.who.to_owned(),
            connections: turn.connections,
            round: turn.round,
            per_second: summary.per_second,
            p50_ms: summary.p50_ms,
            p99_ms: summary.p99_ms,
            p999_ms: summary.p999_ms,
            answers: samples.len(),
            others,
            service_cpu_ms: spent(service_after, service_before),
            database_cpu_ms: spent(after.cpu, before.cpu).filter(|_| writes),
            wal_bytes: writes.then(|| (after.wal_bytes - before.wal_bytes) as f64 / answers),
        };
        tell(&row);
        self.results.rows.push(row);
        Ok(())
    }

    async fn drive(
        &self,
        world: &World,
        turn: Turn<'_>,
        lasting: Duration,
    ) -> Outcome<(Vec<Sample>, BTreeMap<u16, u64>)> {
        let connections = turn.connections;
        let load = |service: &Service, asked, counted| Load {
            address: service.address,
            asked,
            counted,
            connections,
            lasting,
        };
        let answers = match turn.driver {
            Driver::Orders(service) | Driver::Echo(service) => {
                load::drive(&load(service, world.orders(), Counted::Confirmed)).await?
            }
            Driver::Asking(service, asked, counted) => {
                load::drive(&load(service, asked.clone(), counted)).await?
            }
            Driver::Open(service, per_second) => {
                let load = load(service, world.orders(), Counted::Confirmed);
                arrivals::drive(&load, per_second).await?
            }
            Driver::Pgbench(script) => {
                let samples = self.pgbench.drive(world, script, connections, lasting).await?;
                return Ok((samples, BTreeMap::new()));
            }
            Driver::Groups => {
                let samples = groups::drive(world, connections, lasting).await?;
                return Ok((samples, BTreeMap::new()));
            }
        };
        Ok((answers.samples, answers.others))
    }
}

/// Every acknowledged order is in the books, and nothing else is.
fn compare(turn: Turn<'_>, answers: usize, before: Counters, after: Counters) -> Outcome<()> {
    let expected = if turn.driver.writes() { answers } else { 0 };
    let found = after.orders - before.orders;
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    let (who, connections) = (turn.who, turn.connections);
    Err(format!("{who} × {connections}: {expected} acknowledged, {found} new orders").into())
}

fn tell(row: &Row) {
    let others =
        if row.others.is_empty() { String::new() } else { format!("  others {:?}", row.others) };
    println!(
        "{:>13}  round {}: {:>8.0} /s, p50 {:>8.2} ms, p99 {:>8.2} ms  {} × {}{others}",
        row.section.name(),
        row.round + 1,
        row.per_second,
        row.p50_ms,
        row.p99_ms,
        row.who,
        row.connections,
    );
}
