//! The server as our direct child: spawn, readiness, end.
//!
//! Not `pg_ctl`, whose child would be nobody's to wait for. Ready is what the server itself says:
//! line 8 of `postmaster.pid` is `ready` and line 1 is our child, so a stale file cannot vouch for
//! a server that is not there. Remains of a dead server can make a start fail for a moment (shared
//! memory that a dying backend still holds), so such starts are tried again until the deadline.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::error::{EmbeddedError, io_error};
use super::log;
use super::pidfile::{self, PidFile, Status};
use super::place::Place;
use super::remains::{self, PARTING};
use super::watchdog::Watchdog;

/// Between two looks at `postmaster.pid`; a start takes about 50 ms.
const READY_POLL: Duration = Duration::from_millis(5);
/// Between two looks at whether somebody told the server to stop.
const STOPPING_POLL: Duration = Duration::from_secs(1);
/// Between two starts when the first one found remains in its way.
const REMAINS_POLL: Duration = Duration::from_millis(50);
/// What PostgreSQL says when somebody dying is still in the way.
const IN_THE_WAY: [&str; 3] = ["pre-existing shared memory block", "already exists", "is empty"];

/// Everything that a start needs, first or later.
#[derive(Debug)]
pub(super) struct Launch {
    /// The program.
    pub(super) postgres: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Where it keeps its data, and as whom it runs.
    pub(super) place: Place,
    /// Where it listens.
    pub(super) socket_dir: PathBuf,
    /// How long it may take until it is ready.
    pub(super) start_timeout: Duration,
}

/// A running server, ready or not. Dropped without [`end`](Self::end), it is shut down by its
/// watchdog, and nobody waits for it.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    pid: u32,
    log_start: u64,
    watchdog: Watchdog,
}

/// Clears the way, starts the server and waits until it is ready.
pub(super) async fn start(launch: &Launch) -> Result<Postmaster, EmbeddedError> {
    let deadline = Instant::now() + launch.start_timeout;
    loop {
        remains::clear(&launch.place.cluster(), &launch.socket_dir).await?;
        let mut postmaster = spawn(launch)?;
        let error = match postmaster.ready(launch, deadline).await {
            Ok(()) => return Ok(postmaster),
            Err(error) => error,
        };
        postmaster.end().await?;
        match &error {
            EmbeddedError::StartFailed { tail, .. }
                if is_in_the_way(tail) && Instant::now() < deadline =>
            {
                debug!("a dead server is still in the way: {tail}");
                sleep(REMAINS_POLL).await;
            }
            _ => return Err(error),
        }
    }
}

fn is_in_the_way(tail: &str) -> bool {
    tail.contains("FATAL") && IN_THE_WAY.iter().any(|words| tail.contains(words))
}

fn spawn(launch: &Launch) -> Result<Postmaster, EmbeddedError> {
    let account = &launch.place.account;
    let log_file = launch.place.log_file();
    let doing = format!("write to {}", log_file.display());
    let opened = log::open(&launch.place).and_then(|(file, start)| {
        let second = file.try_clone()?;
        Ok((file, second, start))
    });
    let (stdout, stderr, log_start) = opened.map_err(io_error(doing))?;
    let child = account
        .command(&launch.postgres)
        .args(&launch.arguments)
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()
        .map_err(io_error(format!("run {} as {}", launch.postgres.display(), account.name())))?;
    let pid = child.id().expect("a child that was never waited for has an id");
    let watchdog = Watchdog::set(account, pid);
    Ok(Postmaster { child, pid, log_start, watchdog })
}

impl Postmaster {
    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the server has ended, by whatever cause. May be cancelled.
    ///
    /// A stranger's SIGTERM makes the server wait until every session has left, which a pool never
    /// does, while it refuses new ones: such a half-dead server is told to be quick.
    pub(super) async fn ended(&mut self, launch: &Launch) -> io::Result<ExitStatus> {
        let file = pidfile::of_cluster(&launch.place.cluster());
        loop {
            if let Ok(outcome) = timeout(STOPPING_POLL, self.child.wait()).await {
                return outcome;
            }
            let stopping = |found: &PidFile| found.status == Status::Stopping;
            if pidfile::read(&file).ok().flatten().as_ref().is_some_and(stopping)
                && let Err(error) = remains::send(self.pid, Signal::SIGINT)
            {
                warn!("{error}");
            }
        }
    }

    /// Waits until the server takes connections, or says why it never will.
    async fn ready(&mut self, launch: &Launch, deadline: Instant) -> Result<(), EmbeddedError> {
        let file = pidfile::of_cluster(&launch.place.cluster());
        let log = launch.place.log_file();
        loop {
            // The file is written bit by bit: what cannot be read now is read next time.
            if let Ok(Some(found)) = pidfile::read(&file)
                && found.status == Status::Ready
                && found.pid == self.pid
            {
                return Ok(());
            }
            match timeout(READY_POLL, self.child.wait()).await {
                Ok(Ok(status)) => {
                    let tail = log::tail(&log, self.log_start);
                    return Err(EmbeddedError::StartFailed {
                        outcome: status.to_string(),
                        log,
                        tail,
                    });
                }
                Ok(Err(error)) => return Err(io_error("wait for PostgreSQL")(error)),
                Err(_) if Instant::now() >= deadline => {
                    let tail = log::tail(&log, self.log_start);
                    let seconds = launch.start_timeout.as_secs();
                    return Err(EmbeddedError::StartTimeout { seconds, log, tail });
                }
                Err(_) => {}
            }
        }
    }

    /// Shuts the server down: fast, then immediate, then by force. It may have ended already.
    pub(super) async fn end(mut self) -> Result<(), EmbeddedError> {
        let parted = self.part().await;
        self.watchdog.dismiss().await;
        parted
    }

    async fn part(&mut self) -> Result<(), EmbeddedError> {
        for (signal, patience) in PARTING {
            // The number stays ours until `wait` has returned, so the signal cannot go astray.
            if self.child.id().is_none() {
                return Ok(());
            }
            remains::send(self.pid, signal.unwrap_or(Signal::SIGINT))?;
            match timeout(patience, self.child.wait()).await {
                Ok(waited) => {
                    return waited.map(drop).map_err(io_error("wait for PostgreSQL"));
                }
                Err(_) => warn!(pid = self.pid, "PostgreSQL ignored {signal:?} for {patience:?}"),
            }
        }
        Err(EmbeddedError::WillNotEnd { pids: vec![self.pid] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_remains_of_a_dead_server_are_worth_another_try() {
        assert!(is_in_the_way("FATAL:  pre-existing shared memory block (key 1, ID 2) is in use"));
        assert!(is_in_the_way("FATAL:  lock file \"postmaster.pid\" already exists"));
        assert!(!is_in_the_way("FATAL:  data directory \"/x\" has wrong ownership"));
        assert!(!is_in_the_way("FATAL:  could not create lock file: No space left on device"));
    }
}
