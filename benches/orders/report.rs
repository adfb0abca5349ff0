//! The table, as markdown: medians over rounds, ratios within a round.

use std::fmt::Write as _;

use crate::measure::{Measured, Run, Statement};
use crate::options::Options;
use crate::plan::{self, Cell, Driver, ECHO, FUNCTION_CALL, PESSIMISTIC, STATEMENTS};
use crate::samples::median;

/// What the service's pessimistic engine must reach of its own statements at 16 connections.
const BAR_OF_STATEMENTS: f64 = 0.8;
/// What the service may take of memory, in bytes.
const BAR_OF_MEMORY: u64 = 100 * 1024 * 1024;

/// The whole report.
pub(crate) fn markdown(run: &Run, options: &Options) -> String {
    let mut text = String::from("# Orders per second on one hot sale\n\n");
    let out = &mut text;
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Made by `{}`.\n", options.command());
    settings(out, run, options);
    rates(out, run, options);
    ratios(out, run, options);
    statements(out, run.statements.as_deref());
    truth(out, run);
    text
}

fn settings(out: &mut String, run: &Run, options: &Options) {
    let _ = writeln!(out, "| setting | value |\n|---|---|");
    for (name, value) in &run.settings {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    let _ = writeln!(out, "| wallets | {} |", options.buyers);
    let _ = writeln!(
        out,
        "| counted | {} s of each cell, {} rounds, everybody in turn |",
        options.counted().as_secs(),
        options.rounds(),
    );
    let _ = writeln!(out);
}

fn rates(out: &mut String, run: &Run, options: &Options) {
    let _ = writeln!(
        out,
        "| who | connections | orders/s | lowest – highest | p50 ms | p99 ms \
         | CPU of service, ms/order | CPU of database, ms/order | WAL, bytes/order |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    let mut cells = plan::cells(options);
    cells.sort_by_key(|cell| cell.contender.name);
    let (own, others): (Vec<Cell>, Vec<Cell>) =
        cells.into_iter().partition(|cell| matches!(cell.contender.driver, Driver::Engine(_)));
    for cell in own.into_iter().chain(others) {
        let rounds: Vec<&Measured> = of(run, cell).collect();
        let middle = |get: fn(&Measured) -> Option<f64>| {
            median(rounds.iter().filter_map(|measured| get(measured)))
        };
        let rates = rounds.iter().map(|measured| measured.summary.per_second);
        let (low, high) = rates.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), rate| {
            (low.min(rate), high.max(rate))
        });
        let _ = writeln!(
            out,
            "| {} | {} | {} | {low:.0} – {high:.0} | {} | {} | {} | {} | {} |",
            cell.contender.name,
            cell.connections,
            number(middle(|one| Some(one.summary.per_second)), 0),
            number(middle(|one| Some(one.summary.p50_ms)), 2),
            number(middle(|one| Some(one.summary.p99_ms)), 2),
            number(middle(|one| one.service_cpu_ms), 3),
            number(middle(|one| one.database_cpu_ms), 3),
            number(middle(|one| one.wal_bytes), 0),
        );
    }
    let _ = writeln!(
        out,
        "\n(a) the service's own statements, driven by pgbench over the same socket, prepared; \
         (b) the whole order as one PL/pgSQL function, one call each; (c) `POST /bench/echo`: the \
         service's accept loop, layers, routing, JSON, validation and 201 in a process of its own, \
         on an engine without a database.\n"
    );
}

fn ratios(out: &mut String, run: &Run, options: &Options) {
    let _ = writeln!(out, "| ratio | value | |\n|---|--:|---|");
    let cells = plan::cells(options);
    let named = |name: &'static str| cells.iter().filter(move |cell| cell.contender.name == name);
    for own in named(PESSIMISTIC) {
        let beside = named(STATEMENTS).find(|cell| cell.connections == own.connections);
        let Some(ratio) = beside.and_then(|beside| ratio(run, *own, *beside)) else {
            continue;
        };
        let verdict = match own.connections {
            16 if ratio >= BAR_OF_STATEMENTS => format!("bar {BAR_OF_STATEMENTS}: met"),
            16 => format!("bar {BAR_OF_STATEMENTS}: **missed**"),
            _ => String::new(),
        };
        let connections = own.connections;
        let _ = writeln!(
            out,
            "| {PESSIMISTIC} / {STATEMENTS}, {connections} connections | {ratio:.2} | {verdict} |"
        );
    }
    let rate = |cell: &Cell| median(of(run, *cell).map(|one| one.summary.per_second));
    let best = |name| named(name).max_by(|a, b| f64::total_cmp(&known(rate(a)), &known(rate(b))));
    for (name, yardstick) in
        [(PESSIMISTIC, FUNCTION_CALL), (PESSIMISTIC, ECHO), (FUNCTION_CALL, ECHO)]
    {
        if let (Some(own), Some(beside)) = (best(name), best(yardstick)) {
            let _ = writeln!(
                out,
                "| {name} at its best ({}) / {yardstick} at its best ({}) | {} | |",
                own.connections,
                beside.connections,
                number(ratio(run, *own, *beside), 3),
            );
        }
    }
    let _ = writeln!(out);
}

fn statements(out: &mut String, counted: Option<&[Statement]>) {
    let Some(counted) = counted else {
        let _ =
            writeln!(out, "Statements were not counted: the server has no `pg_stat_statements`.\n");
        return;
    };
    let is_frame = |one: &&Statement| {
        let word = one.text.split(' ').next().unwrap_or_default();
        word.eq_ignore_ascii_case("BEGIN") || word.eq_ignore_ascii_case("COMMIT")
    };
    let total: f64 = counted.iter().map(|one| one.per_order).sum();
    let frame: f64 = counted.iter().filter(is_frame).map(|one| one.per_order).sum();
    let _ = writeln!(
        out,
        "Statements per order of the first engine, counted by `pg_stat_statements` at one \
         connection: **{:.2}** between BEGIN and COMMIT, {total:.2} with them.\n",
        total - frame,
    );
    let _ = writeln!(out, "| statement | per order |\n|---|--:|");
    for one in counted {
        let begin: String = one.text.chars().take(72).collect();
        let _ = writeln!(out, "| `{begin}` | {:.2} |", one.per_order);
    }
    let _ = writeln!(out);
}

fn truth(out: &mut String, run: &Run) {
    for (driver, bytes) in &run.memory {
        let name = match driver {
            Driver::Engine(name) => name,
            _ => "echo",
        };
        let Some(bytes) = bytes else { continue };
        let verdict = if *bytes < BAR_OF_MEMORY {
            "under the bar of 100 MiB"
        } else {
            "**over the bar of 100 MiB**"
        };
        let mebibytes = *bytes as f64 / (1024.0 * 1024.0);
        let _ = writeln!(
            out,
            "Memory of the service `{name}` at its most: {mebibytes:.1} MiB, {verdict}.  "
        );
    }
    let mut lengths: Vec<usize> = run.measured.iter().filter_map(|one| one.body_bytes).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let _ = writeln!(
        out,
        "Bodies of the 201s, in bytes: {lengths:?}.  \n\
         In each cell as many orders were acknowledged as rows were written ({} in all); the books \
         balanced behind each of {} rounds.",
        run.orders, run.audits,
    );
}

fn of(run: &Run, cell: Cell) -> impl Iterator<Item = &Measured> {
    run.measured.iter().filter(move |one| one.cell == cell)
}

/// The median of the ratios that two cells had in the same round.
fn ratio(run: &Run, own: Cell, beside: Cell) -> Option<f64> {
    median(of(run, own).filter_map(|one| {
        let other = of(run, beside).find(|other| other.round == one.round)?;
        Some(one.summary.per_second / other.summary.per_second)
    }))
}

fn known(rate: Option<f64>) -> f64 {
    rate.unwrap_or(0.0)
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}
