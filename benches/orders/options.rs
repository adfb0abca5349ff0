//! The command line: `cargo bench --bench orders -- --only hot,delay --seconds 5 --rounds 5`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// What is measured, in the order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Section {
    /// One hot sale: three engines beside echo, pgbench and groups without HTTP
    Hot,
    /// The grouped engine over 1, 4, 16 and 64 sales
    Sales,
    /// Refusals of a sold-out sale beside echo
    SoldOut,
    /// 10,000 connections open at once, one order each
    TenThousand,
    /// A million orders in the tables beside ten thousand
    Growth,
    /// Poisson arrivals at 50 % and 80 % of the maximum
    Open,
    /// A database behind a relay: 1 ms each way, and 50 ms for an order
    Delay,
    /// Statements, write-ahead log and flushes per order
    Costs,
    /// Metrics scraped and JSON logs written, beside neither
    Observation,
    /// Reads of one sale beside `/livez`
    Reads,
}

impl Section {
    /// The name on the command line and in reports.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What a person may decide about a run.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo bench --bench orders --", about = "Orders per second, and what they mean")]
pub(crate) struct Options {
    /// Seconds of each cell that count [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: Option<u32>,
    /// Rounds; what is reported are medians over them [default: 4, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: Option<u32>,
    /// One short round of everything: does it run at all?
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these sections, such as hot,delay
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Pool size of the services [default: the service's own]
    #[arg(long)]
    pub(crate) db_connections: Option<u16>,
    /// Wallets that orders are spread over
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1_000..=99_999))]
    pub(crate) buyers: u32,
    /// Orders in the larger tables of `growth` [default: 1000000, with --quick 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20_000..=10_000_000))]
    grown: Option<u32>,
    /// Put the report into performance.md of this directory, between its markers, and the numbers
    /// into performance.json beside it
    #[arg(long, num_args = 0..=1, default_missing_value = "docs", value_name = "DIRECTORY")]
    pub(crate) write: Option<PathBuf>,
    /// Only the numbers, into this file, after each section
    #[arg(long)]
    json: Option<PathBuf>,
    /// A server on this machine whose role may make databases, instead of the benchmark's own
    #[arg(long, env = "BENCH_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The part of a cell that counts.
    pub(crate) fn counted(&self) -> Duration {
        let default = if self.quick { 1 } else { 3 };
        Duration::from_secs(u64::from(self.seconds.unwrap_or(default)))
    }

    /// How often everybody has a turn.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 4 })
    }

    /// How many orders a grown table has.
    pub(crate) fn grown(&self) -> u32 {
        self.grown.unwrap_or(if self.quick { 100_000 } else { 1_000_000 })
    }

    /// What is to be measured, in the order of a run.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let all = Section::value_variants().iter().copied();
        all.filter(|section| self.only.is_empty() || self.only.contains(section)).collect()
    }

    /// Where the numbers go.
    pub(crate) fn json(&self) -> Option<PathBuf> {
        let beside = || self.write.as_ref().map(|directory| directory.join("performance.json"));
        self.json.clone().or_else(beside)
    }

    /// The command that makes this report again.
    pub(crate) fn command(&self) -> String {
        let (seconds, rounds) = (self.counted().as_secs(), self.rounds());
        let mut line =
            format!("cargo bench --bench orders -- --seconds {seconds} --rounds {rounds}");
        // Writing to a String cannot fail.
        if !self.only.is_empty() {
            let names: Vec<String> = self.sections().into_iter().map(Section::name).collect();
            let _ = write!(line, " --only {}", names.join(","));
        }
        if let Some(size) = self.db_connections {
            let _ = write!(line, " --db-connections {size}");
        }
        if self.buyers != 10_000 {
            let _ = write!(line, " --buyers {}", self.buyers);
        }
        if self.grown() != 1_000_000 {
            let _ = write!(line, " --grown {}", self.grown());
        }
        line
    }
}
