//! A service under test: a process of its own, so that its memory and processor time are its own,
//! with the settings it is shipped with.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use flashdeal::adapters::http::HttpClient;

use crate::{Outcome, bare, echo};

/// How long a service may take to listen.
const START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// For the audit of a million orders.
const AUDIT_SECONDS_MAX: u32 = 60;
/// Complaints of one service that are passed on.
const COMPLAINTS_MAX: u32 = 5;
/// What every service logs when it is ready, pretty or as JSON.
const LISTENING: &str = "listening";
/// All of them listen here.
const HOST: &str = "127.0.0.1:";

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The shipped service with this engine (`FLASHDEAL_ENGINE`).
    Engine(&'static str),
    /// Everything but a database.
    Echo,
    /// Nothing but hyper.
    Bare,
}

/// How a service is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// Who.
    pub(crate) kind: Kind,
    /// Its database.
    pub(crate) url: &'a str,
    /// Its pool, if not the shipped one.
    pub(crate) db_connections: Option<u16>,
    /// Other settings.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

/// A running service.
pub(crate) struct Service {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
    child: Child,
}

impl Service {
    /// Starts one and waits until it takes orders and has checked its books once. A service does
    /// so in the first calm moment behind its start, which would be the turn of one that writes
    /// nothing; and one that runs gives audits a hundredth of its time, so that with a million
    /// orders the first would have a core for most of a turn.
    pub(crate) async fn start(setup: Setup<'_>) -> Outcome<Service> {
        let mut command = match setup.kind {
            Kind::Engine(name) => engine(name, setup),
            Kind::Echo | Kind::Bare => {
                let mut command = clean(std::env::current_exe()?.as_path());
                let echoes = setup.kind == Kind::Echo;
                command.arg(if echoes { echo::ARGUMENT } else { bare::ARGUMENT });
                command
            }
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
        let service = Service { address, pid, child };
        if matches!(setup.kind, Kind::Engine(_)) {
            service.audited().await?;
        }
        Ok(service)
    }

    async fn audited(&self) -> Outcome<()> {
        for _ in 0..AUDIT_SECONDS_MAX {
            if self.page("/metrics").await?.contains("ledger_checked_age_seconds ") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err("the service did not audit its books".into())
    }

    /// One page of it, as text.
    pub(crate) async fn page(&self, path: &'static str) -> Outcome<String> {
        let mut client = HttpClient::connect(self.address).await?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::from_static(path);
        let reply = client.send(request).await?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
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
fn engine(name: &str, setup: Setup<'_>) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_flashdeal").as_ref());
    command
        .arg("serve")
        .env("DATABASE_URL", setup.url)
        .env("FLASHDEAL_ENGINE", name)
        .env("FLASHDEAL_LISTEN", format!("{HOST}0"))
        .envs(setup.settings.iter().copied());
    if let Some(size) = setup.db_connections {
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
        if line.contains(LISTENING)
            && let Some((_, address)) = line.split_once(HOST)
        {
            let digits = address.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            return Ok(format!("{HOST}{digits}").parse()?);
        }
        last = line;
    }
    Err(format!("the service did not start: {last}").into())
}

/// Keeps the pipe empty, and shows what a person would want to know.
async fn pass_on_complaints(mut lines: Lines<BufReader<ChildStderr>>) {
    let mut left = COMPLAINTS_MAX;
    while let Ok(Some(line)) = lines.next_line().await {
        let complaint = [" WARN ", " ERROR ", "\"WARN\"", "\"ERROR\""];
        if left > 0 && complaint.iter().any(|level| line.contains(level)) {
            left -= 1;
            eprintln!("service: {line}");
        }
    }
}
