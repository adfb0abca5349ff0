//! `cargo bench --bench orders`: orders per second, beside the yardsticks that say what they mean.
//!
//! Every number comes from one run on one machine: the contenders take turns in short cells, round
//! after round, so that whatever else the machine does hits all of them alike; what is reported are
//! medians and ratios within a round. Durability stays on. Only committed orders count: each cell's
//! 201s (or pgbench's transactions) are compared with the books, and the books are checked behind
//! each round.
//!
//! | room | what it does |
//! |---|---|
//! | `options` | the command line, and the list of sections |
//! | `server`, `world` | the database server; a database, its data, its counters |
//! | `service`, `echo`, `bare` | the processes that answer HTTP |
//! | `load`, `pgbench`, `groups` | the drivers: HTTP closed and open, pgbench, no HTTP at all |
//! | `relay`, `histogram`, `process` | a longer wire; what `/metrics` and `/proc` know |
//! | `bench` | one turn |
//! | `sections` | what is measured: who beside whom |
//! | `samples`, `results`, `facts` | latencies, rows and figures, circumstances |
//! | `bars`, `report` | what was promised; the tables |
//!
//! All traffic stays on loopback and unix sockets and ends by itself.

mod arrivals;
mod bare;
mod bars;
mod bench;
mod echo;
mod facts;
mod groups;
mod histogram;
mod load;
mod options;
mod pgbench;
mod process;
mod relay;
mod report;
mod results;
mod samples;
mod sections;
mod server;
mod service;
mod timer;
mod world;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use flashdeal::app::signals::StopSignals;

use bench::Bench;
use options::{Options, Section};
use results::Results;
use server::Server;
use world::World;

/// A result whose error is a sentence for the person who ran the benchmark.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(echo::ARGUMENT) => return ended("echo", echo::serve()),
        Some(bare::ARGUMENT) => return ended("bare", bare::serve()),
        _ => {}
    }
    // `cargo bench` says so; `cargo test --benches` and `--all-targets` do not, and want no load.
    let said = |word: &str| std::env::args().any(|argument| argument == word);
    if !said("--bench") || said("--test") {
        println!("orders: nothing to test here; `cargo bench` measures");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    ended("orders", run(&options))
}

/// Runs one of the processes to its end.
fn ended(name: &str, work: impl Future<Output = Outcome<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(work));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ten thousand connections are ten thousand descriptors on this side too.
fn raise_descriptor_limit() -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

async fn run(options: &Options) -> Outcome<()> {
    raise_descriptor_limit()?;
    let server = Server::start(options).await?;
    let mut signals = StopSignals::listen()?;
    let measured = tokio::select! {
        measured = measure(&server, options) => measured,
        signal = signals.next() => Err(signal.into()),
    };
    server.stop().await;
    let results = measured?;
    let text = report::markdown(&results, options);
    println!("\n{text}");
    if let Some(directory) = &options.write {
        let document = directory.join("performance.md");
        report::insert(&document, &text)?;
        println!("written to {}", document.display());
    }
    match results.failures.first() {
        None => Ok(()),
        Some((section, reason)) => Err(format!("{}: {reason}", section.name()).into()),
    }
}

/// One section after the other. A section that fails is reported and costs the others nothing.
async fn measure(server: &Server, options: &Options) -> Outcome<Results> {
    let mut world = World::new(server, options.buyers, 1).await?;
    let settings = facts::settings(&mut world).await?;
    let pgbench = pgbench::Pgbench::find(&mut world).await?;
    let results = Results { settings, command: options.command(), ..Results::default() };
    server.clear().await?;
    let mut bench = Bench { options, server, pgbench, results, section: Section::Hot };
    for section in options.sections() {
        let began = Instant::now();
        if let Err(error) = sections::run(&mut bench, section).await {
            eprintln!("{}: {error}", section.name());
            bench.results.failures.push((section, error.to_string()));
        }
        println!("{:>13}  took {:.0} s", section.name(), began.elapsed().as_secs_f64());
        bench.results.bars = bars::all(&bench.results);
        if let Some(path) = options.json() {
            bench.results.save(&path)?;
        }
    }
    Ok(bench.results)
}
