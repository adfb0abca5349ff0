//! The report, as markdown: bars first, then what they are made of. Medians over rounds.

use std::fmt::Write as _;
use std::path::Path;

use crate::Outcome;
use crate::bars::{Bar, Bound};
use crate::options::{Options, Section};
use crate::results::{Results, Row};
use crate::samples::median;

/// Between these lines of performance.md the report lives.
const BEGIN: &str = "<!-- bench:begin";
const END: &str = "<!-- bench:end";

/// The whole report, without a heading.
pub(crate) fn markdown(results: &Results, options: &Options) -> String {
    let mut text = String::new();
    let out = &mut text;
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Made by `{}`.\n", results.command);
    for (section, reason) in &results.failures {
        let _ = writeln!(out, "**The section `{}` failed: {reason}.**\n", section.name());
    }
    settings(out, results, options);
    bars(out, &results.bars);
    for section in options.sections() {
        rows(out, results, section);
        figures(out, results, section);
    }
    truth(out, results);
    text
}

/// Puts the report between the markers of a document.
pub(crate) fn insert(path: &Path, report: &str) -> Outcome<()> {
    let text = std::fs::read_to_string(path)?;
    let begin = text.find(BEGIN).ok_or("the document has no begin marker")?;
    let begin = begin + text[begin..].find('\n').ok_or("the marker ends no line")? + 1;
    let end = text.find(END).filter(|end| *end >= begin).ok_or("it has no end marker")?;
    std::fs::write(path, format!("{}{report}{}", &text[..begin], &text[end..]))?;
    Ok(())
}

fn settings(out: &mut String, results: &Results, options: &Options) {
    let _ = writeln!(out, "| setting | value |\n|---|---|");
    for (name, value) in &results.settings {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    let (seconds, rounds) = (options.counted().as_secs(), options.rounds());
    let _ = writeln!(out, "| wallets | {} |", options.buyers);
    let _ = writeln!(out, "| counted | {seconds} s of each cell, {rounds} rounds, in turn |\n");
}

fn bars(out: &mut String, bars: &[Bar]) {
    let _ = writeln!(out, "| measure | measured | bar | hope | |\n|---|--:|--:|--:|---|");
    for bar in bars {
        let unit = if bar.unit.is_empty() { String::new() } else { format!(" {}", bar.unit) };
        let value = bar.value.map_or_else(|| "–".to_owned(), |value| digits(value) + &unit);
        let verdict = match (bar.value, bar.bar, bar.hope) {
            (None, ..) => "not measured",
            (Some(value), Some(bar), _) if !bar.kept(value) => "**missed**",
            (Some(value), _, Some(hope)) if hope.kept(value) => "met, and the hope",
            (Some(_), Some(_), _) => "met",
            (Some(_), None, Some(_)) => "the hope is missed",
            (Some(_), None, None) => "",
        };
        let _ = writeln!(
            out,
            "| {} | {value} | {} | {} | {verdict} |",
            bar.measure,
            bound(bar.bar),
            bound(bar.hope),
        );
    }
    let _ = writeln!(out);
}

fn bound(bound: Option<Bound>) -> String {
    match bound {
        None => "–".to_owned(),
        Some(Bound::AtLeast(least)) => least.to_string(),
        Some(Bound::AtMost(most)) => format!("at most {most}"),
    }
}

/// Contenders of a section in the order of their first turn, fewest connections first.
fn contenders(results: &Results, section: Section) -> Vec<(&str, u16)> {
    let mut names: Vec<&str> = Vec::new();
    let mut found: Vec<(&str, u16)> = Vec::new();
    for row in results.rows.iter().filter(|row| row.section == section) {
        if !names.contains(&row.who.as_str()) {
            names.push(&row.who);
        }
        if !found.contains(&(&row.who, row.connections)) {
            found.push((&row.who, row.connections));
        }
    }
    let place = |who: &str| names.iter().position(|name| *name == who);
    found.sort_by_key(|(who, connections)| (place(who), *connections));
    found
}

fn rows(out: &mut String, results: &Results, section: Section) {
    let contenders = contenders(results, section);
    if contenders.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "### {}\n\n| who | connections | per second | lowest – highest | p50 ms | p99 ms \
         | p99.9 ms | CPU of service, ms | CPU of database, ms | WAL, bytes | other answers |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        section.name(),
    );
    for (who, connections) in contenders {
        let rounds: Vec<&Row> = results.rounds(section, who, connections).collect();
        let middle =
            |get: fn(&Row) -> Option<f64>| median(rounds.iter().filter_map(|row| get(row)));
        let rates = rounds.iter().map(|row| row.per_second);
        let (low, high) = rates.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), rate| {
            (low.min(rate), high.max(rate))
        });
        let _ = writeln!(
            out,
            "| {who} | {connections} | {} | {low:.0} – {high:.0} | {} | {} | {} | {} | {} | {} \
             | {} |",
            number(middle(|row| Some(row.per_second)), 0),
            number(middle(|row| Some(row.p50_ms)), 2),
            number(middle(|row| Some(row.p99_ms)), 2),
            number(middle(|row| Some(row.p999_ms)), 2),
            number(middle(|row| row.service_cpu_ms), 3),
            number(middle(|row| row.database_cpu_ms), 3),
            number(middle(|row| row.wal_bytes), 0),
            others(&rounds),
        );
    }
    let _ = writeln!(out);
}

/// Answers that do not count, by status, over all rounds.
fn others(rounds: &[&Row]) -> String {
    let mut all = std::collections::BTreeMap::new();
    for (status, count) in rounds.iter().flat_map(|row| &row.others) {
        *all.entry(*status).or_insert(0_u64) += count;
    }
    let told: Vec<String> = all.iter().map(|(status, n)| format!("{n} × {status}")).collect();
    if told.is_empty() { "–".to_owned() } else { told.join(", ") }
}

fn figures(out: &mut String, results: &Results, section: Section) {
    let own: Vec<_> = results.figures.iter().filter(|figure| figure.section == section).collect();
    if own.is_empty() {
        return;
    }
    let _ = writeln!(out, "| figure of `{}` | median | of |\n|---|--:|---|", section.name());
    for figure in own {
        let middle = median(figure.values.iter().copied());
        let value = middle.map_or_else(|| "–".to_owned(), digits);
        let _ = writeln!(out, "| {} | {value} | {} |", figure.name, figure.unit);
    }
    let _ = writeln!(out);
}

fn truth(out: &mut String, results: &Results) {
    let orders = results.audits.iter().map(|(_, orders)| *orders).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "In each cell as many orders were acknowledged as were written. The books were checked \
         {} times, with up to {orders} orders in them, and balanced each time.",
        results.audits.len(),
    );
}

/// As many digits as a reader wants.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.095 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}
