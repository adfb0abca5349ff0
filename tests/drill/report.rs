//! The report of a drill, as it goes into `docs/drills/`: printed, and with `DRILL_LOG` kept in a
//! file that is written again after each round, so that a run that is broken off has left its word.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::board::Board;
use crate::plan::{DECK, Settings};
use crate::quota::{bind, faults_done, quotas};
use crate::shop::now;
use crate::stage::{MAX_CONNECTIONS, SETTINGS, Stage, engine};

/// What is known of a run so far.
pub(crate) struct Report {
    settings: Settings,
    version: String,
    disk: &'static str,
    began: String,
    rounds: String,
    file: Option<PathBuf>,
}

impl Report {
    /// At the beginning.
    pub(crate) fn begin(settings: Settings, stage: &Stage) -> Report {
        let file = std::env::var_os("DRILL_LOG").map(PathBuf::from);
        let began = now().format("%Y-%m-%d %H:%M UTC").to_string();
        let disk = match stage.disk {
            Some(_) => "a file system of limited size below the orders",
            None => "stand-in: 53100 at the write",
        };
        let version = stage.version().to_owned();
        Report { settings, version, disk, began, rounds: String::new(), file }
    }

    /// Behind a round.
    pub(crate) fn round(&mut self, board: &Board, round: usize, orders: u64) {
        let line = format!(
            "round {round}: {orders} orders, {} requests, {} faults, {} violations, {:.0} s",
            board.requests(),
            faults_done(board),
            board.violations(),
            board.elapsed().as_secs_f64()
        );
        println!("{line}");
        self.rounds.push_str(&line);
        self.rounds.push('\n');
        self.keep(&self.text(board, orders));
    }

    /// At the end.
    pub(crate) fn end(&self, board: &Board, orders: u64) {
        let text = self.text(board, orders);
        println!("\n{text}");
        self.keep(&text);
    }

    fn keep(&self, text: &str) {
        if let Some(file) = &self.file {
            let rounds = format!("{text}\n```\n{}```\n", self.rounds);
            std::fs::write(file, rounds).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        }
    }

    fn text(&self, board: &Board, orders: u64) -> String {
        let mut text = format!("`{}`\n\n", self.command());
        // Writing to a string cannot fail.
        let _ = self.head(&mut text, board, orders);
        let _ = self.minima(&mut text, board, orders);
        let _ = table(&mut text, board);
        text
    }

    /// What repeats it.
    fn command(&self) -> String {
        let mut words = Vec::new();
        if let Some(time) = self.settings.time {
            words.push(format!("DRILL_SECONDS={}", time.as_secs()));
        }
        words.push(format!("DRILL_SEED={}", self.settings.seed));
        if let Ok(engine) = std::env::var("DRILL_ENGINE") {
            words.push(format!("DRILL_ENGINE={engine}"));
        }
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        words.push(format!("cargo test{release} --test drill"));
        words.join(" ")
    }

    fn head(&self, text: &mut String, board: &Board, orders: u64) -> std::fmt::Result {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let pairs: Vec<String> =
            SETTINGS.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').take(3).collect::<Vec<_>>().join(", ");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        writeln!(text, "| what | figure |\n|---|---|")?;
        writeln!(text, "| begun | {} |", self.began)?;
        writeln!(text, "| flashdeal | {}, {profile}, {} |", env!("CARGO_PKG_VERSION"), commit())?;
        writeln!(
            text,
            "| PostgreSQL | {}, max_connections {MAX_CONNECTIONS}, durable |",
            self.version
        )?;
        writeln!(text, "| two instances | engine {}, {} |", engine(), pairs.join(", "))?;
        writeln!(text, "| machine | {cores} cores, load average at the end {load} |")?;
        writeln!(text, "| full disk | {} |", self.disk)?;
        writeln!(text, "| seed | {} |", self.settings.seed)?;
        writeln!(text, "| time | {:.0} s |", board.elapsed().as_secs_f64())?;
        writeln!(text, "| orders | {orders} |")?;
        writeln!(text, "| requests | {} |", board.requests())?;
        writeln!(text, "| faults of services, wires, server | {} |", faults_done(board))?;
        writeln!(text, "| violations | {} |", board.violations())
    }

    fn minima(&self, text: &mut String, board: &Board, orders: u64) -> std::fmt::Result {
        let asked = if bind(self.settings) { "asked" } else { "its share of the long run" };
        writeln!(text, "\n| minimum | {asked} | done | reached |\n|---|---:|---:|---|")?;
        for quota in quotas(self.settings, board, orders) {
            let reached = if quota.reached() { "yes" } else { "no" };
            writeln!(text, "| {} | {} | {} | {reached} |", quota.what, quota.asked, quota.done)?;
        }
        Ok(())
    }
}

/// The commit that runs, as far as git knows.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let told = Command::new("git").args(arguments).output().ok()?;
        told.status.success().then(|| String::from_utf8_lossy(&told.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "commit unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--", "src", "migrations", "tests/drill"]);
    let changed = changed.is_some_and(|files| !files.is_empty());
    format!("commit {commit}{}", if changed { " with changes" } else { "" })
}

/// Every kind of fault with what followed it, and every kind of answer.
fn table(text: &mut String, board: &Board) -> std::fmt::Result {
    writeln!(text, "\nTimes are the median, the 99th percentile and the longest.\n")?;
    writeln!(text, "| fault | count | first 201 after it | bar | above it | full rate |")?;
    writeln!(text, "|---|---:|---|---:|---:|---|")?;
    let [first, full] = board.recoveries();
    let faults = board.faults();
    let shown = |times: Option<&Vec<Duration>>| times.map_or_else(String::new, |times| span(times));
    for (name, count) in faults.iter().filter(|(name, _)| name.starts_with("client")) {
        writeln!(text, "| {name} | {count} | | | | |")?;
    }
    for (_, _, name, bar) in DECK {
        let count = faults.get(name).copied().unwrap_or_default();
        let times = first.get(name);
        let above = times.map_or(0, |times| times.iter().filter(|time| **time > bar).count());
        let (first, full, bar) = (shown(times), shown(full.get(name)), bar.as_secs());
        writeln!(text, "| {name} | {count} | {first} | {bar} s | {above} | {full} |")?;
    }
    writeln!(text, "\n| answer | count |\n|---|---:|")?;
    for (name, count) in board.answers() {
        writeln!(text, "| {name} | {count} |")?;
    }
    Ok(())
}

/// Sorted times in a few words.
fn span(times: &[Duration]) -> String {
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1));
    let shown = |time: Option<&Duration>| match time {
        Some(time) if time.as_millis() < 1_000 => format!("{} ms", time.as_millis()),
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
        None => String::new(),
    };
    format!("{}, {}, {}", shown(at(50)), shown(at(99)), shown(at(100)))
}
