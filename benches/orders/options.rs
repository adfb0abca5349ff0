//! The command line: `cargo bench -- --seconds 10 --rounds 5 --write performance.md`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// What a person may decide about a run.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo bench --", about = "Orders per second on one hot sale")]
pub(crate) struct Options {
    /// Seconds of each cell that count [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: Option<u32>,
    /// Rounds; what is reported are medians over them [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: Option<u32>,
    /// One short round: does it run at all?
    #[arg(long)]
    quick: bool,
    /// Connections of the services and of pgbench's statements instead of the plan's, such as 1,16
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: Option<Vec<u16>>,
    /// Only contenders whose name contains this text
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Pool size of the services [default: the service's own]
    #[arg(long)]
    pub(crate) db_connections: Option<u16>,
    /// Wallets that orders are spread over
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=99_999))]
    pub(crate) buyers: u32,
    /// Also write the report here
    #[arg(long)]
    pub(crate) write: Option<PathBuf>,
    /// An empty database on this machine instead of a server of the benchmark's own
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
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// The command that makes this report again.
    pub(crate) fn command(&self) -> String {
        let (seconds, rounds) = (self.counted().as_secs(), self.rounds());
        let mut line = format!("cargo bench -- --seconds {seconds} --rounds {rounds}");
        // Writing to a String cannot fail.
        if let Some(connections) = &self.connections {
            let list: Vec<String> = connections.iter().map(ToString::to_string).collect();
            let _ = write!(line, " --connections {}", list.join(","));
        }
        if let Some(only) = &self.only {
            let _ = write!(line, " --only {only}");
        }
        if let Some(size) = self.db_connections {
            let _ = write!(line, " --db-connections {size}");
        }
        line
    }
}
