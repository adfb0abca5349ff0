//! `cargo bench`: orders per second on one hot sale, beside the yardsticks that say what they mean.
//!
//! Every number comes from one run on one machine: the contenders take turns in short cells, round
//! after round, so that whatever else the machine does hits all of them alike; what is reported are
//! medians and ratios within a round. Durability stays on. Only committed orders count: each cell's
//! 201s (or pgbench's transactions) are compared with the rows in the table, and the books are
//! checked behind each round.
//!
//! | room | what it does |
//! |---|---|
//! | `options` | the command line |
//! | `plan` | who is measured, at how many connections: a new engine is one line here |
//! | `world` | the database, its data, its counters |
//! | `service`, `echo` | the processes that answer HTTP |
//! | `load`, `pgbench` | the two drivers |
//! | `samples`, `process` | latencies, and what `/proc` knows |
//! | `measure`, `facts` | the rounds, and the circumstances |
//! | `report` | the table |
//!
//! All traffic stays on loopback and unix sockets and ends by itself.

mod echo;
mod facts;
mod load;
mod measure;
mod options;
mod pgbench;
mod plan;
mod process;
mod report;
mod samples;
mod service;
mod world;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use options::Options;
use world::World;

/// A result whose error is a sentence for the person who ran the benchmark.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(echo::ARGUMENT) {
        return echo::main();
    }
    // `cargo bench` says so; `cargo test --benches` and `--all-targets` do not, and want no load.
    let said = |word: &str| std::env::args().any(|argument| argument == word);
    if !said("--bench") || said("--test") {
        println!("orders: nothing to test here; `cargo bench` measures");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("orders: {error}");
    ExitCode::FAILURE
}

async fn run(options: &Options) -> Outcome<()> {
    let mut world = World::start(options).await?;
    let measured = tokio::select! {
        measured = measure::all(&mut world, options) => measured,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    world.stop().await;
    let text = report::markdown(&measured?, options);
    println!("\n{text}");
    if let Some(path) = &options.write {
        std::fs::write(path, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}
