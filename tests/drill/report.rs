//! The table at the end of a drill, as it goes into `docs/RELIABILITY.md`.

use std::time::Duration;

use crate::board::Board;
use crate::faults_done;
use crate::plan::{DECK, Settings};
use crate::stage::{MAX_CONNECTIONS, SETTINGS, engine};

/// One line for each round.
pub(crate) fn line(board: &Board, round: usize, orders: u64, elapsed: Duration) -> String {
    format!(
        "round {round}: {orders} orders, {} requests, {} faults, {} violations, {:.0} s",
        board.requests(),
        faults_done(board),
        board.violations(),
        elapsed.as_secs_f64()
    )
}

/// Everything.
pub(crate) fn print(
    board: &Board,
    settings: Settings,
    version: &str,
    orders: u64,
    elapsed: Duration,
) {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("\n| what | figure |\n|---|---|");
    println!("| flashdeal | {} ({profile}) |", env!("CARGO_PKG_VERSION"));
    println!("| PostgreSQL | {version}, max_connections {MAX_CONNECTIONS}, durable |");
    let pairs: Vec<String> =
        SETTINGS.iter().map(|(name, value)| format!("{name}={value}")).collect();
    println!("| two instances | engine {}, {} |", engine(), pairs.join(", "));
    println!("| seed | {} |", settings.seed);
    println!("| time | {:.0} s |", elapsed.as_secs_f64());
    println!("| orders | {orders} |");
    println!("| requests | {} |", board.requests());
    println!("| faults of services, wires, server | {} |", faults_done(board));
    println!("| violations | {} |", board.violations());
    println!(
        "\n| fault | count | first 201 after it: median, longest | full rate: median, longest |"
    );
    println!("|---|---:|---|---|");
    let [first, full] = board.recoveries();
    for (name, count) in board.faults() {
        let shown =
            |times: Option<&Vec<Duration>>| times.map_or("".to_owned(), |times| span(times));
        println!("| {name} | {count} | {} | {} |", shown(first.get(name)), shown(full.get(name)));
    }
    for (_, _, name, _) in DECK.iter().filter(|row| !board.faults().contains_key(row.2)) {
        println!("| {name} | 0 | | |");
    }
    println!("\n| answer | count |\n|---|---:|");
    for (name, count) in board.answers() {
        println!("| {name} | {count} |");
    }
}

fn span(times: &[Duration]) -> String {
    let shown = |time: Option<&Duration>| match time {
        Some(time) if time.as_millis() < 1_000 => format!("{} ms", time.as_millis()),
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
        None => String::new(),
    };
    format!("{}, {}", shown(times.get(times.len() / 2)), shown(times.last()))
}
