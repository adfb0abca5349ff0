//! A service under test: a process of its own, so that its memory and processor time are its own,
//! with the settings it is shipped with.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::options::Options;
use crate::plan::Driver;
use crate::world::World;
use crate::{Outcome, echo};

/// How long a service may take to listen.
const START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// What both services log when they are ready.
const LISTENING: &str = "listening address=";

/// A running service.
pub(crate) struct Service {
    /// Whom it belongs to.
    pub(crate) driver: Driver,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
    child: Child,
}

impl Service {
    /// Starts the service of a driver; `None` for a driver that needs none.
    pub(crate) async fn start(
        driver: Driver,
        world: &World,
        options: &Options,
    ) -> Outcome<Option<Service>> {
        let mut command = match driver {
            Driver::Engine(name) => engine(name, world, options),
            Driver::Echo => {
                let mut command = clean(std::env::current_exe()?.as_path());
                command.arg(echo::ARGUMENT);
                command
            }
            Driver::Statements | Driver::FunctionCall => return Ok(None),
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or("the service has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = timeout(START_MAX, listening(&mut lines))
            .await
            .map_err(|_elapsed| "the service did not start in time")??;
        tokio::spawn(pass_on_complaints(lines));
        let pid = child.id().ok_or("the service ended at once")?;
        Ok(Some(Service { driver, address, pid, child }))
    }

    /// Stops it, politely first.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGTERM)?;
        match timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("a service ended with {status}").into()),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => {
                self.child.kill().await?;
                Err("a service did not stop in time".into())
            }
        }
    }
}

/// The shipped binary, as cargo built it for this benchmark.
fn engine(name: &str, world: &World, options: &Options) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_flashdeal").as_ref());
    command
        .arg("serve")
        .env("DATABASE_URL", &world.url)
        .env("FLASHDEAL_ENGINE", name)
        .env("FLASHDEAL_LISTEN", "127.0.0.1:0");
    if let Some(size) = options.db_connections {
        command.env("FLASHDEAL_DB_CONNECTIONS", size.to_string());
    }
    command
}

/// A command that inherits no settings: what is measured is what is shipped.
fn clean(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("FLASHDEAL_") || matches!(&*text, "DATABASE_URL" | "RUST_LOG") {
            command.env_remove(&name);
        }
    }
    command
}

/// Reads the log until the service says where it listens.
async fn listening(lines: &mut Lines<BufReader<ChildStderr>>) -> Outcome<SocketAddr> {
    let mut last = String::new();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, address)) = line.split_once(LISTENING) {
            return Ok(address.trim().parse()?);
        }
        last = line;
    }
    Err(format!("the service did not start: {last}").into())
}

/// Keeps the pipe empty, and shows what a person would want to know.
async fn pass_on_complaints(mut lines: Lines<BufReader<ChildStderr>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains(" WARN ") || line.contains(" ERROR ") {
            eprintln!("service: {line}");
        }
    }
}
