//! What was promised, beside what was measured: every ratio is of one run.

use serde::Serialize;

use crate::options::Section;
use crate::results::{Results, Row};
use crate::samples::median;
use crate::sections::names as n;

/// A bound.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// One promise.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    /// Of what.
    pub(crate) measure: String,
    /// What was measured; `None` where its section did not run.
    pub(crate) value: Option<f64>,
    /// Of what kind, "" for a ratio.
    pub(crate) unit: &'static str,
    /// What it must reach; `None` for a report.
    pub(crate) bar: Option<Bound>,
    /// What was hoped for.
    pub(crate) hope: Option<Bound>,
}

impl Bound {
    /// Whether a value keeps it.
    pub(crate) fn kept(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }
}

impl Bar {
    fn new(measure: &str, value: Option<f64>) -> Bar {
        Bar { measure: measure.to_owned(), value, unit: "", bar: None, hope: None }
    }

    fn at_least(self, bar: f64) -> Bar {
        Bar { bar: Some(Bound::AtLeast(bar)), ..self }
    }

    fn at_most(self, bar: f64) -> Bar {
        Bar { bar: Some(Bound::AtMost(bar)), ..self }
    }

    /// On the same side as the bar; without one, at least.
    fn hope(self, hope: f64) -> Bar {
        let hope = match self.bar {
            Some(Bound::AtMost(_)) => Bound::AtMost(hope),
            _ => Bound::AtLeast(hope),
        };
        Bar { hope: Some(hope), ..self }
    }

    fn of(self, unit: &'static str) -> Bar {
        Bar { unit, ..self }
    }
}

/// All of them.
pub(crate) fn all(results: &Results) -> Vec<Bar> {
    let mut bars = hot(results);
    bars.extend(others(results));
    bars.extend(crowds(results));
    bars
}

fn rate(row: &Row) -> f64 {
    row.per_second
}

/// One hot sale.
fn hot(results: &Results) -> Vec<Bar> {
    let of = |own: (&str, u16), beside: (&str, Option<u16>)| {
        results.ratio(Section::Hot, own, (beside.0, beside.1?), rate)
    };
    let best = |who| (who, results.best(Section::Hot, who));
    let at = |who, connections| (who, Some(connections));
    let own = [n::PESSIMISTIC, n::PESSIMISTIC_ALONE].map(|who| {
        let ratio = of((who, 16), at(n::STATEMENTS, 16));
        ratio.unwrap_or(f64::NAN)
    });
    // f64::max ignores what is not a number.
    let own = Some(own[0].max(own[1])).filter(|ratio| ratio.is_finite());
    let p50 = results.ratio(Section::Hot, (n::GROUPED, 1), (n::PESSIMISTIC, 1), |row| row.p50_ms);
    let calls = "pgbench's best rate with one function call";
    vec![
        Bar::new(
            &format!("grouped × 256 / {calls}"),
            of((n::GROUPED, 256), best(n::FUNCTION_CALL)),
        )
        .at_least(6.0)
        .hope(8.0),
        Bar::new(
            &format!("grouped × 1,024 / {calls}"),
            of((n::GROUPED, 1_024), best(n::FUNCTION_CALL)),
        )
        .at_least(8.0)
        .hope(10.0),
        Bar::new(
            "grouped / pessimistic, 256 connections",
            of((n::GROUPED, 256), at(n::PESSIMISTIC, 256)),
        )
        .hope(25.0),
        Bar::new("pessimistic at its best pool / pgbench, same statements, 16 connections", own)
            .at_least(0.8),
        Bar::new("grouped / echo, 256 connections", of((n::GROUPED, 256), at(n::ECHO, 256)))
            .at_least(0.25)
            .hope(0.40),
        Bar::new("echo / bare hyper, 256 connections", of((n::ECHO, 256), at(n::BARE, 256)))
            .at_least(0.7),
        Bar::new(
            "grouped × 256 / groups of 256 without HTTP",
            of((n::GROUPED, 256), best(n::GROUPS)),
        )
        .at_least(0.55)
        .hope(0.8),
        Bar::new(
            "grouped × 1,024 / groups of 256 without HTTP",
            of((n::GROUPED, 1_024), best(n::GROUPS)),
        ),
        Bar::new("p50 at one connection, grouped / pessimistic", p50).at_most(1.1).hope(0.8),
    ]
}

/// Memory, distance, growth, observation, reads.
fn others(results: &Results) -> Vec<Bar> {
    let memory = results.values(Section::Hot, &n::memory(n::GROUPED)).iter().copied();
    let near = |connections| {
        let (own, beside) = ((n::GROUPED_1MS, connections), (n::GROUPED, connections));
        results.ratio(Section::Delay, own, beside, rate)
    };
    let far = results.rounds(Section::Delay, n::GROUPED_50MS, 1_024).map(rate);
    let alone = results.rounds(Section::Delay, n::PESSIMISTIC_50MS, 1).map(rate);
    let grown = results.values(Section::Growth, n::ORDERS_BEFORE).first().copied();
    let grown = format!("{} orders in the tables / 10,000", grown.unwrap_or(1e6));
    let growth = results.ratio(Section::Growth, (n::GROWN, 256), (n::YOUNG, 256), rate);
    let own = (n::BEHIND_CHECKPOINT, 256);
    let behind = results.ratio(Section::Growth, own, (n::YOUNG, 256), rate);
    let seen = results.ratio(Section::Observation, (n::OBSERVED, 256), (n::UNOBSERVED, 256), rate);
    let reads = results.ratio(Section::Reads, (n::READS, 512), (n::LIVE, 512), rate);
    vec![
        Bar::new("with 1 ms each way / local, 256 connections", near(256)).at_least(0.6).hope(0.8),
        Bar::new("with 1 ms each way / local, 1,024 connections", near(1_024)),
        Bar::new("50 ms for an order, grouped × 1,024", median(far))
            .at_least(4_000.0)
            .hope(8_000.0)
            .of("orders/s"),
        Bar::new("50 ms for an order, pessimistic × 1", median(alone)).of("orders/s"),
        Bar::new(&grown, growth).at_least(0.9).hope(1.0),
        Bar::new("the same, right behind a checkpoint", behind),
        Bar::new("scraped and logging / neither", seen).at_least(0.95),
        Bar::new("reads of one sale / `/livez`, 512 connections", reads).at_least(0.8),
        Bar::new("memory of the service, up to 1,024 connections", memory.reduce(f64::max))
            .at_most(150.0)
            .hope(80.0)
            .of("MB"),
    ]
}

/// Arrivals, storms, ten thousand at once.
fn crowds(results: &Results) -> Vec<Bar> {
    let open = |at: usize| median(results.values(Section::Open, n::SHARES[at].2).iter().copied());
    let storm = results.ratio(Section::SoldOut, (n::SOLD_OUT, 256), (n::ECHO, 256), rate);
    let failed = results.values(Section::TenThousand, n::FAILED).iter().copied();
    let seconds = results.values(Section::TenThousand, n::SECONDS).iter().copied();
    vec![
        Bar::new(n::SHARES[0].2, open(0)).at_most(4.0).hope(2.0),
        Bar::new(n::SHARES[1].2, open(1)).at_most(10.0).hope(5.0),
        Bar::new("sold-out refusals / echo, 256 connections", storm).at_least(0.8).hope(0.95),
        Bar::new("10,000 at once: answers that were no 201, worst round", failed.reduce(f64::max))
            .at_most(0.0)
            .of("answers"),
        Bar {
            hope: Some(Bound::AtMost(2.0)),
            ..Bar::new("10,000 at once: all answered within", median(seconds))
        }
        .of("s"),
    ]
}
