//! Clears what an earlier server left in the way of the next start.
//!
//! Only called by the owner of the home's lock: whatever still runs there is an orphan. It is told
//! to stop and waited for, because a child that is not ours could not be watched. What must stay
//! true: `postmaster.pid` of a dead server is left for PostgreSQL to judge (it also names the
//! shared memory to check), unless its process id now misleads: a zombie or a stranger under that
//! number would block the start for as long as it lives.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::census::{self, Life};
use super::error::{EmbeddedError, io_error};
use super::{pidfile, socket};

/// Between two looks at a process that is not our child.
const POLL: Duration = Duration::from_millis(10);

/// How to part from a server: fast shut-down (sessions are cut, a check-point is written), then
/// immediate (the next start recovers), then by force. With the time each may take.
pub(super) const PARTING: [(Option<Signal>, Duration); 3] = [
    (Some(Signal::SIGINT), Duration::from_secs(20)),
    (Some(Signal::SIGQUIT), Duration::from_secs(5)),
    (Some(Signal::SIGKILL), Duration::from_secs(5)),
];

/// Backends without a postmaster notice it and leave, unless they are busy computing.
const STRAGGLERS: [(Option<Signal>, Duration); 3] = [
    (None, Duration::from_millis(200)),
    (Some(Signal::SIGQUIT), Duration::from_secs(2)),
    (Some(Signal::SIGKILL), Duration::from_secs(5)),
];

/// Stops every server process on the cluster and removes pid files that mislead.
pub(super) async fn clear(cluster: &Path, socket_dir: &Path) -> Result<(), EmbeddedError> {
    let file = pidfile::of_cluster(cluster);
    let doing = format!("read {}", file.display());
    if let Some(found) = pidfile::read(&file).map_err(io_error(doing))?
        && census::is_server(found.pid, cluster)
    {
        info!(pid = found.pid, "stopping the PostgreSQL server that an earlier run left behind");
        let alive = || {
            if census::is_server(found.pid, cluster) { vec![found.pid] } else { vec![] }
        };
        see_off(alive, &PARTING).await?;
    }
    see_off(|| census::servers_on(cluster), &STRAGGLERS).await?;
    remove_if_misleading(&file, cluster)?;
    let name = format!("{}.lock", socket::file_name());
    remove_if_misleading(&socket_dir.join(name), cluster)
}

/// Signals the processes, more firmly from step to step, until none is left.
async fn see_off(
    alive: impl Fn() -> Vec<u32>,
    steps: &[(Option<Signal>, Duration)],
) -> Result<(), EmbeddedError> {
    for (signal, patience) in steps {
        let deadline = Instant::now() + *patience;
        let pids = alive();
        if let Some(signal) = signal {
            pids.iter().try_for_each(|pid| send(*pid, *signal))?;
        }
        while !alive().is_empty() {
            if Instant::now() >= deadline {
                warn!(?pids, ?signal, "PostgreSQL is still there after {patience:?}");
                break;
            }
            sleep(POLL).await;
        }
    }
    match alive() {
        none if none.is_empty() => Ok(()),
        pids => Err(EmbeddedError::WillNotEnd { pids }),
    }
}

/// Signals one process; that it has just ended is fine.
pub(super) fn send(pid: u32, signal: Signal) -> Result<(), EmbeddedError> {
    let doing = format!("send {signal} to process {pid}");
    // 0 and negative numbers would address whole groups of processes.
    let target = i32::try_from(pid).ok().filter(|pid| *pid > 0).map(Pid::from_raw);
    match target.map(|target| kill(target, signal)) {
        Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
        Some(Err(error)) => Err(io_error(doing)(error.into())),
        None => Err(io_error(doing)(io::ErrorKind::InvalidInput.into())),
    }
}

fn remove_if_misleading(file: &Path, cluster: &Path) -> Result<(), EmbeddedError> {
    let doing = format!("remove the stale {}", file.display());
    let misleads = match pidfile::read(file) {
        Ok(Some(found)) => {
            matches!(census::life_of(found.pid, cluster), Life::Zombie | Life::Stranger)
        }
        // Empty: its server was killed before it wrote a line, and PostgreSQL would refuse it.
        Ok(None) => fs::metadata(file).is_ok_and(|found| found.len() == 0),
        Err(error) => return Err(io_error(doing)(error)),
    };
    if !misleads {
        return Ok(());
    }
    info!("removing {}: its process is dead", file.display());
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(doing)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
