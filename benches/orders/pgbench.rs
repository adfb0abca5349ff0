//! The pgbench driver: what the database does when nothing stands in front of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::Outcome;
use crate::samples::Sample;
use crate::world::World;

/// Scripts name the wallets and the sale.
const STATEMENTS: &str = include_str!("sql/statements.sql");
const FUNCTION_CALL: &str = include_str!("sql/function_call.sql");

/// Which script.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Script {
    /// The service's statements, one by one.
    Statements,
    /// One function call.
    FunctionCall,
}

impl Script {
    fn text(self) -> &'static str {
        match self {
            Script::Statements => STATEMENTS,
            Script::FunctionCall => FUNCTION_CALL,
        }
    }
}

/// The program, asked for once.
#[derive(Debug)]
pub(crate) struct Pgbench {
    program: PathBuf,
}

impl Pgbench {
    /// The pgbench of the server's own version where the server says where that is (one that runs
    /// here, asked by a superuser), else the one in `PATH`.
    pub(crate) async fn find(world: &mut World) -> Outcome<Pgbench> {
        let bin_dir = world.text("SELECT setting FROM pg_config WHERE name = 'BINDIR'").await;
        let beside = bin_dir.map(|directory| Path::new(&directory).join("pgbench"));
        let program = beside.ok().filter(|path| path.is_file()).unwrap_or_else(|| "pgbench".into());
        let version = Command::new(&program).arg("--version").output().await;
        if !version.is_ok_and(|output| output.status.success()) {
            return Err("pgbench is not installed: it comes with PostgreSQL's server or \
                        contrib package"
                .into());
        }
        Ok(Pgbench { program })
    }

    /// Drives `clients` sessions with a script for whole seconds. Every transaction is one order.
    pub(crate) async fn drive(
        &self,
        world: &World,
        script: Script,
        clients: u16,
        lasting: Duration,
    ) -> Outcome<Vec<Sample>> {
        let scratch = world.scratch.clone();
        let file = scratch.join("script.sql");
        std::fs::write(&file, script.text())?;
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads = threads.min(clients.into());
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared", "--log"])
            .arg(format!("--log-prefix={}", scratch.join("log").display()))
            .arg(format!("--file={}", file.display()))
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={threads}"))
            .arg(format!("--time={}", lasting.as_secs().max(1)))
            .arg(format!("--define=sale_id={}", world.sales[0]))
            .arg(format!("--define=buyers={}", world.buyers))
            .arg(&world.url)
            // As the service's transactions say it themselves.
            .env("PGOPTIONS", "-c plan_cache_mode=force_generic_plan")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("pgbench failed: {complaint}").into());
        }
        let samples = take_logs(&scratch)?;
        let processed = processed(&said).ok_or("pgbench did not say what it did")?;
        if processed != samples.len() {
            let found = samples.len();
            return Err(format!("pgbench did {processed} and logged {found}").into());
        }
        Ok(samples)
    }
}

fn processed(said: &str) -> Option<usize> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("number of transactions actually processed: "))?;
    line.split('/').next()?.trim().parse().ok()
}

/// One transaction of the log, in microseconds of the epoch.
struct Logged {
    ended_us: u64,
    latency_us: u32,
}

/// Reads and removes the logs: one file for each thread.
fn take_logs(scratch: &Path) -> Outcome<Vec<Sample>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(scratch)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("log.") {
            let text = std::fs::read_to_string(&path)?;
            for line in text.lines() {
                all.push(logged(line).ok_or_else(|| format!("pgbench logged {line:?}"))?);
            }
            std::fs::remove_file(&path)?;
        }
    }
    let began = all.iter().map(|one| one.ended_us - u64::from(one.latency_us)).min().unwrap_or(0);
    let sample =
        |one: Logged| Sample { answered_us: one.ended_us - began, latency_us: one.latency_us };
    Ok(all.into_iter().map(sample).collect())
}

/// `client_id transaction_no time script_no time_epoch time_us`, as the manual of pgbench has it.
fn logged(line: &str) -> Option<Logged> {
    let mut fields = line.split(' ').skip(2);
    let latency_us: u32 = fields.next()?.parse().ok()?;
    let seconds: u64 = fields.nth(1)?.parse().ok()?;
    let micros: u64 = fields.next()?.parse().ok()?;
    Some(Logged { ended_us: seconds * 1_000_000 + micros, latency_us })
}
