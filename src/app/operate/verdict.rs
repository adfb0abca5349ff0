//! What a rehearsal showed, and whether all of it is right: what the buyers were answered is held
//! against the books, order by order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::crowd::Tally;
use super::latency::Latencies;
use super::press::{Outcome, Press};
use crate::domain::books::Discrepancy;
use crate::domain::id::OrderId;
use crate::domain::money::Money;

/// The only refusal that a rehearsal may see: nobody is poor, unknown or late.
const SOLD_OUT: &str = "out_of_stock";
/// What no service may answer, whatever comes next.
const DEFECT: &str = "internal";

/// Everything that was seen.
pub(super) struct Rehearsed {
    pub(super) engine: String,
    pub(super) buyers: u32,
    pub(super) doubles: u32,
    pub(super) stock: u32,
    pub(super) connections: u16,
    pub(super) time_limit: Duration,
    pub(super) price: Money,
    pub(super) presses: Arc<[Press]>,
    pub(super) tally: Tally,
    pub(super) books: Books,
}

/// What the database says afterwards.
pub(super) struct Books {
    /// Every order of the sale.
    pub(super) orders: Vec<OrderId>,
    /// What an audit found.
    pub(super) discrepancies: Vec<Discrepancy>,
}

impl Rehearsed {
    /// The report, with the verdict in the last lines.
    pub(super) fn text(&self) -> String {
        let (tally, mut text) = (&self.tally, String::new());
        let out = &mut text;
        let Counts { made, replayed, refused, undecided } = self.counts();
        let answers = tally.order_times.count() + tally.other_times.count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{} buyers, {} of them with a double click, {} units, {} connections, engine {}",
            self.buyers, self.doubles, self.stock, self.connections, self.engine
        );
        let lasted = tally.lasted;
        let rate = per_second(answers, lasted);
        let _ = writeln!(out, "answers       {answers} in {}, {rate} a second", seconds(lasted));
        let until = tally.last_order.unwrap_or_default();
        let rate = per_second(made, until);
        let _ = writeln!(out, "orders        {made} in {}, {rate} a second", seconds(until));
        let _ = writeln!(out, "replays       {replayed}");
        for (name, counts) in [("refused", &refused), ("undecided", &undecided)] {
            let _ = writeln!(out, "{name:<13} {}", listed(counts));
        }
        let _ = writeln!(out, "tried again   {}", listed(&tally.again));
        let _ = writeln!(out, "time of answers  p50      p95      p99      max (ms)");
        for (name, times) in [("orders", &tally.order_times), ("others", &tally.other_times)] {
            let _ = writeln!(out, "  {name:<9} {}", spread(times));
        }
        let sold = self.books.orders.len();
        let revenue = self.price.times(u32::try_from(sold).unwrap_or(u32::MAX));
        let _ = writeln!(out, "books         {sold} orders, {revenue}, {}", self.balance());
        let findings = self.findings();
        for finding in &findings {
            let _ = writeln!(out, "wrong: {finding}");
        }
        let verdict = if findings.is_empty() { "passed" } else { "failed" };
        let _ = writeln!(out, "verdict: {verdict}");
        text
    }

    fn balance(&self) -> String {
        match self.books.discrepancies.len() {
            0 => "balanced".to_owned(),
            count => format!("{count} discrepancies"),
        }
    }

    /// Everything that is not as it must be, as sentences.
    pub(super) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let Counts { refused, undecided, .. } = self.counts();
        let missing = self.presses.len() - self.tally.outcomes.len();
        if missing > 0 {
            let limit = seconds(self.time_limit);
            findings.push(format!("{missing} presses were not sent within {limit}"));
        }
        for (code, count) in &undecided {
            findings.push(format!("{count} presses stayed undecided, at last by {code}"));
        }
        for (code, count) in refused.iter().filter(|(code, _)| *code != SOLD_OUT) {
            findings.push(format!("{count} presses were refused with {code}"));
        }
        if let Some(count) = self.tally.again.get(DEFECT) {
            findings.push(format!("{count} answers were {DEFECT} errors"));
        }
        findings.extend(self.broken_promises());
        let due = self.stock.min(self.buyers) as usize;
        let sold = self.books.orders.len();
        if sold > due || (sold < due && missing == 0 && undecided.is_empty()) {
            findings.push(format!("{due} orders were due, {sold} are in the books"));
        }
        findings.extend(self.books.discrepancies.iter().map(ToString::to_string));
        findings
    }

    /// Answers against answers, and answers against the books.
    fn broken_promises(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut answered: HashMap<Uuid, HashSet<OrderId>> = HashMap::new();
        let (mut made, mut told_no) = (HashMap::<Uuid, u32>::new(), HashSet::new());
        for (at, outcome) in &self.tally.outcomes {
            let Some(key) = self.presses.get(*at).map(|press| press.key) else { continue };
            match outcome {
                Outcome::Made(order) => {
                    *made.entry(key).or_default() += 1;
                    answered.entry(key).or_default().insert(*order);
                }
                Outcome::Replayed(order) => {
                    answered.entry(key).or_default().insert(*order);
                }
                Outcome::Refused(_) => {
                    told_no.insert(key);
                }
                Outcome::Undecided(_) => {}
            }
        }
        let several = answered.values().filter(|orders| orders.len() > 1).count();
        let twice = made.values().filter(|count| **count > 1).count();
        if several + twice > 0 {
            findings.push(format!("{} double clicks made two orders", several.max(twice)));
        }
        let both = answered.keys().filter(|key| told_no.contains(*key)).count();
        if both > 0 {
            findings.push(format!("{both} double clicks were told both yes and no"));
        }
        let in_books: HashSet<&OrderId> = self.books.orders.iter().collect();
        let lost = answered.values().flatten().filter(|order| !in_books.contains(order)).count();
        if lost > 0 {
            findings.push(format!("{lost} confirmed orders are not in the books"));
        }
        findings
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, outcome) in &self.tally.outcomes {
            match outcome {
                Outcome::Made(_) => counts.made += 1,
                Outcome::Replayed(_) => counts.replayed += 1,
                Outcome::Refused(code) => *counts.refused.entry(code.clone()).or_default() += 1,
                Outcome::Undecided(code) => *counts.undecided.entry(code.clone()).or_default() += 1,
            }
        }
        counts
    }
}

#[derive(Default)]
struct Counts {
    made: usize,
    replayed: usize,
    refused: BTreeMap<String, u64>,
    undecided: BTreeMap<String, u64>,
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<String> = counts.iter().map(|(code, count)| format!("{count} {code}")).collect();
    words.join(", ")
}

fn spread(times: &Latencies) -> String {
    let Some(spread) = times.spread() else { return "none".to_owned() };
    let columns = [spread.p50, spread.p95, spread.p99, spread.max];
    columns.map(|time| format!("{:>8.2}", time.as_secs_f64() * 1_000.0)).join(" ")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn per_second(count: usize, time: Duration) -> String {
    if count == 0 || time.is_zero() {
        return "0".to_owned();
    }
    format!("{:.0}", count as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::ids::new_id;

    /// Two buyers for one unit, the second with a double click, answered like this.
    fn rehearsed(answers: &[(usize, Outcome)], orders: &[OrderId]) -> Rehearsed {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let presses = [one, two, two].map(|key| Press { buyer: new_id(), key });
        Rehearsed {
            engine: "any".to_owned(),
            buyers: 2,
            doubles: 1,
            stock: 1,
            connections: 2,
            time_limit: Duration::from_secs(1),
            price: Money::from_cents(1_000),
            presses: Arc::new(presses),
            tally: Tally { outcomes: answers.to_vec(), ..Tally::default() },
            books: Books { orders: orders.to_vec(), discrepancies: Vec::new() },
        }
    }

    #[test]
    fn a_verdict_names_every_broken_promise() {
        let (a, b): (OrderId, OrderId) = (new_id(), new_id());
        let no = |code: &str| Outcome::Refused(code.to_owned());
        let (made, replayed) = (Outcome::Made, Outcome::Replayed);
        let sold_out = || (0, no(SOLD_OUT));
        let well = [sold_out(), (1, made(a)), (2, replayed(a))];
        let seen = rehearsed(&well, &[a]);
        assert_eq!(seen.findings(), Vec::<String>::new());
        assert!(seen.text().ends_with("1 orders, 10.00, balanced\nverdict: passed\n"));
        let lost = Outcome::Undecided("no_answer".to_owned());
        let cases = [
            (vec![sold_out(), (1, made(a)), (2, made(b))], vec![a], "made two orders"),
            (vec![sold_out(), (1, made(a)), (2, made(a))], vec![a], "made two orders"),
            (vec![sold_out(), (1, made(a)), (2, no(SOLD_OUT))], vec![a], "both yes and no"),
            (well.to_vec(), vec![b], "1 confirmed orders are not in the books"),
            (well.to_vec(), vec![a, b], "1 orders were due, 2 are in the books"),
            (vec![sold_out(), (1, no(SOLD_OUT)), (2, no(SOLD_OUT))], vec![], "0 are in the books"),
            (vec![(0, no("forbidden")), (1, made(a)), (2, replayed(a))], vec![a], "forbidden"),
            (vec![(0, lost), (1, made(a)), (2, replayed(a))], vec![a], "at last by no_answer"),
            (vec![(1, made(a)), (2, replayed(a))], vec![a], "1 presses were not sent within 1.0 s"),
        ];
        for (answers, orders, finding) in cases {
            let seen = rehearsed(&answers, &orders);
            let findings = seen.findings();
            assert!(
                findings.iter().any(|found| found.contains(finding)),
                "{finding}: {findings:?}"
            );
            assert!(seen.text().ends_with("verdict: failed\n"));
        }
        let mut seen = rehearsed(&well, &[a]);
        seen.tally.again.insert(DEFECT.to_owned(), 3);
        assert_eq!(seen.findings(), ["3 answers were internal errors"]);
    }
}
