//! The task that owns the server: starts it again when it dies, and ends it when asked to.
//!
//! What must stay true: no restart begins once stopping began; the home's lock is released only
//! when no server is left (the task holds both); a dead child is reaped at once, because its zombie
//! would block its successor. Restarts back off up to a limit and never give up, since the service
//! around it answers 503 meanwhile and a full disk may be emptied; each try is logged.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::error::EmbeddedError;
use super::lock::HomeLock;
use super::process::{self, Launch, Postmaster};
use super::{remains, socket};

/// The first try is at once; then waits double from here.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Waits do not grow beyond this.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A server that ran this long was healthy: its death is a new event, and its successor is started
/// at once. Short, because waiting only helps against servers that die as soon as they run.
const HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// What the supervised server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It takes connections.
    Running {
        /// The postmaster.
        pid: u32,
    },
    /// It died and is being started again.
    Restarting {
        /// Counts from 1; begins anew once a server has been healthy for a while.
        attempt: u32,
    },
    /// It was stopped, or its data directory was taken away. Nothing more will come.
    Stopped,
}

/// Runs until it is asked to stop (or the asking side is dropped); then no server is left.
pub(super) async fn keep(
    postmaster: Postmaster,
    launch: Launch,
    lock: HomeLock,
    state: watch::Sender<ServerState>,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), EmbeddedError> {
    let result = watch_over(postmaster, &launch, &lock, &state, &mut stop).await;
    match &result {
        Ok(()) => socket::remove(&launch.place, &launch.socket_dir),
        Err(error) => error!("{error}"),
    }
    // Nobody may be watching.
    state.send_replace(ServerState::Stopped);
    result
}

async fn watch_over(
    mut postmaster: Postmaster,
    launch: &Launch,
    lock: &HomeLock,
    state: &watch::Sender<ServerState>,
    stop: &mut oneshot::Receiver<()>,
) -> Result<(), EmbeddedError> {
    let mut attempts = 0;
    loop {
        let running_since = Instant::now();
        tokio::select! {
            biased;
            _ = &mut *stop => return postmaster.end().await,
            outcome = postmaster.ended(launch) => match outcome {
                Ok(status) => warn!("embedded PostgreSQL ended ({status}): starting it again"),
                Err(error) => warn!("embedded PostgreSQL is lost ({error}): starting it again"),
            },
        }
        postmaster.end().await?;
        if running_since.elapsed() >= HEALTHY_AFTER {
            attempts = 0;
        }
        let died = Instant::now();
        let restarted = tokio::select! {
            biased;
            _ = &mut *stop => None,
            restarted = restart(launch, lock, state, &mut attempts) => Some(restarted?),
        };
        let Some(successor) = restarted else {
            // A half-started successor was dropped on the way here; leave nothing behind.
            return remains::clear(&launch.place.cluster(), &launch.socket_dir).await;
        };
        info!(
            pid = successor.pid(),
            attempts,
            elapsed_ms = died.elapsed().as_millis(),
            "embedded PostgreSQL runs again"
        );
        state.send_replace(ServerState::Running { pid: successor.pid() });
        postmaster = successor;
    }
}

/// Tries until a server is ready. May be cancelled.
async fn restart(
    launch: &Launch,
    lock: &HomeLock,
    state: &watch::Sender<ServerState>,
    attempts: &mut u32,
) -> Result<Postmaster, EmbeddedError> {
    loop {
        sleep(backoff(*attempts)).await;
        *attempts = attempts.saturating_add(1);
        state.send_replace(ServerState::Restarting { attempt: *attempts });
        if !lock.is_in_place() {
            // Another process may own the path by now; two servers there would fight.
            return Err(EmbeddedError::Lost { home: launch.place.home.clone() });
        }
        match process::start(launch).await {
            Ok(postmaster) => return Ok(postmaster),
            Err(error) => warn!(attempt = *attempts, "embedded PostgreSQL did not start: {error}"),
        }
    }
}

/// The wait before the next try, after this many tries.
fn backoff(attempts: u32) -> Duration {
    match attempts {
        0 => Duration::ZERO,
        tries => BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(tries - 1)).min(BACKOFF_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_waits_stay_bounded() {
        assert_eq!(backoff(0), Duration::ZERO);
        assert_eq!(backoff(1), BACKOFF_MIN);
        assert_eq!(backoff(2), BACKOFF_MIN * 2);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }
}
