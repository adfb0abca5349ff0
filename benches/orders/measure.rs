//! The rounds: everybody in turn, again and again, with a count and an audit behind each turn.

use std::time::Duration;

use crate::load::{self, Answers, Load};
use crate::options::Options;
use crate::pgbench::{Pgbench, Script};
use crate::plan::{self, Cell, Driver};
use crate::samples::{LEAD_IN, RUN_OUT, Sample, Summary, summarize};
use crate::service::Service;
use crate::world::{Counters, Track, World};
use crate::{Outcome, facts, process};

/// What one cell said.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Which cell.
    pub(crate) cell: Cell,
    /// In which round, from 0.
    pub(crate) round: u32,
    /// Rate and latencies of its counted part.
    pub(crate) summary: Summary,
    /// Processor time of the service for one order, in milliseconds.
    pub(crate) service_cpu_ms: Option<f64>,
    /// Processor time of the database for one order, in milliseconds.
    pub(crate) database_cpu_ms: Option<f64>,
    /// Write-ahead log for one order, in bytes; `None` where nothing is written.
    pub(crate) wal_bytes: Option<f64>,
    /// The length of a 201's body, in bytes.
    pub(crate) body_bytes: Option<usize>,
}

/// One kind of statement and how often it was executed for one order.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// Its text.
    pub(crate) text: String,
    /// Executions for one order.
    pub(crate) per_order: f64,
}

/// Everything a report needs.
#[derive(Debug)]
pub(crate) struct Run {
    /// Lines about server and machine: name and value.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// All cells of all rounds.
    pub(crate) measured: Vec<Measured>,
    /// Statements of one order, counted by the server; `None` where it cannot count.
    pub(crate) statements: Option<Vec<Statement>>,
    /// The most memory that each service ever had, in bytes.
    pub(crate) memory: Vec<(Driver, Option<u64>)>,
    /// Orders in the books at the end.
    pub(crate) orders: i64,
    /// How often the books were checked and balanced.
    pub(crate) audits: u32,
}

/// Runs the whole plan.
pub(crate) async fn all(world: &mut World, options: &Options) -> Outcome<Run> {
    let cells = plan::cells(options);
    let settings = facts::settings(world).await?;
    let pgbench = Pgbench::find(world).await?;
    let mut services: Vec<Service> = Vec::new();
    for cell in &cells {
        let driver = cell.contender.driver;
        if !services.iter().any(|service| service.driver == driver) {
            services.extend(Service::start(driver, world, options).await?);
        }
    }
    let statements = count_statements(world, &services).await?;
    let mut table = Table { world, services, pgbench, counted: options.counted() };
    let (mut measured, mut orders) = (Vec::new(), 0);
    for round in 0..options.rounds() {
        table.settle().await?;
        // Back and forth: nobody is always first behind a checkpoint.
        let mut turns = cells.clone();
        if round % 2 == 1 {
            turns.reverse();
        }
        for cell in turns {
            let one = table.measure(cell, round).await?;
            println!(
                "round {} of {}: {:>8.0} orders/s, p50 {:>7.2} ms, p99 {:>7.2} ms  {} × {}",
                round + 1,
                options.rounds(),
                one.summary.per_second,
                one.summary.p50_ms,
                one.summary.p99_ms,
                cell.contender.name,
                cell.connections,
            );
            measured.push(one);
        }
        orders = table.world.audit().await?;
    }
    let services = table.services;
    let memory = services
        .iter()
        .map(|service| (service.driver, process::memory_peak(service.pid)))
        .collect();
    for service in services {
        service.stop().await?;
    }
    Ok(Run { settings, measured, statements, memory, orders, audits: options.rounds() })
}

/// Everything that stays the same while cells change.
struct Table<'a> {
    world: &'a mut World,
    services: Vec<Service>,
    pgbench: Pgbench,
    counted: Duration,
}

impl Table<'_> {
    /// A checkpoint, and a second of orders that do not count: the pages that everybody writes have
    /// had their full images logged before the first turn.
    async fn settle(&mut self) -> Outcome<()> {
        self.world.checkpoint().await?;
        let (script, second) = (Script::FunctionCall, Duration::from_secs(1));
        self.pgbench.drive(self.world, script, 8, second).await?;
        Ok(())
    }

    /// One turn: drive, then compare what was answered with what is in the table.
    async fn measure(&mut self, cell: Cell, round: u32) -> Outcome<Measured> {
        let lasting = LEAD_IN + self.counted + RUN_OUT;
        let before = self.world.counters().await?;
        let driver = cell.contender.driver;
        let service = self.services.iter().find(|one| one.driver == driver);
        let service_before = service.and_then(|service| process::cpu(service.pid));
        let (samples, body_bytes) = match (driver, service) {
            (Driver::Statements, _) => {
                (self.pgbench(Script::Statements, cell, lasting).await?, None)
            }
            (Driver::FunctionCall, _) => {
                (self.pgbench(Script::FunctionCall, cell, lasting).await?, None)
            }
            (Driver::Engine(_) | Driver::Echo, Some(service)) => {
                let load = Load {
                    address: service.address,
                    sale_id: self.world.sale_id,
                    buyers: self.world.buyers,
                    connections: cell.connections,
                    lasting,
                };
                let answers = load::drive(load).await?;
                let body_bytes = answers.body_bytes;
                (confirmed(answers)?, Some(body_bytes))
            }
            (Driver::Engine(_) | Driver::Echo, None) => return Err("no such service".into()),
        };
        let service_after = service.and_then(|service| process::cpu(service.pid));
        let after = self.world.counters().await?;
        let writes = driver != Driver::Echo;
        compare(cell, samples.len(), before, after, writes)?;
        let orders = samples.len().max(1) as f64;
        let spent = |after: Option<Duration>, before: Option<Duration>| {
            Some((after?.checked_sub(before?)?).as_secs_f64() * 1_000.0 / orders)
        };
        Ok(Measured {
            cell,
            round,
            summary: summarize(&samples, self.counted),
            service_cpu_ms: spent(service_after, service_before),
            database_cpu_ms: spent(after.cpu, before.cpu).filter(|_| writes),
            wal_bytes: writes.then(|| (after.wal_bytes - before.wal_bytes) as f64 / orders),
            body_bytes,
        })
    }

    async fn pgbench(&self, script: Script, cell: Cell, lasting: Duration) -> Outcome<Vec<Sample>> {
        let clients = cell.connections;
        self.pgbench.drive(self.world, script, clients, lasting).await
    }
}

/// Nobody may be refused here: stock, balances and queues are far larger than any run.
fn confirmed(answers: Answers) -> Outcome<Vec<Sample>> {
    if answers.others.is_empty() {
        Ok(answers.samples)
    } else {
        Err(format!("answers that were no 201, by status: {:?}", answers.others).into())
    }
}

/// Every acknowledged order is in the table, and nothing else is.
fn compare(
    cell: Cell,
    acknowledged: usize,
    before: Counters,
    after: Counters,
    writes: bool,
) -> Outcome<()> {
    let expected = if writes { acknowledged } else { 0 };
    let found = after.orders - before.orders;
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    let (name, connections) = (cell.contender.name, cell.connections);
    Err(format!("{name} × {connections}: {acknowledged} acknowledged, {found} new rows").into())
}

/// Lets the server count the statements of half a second of orders at one connection.
async fn count_statements(
    world: &mut World,
    services: &[Service],
) -> Outcome<Option<Vec<Statement>>> {
    let engine = |service: &&Service| matches!(service.driver, Driver::Engine(_));
    let Some(service) = services.iter().find(engine) else {
        return Ok(None);
    };
    let load = Load {
        address: service.address,
        sale_id: world.sale_id,
        buyers: world.buyers,
        connections: 1,
        lasting: Duration::from_millis(500),
    };
    // Opens the service's sessions, whose first statements are not those of an order.
    load::drive(load).await?;
    let counting = world.count_statements(Track::All).await?;
    let orders = confirmed(load::drive(load).await?)?.len();
    let few = i64::try_from(orders / 2)?.max(1);
    let found = if counting { world.statements(few).await? } else { Vec::new() };
    world.count_statements(Track::None).await?;
    let statement = |(text, calls): (String, i64)| Statement {
        text,
        per_order: calls as f64 / orders.max(1) as f64,
    };
    Ok(counting.then(|| found.into_iter().map(statement).collect()))
}
