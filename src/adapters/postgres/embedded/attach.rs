//! Becoming the owner of a home, or connecting to the owner's server.
//!
//! A held lock says that an owner lives, not that its server is ready: it may be making the
//! cluster, recovering, or stopping. So attaching waits for either the server or the lock. Whoever
//! attaches is a guest (see `guests`), so that the owner can wait for it in turn.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::error::EmbeddedError;
use super::guests::{self, GUESTS_WAIT, Guest};
use super::lock::{self, HomeLock, Taken};
use super::pidfile::{self, Status};
use super::place::Place;
use super::{DATABASE, USER, socket};

/// How long a lock may outlive its owner: the kernel takes a killed process apart step by step.
const OWNER_GONE_WAIT: Duration = Duration::from_millis(500);
/// Between two looks. Nothing announces a lock that became free.
const POLL: Duration = Duration::from_millis(25);

/// What a process that wants a server ends up with.
#[derive(Debug)]
pub(super) enum Claim {
    /// The home is ours: start a server.
    Ours(HomeLock),
    /// The owner's server takes connections, and stays for as long as we are its guest.
    Attached(Connection, Guest),
}

/// Becomes the owner, or says who is.
pub(super) async fn claim(place: &Place) -> Result<HomeLock, EmbeddedError> {
    let deadline = Instant::now() + OWNER_GONE_WAIT;
    loop {
        match lock::try_take(place)? {
            Taken::Ours(lock) => return Ok(lock),
            Taken::Theirs(pid) if Instant::now() >= deadline => {
                return Err(EmbeddedError::InUse { data_dir: place.home.clone(), pid });
            }
            Taken::Theirs(_) => sleep(POLL).await,
        }
    }
}

/// Becomes the owner, or connects as soon as the owner's server is ready. An owner that waits for
/// its guests to leave is waited for as long as it may wait for them.
pub(super) async fn claim_or_attach(
    place: &Place,
    patience: Duration,
) -> Result<Claim, EmbeddedError> {
    let began = Instant::now();
    let mut deadline = began + patience;
    loop {
        let pid = match lock::try_take(place)? {
            Taken::Ours(lock) => return Ok(Claim::Ours(lock)),
            Taken::Theirs(pid) => pid,
        };
        match guests::enter(place)? {
            Some(guest) => {
                if let Some(connection) = ready_server(place) {
                    return Ok(Claim::Attached(connection, guest));
                }
            }
            // The time to become ready begins when the owner who leaves has left.
            None => deadline = (Instant::now() + patience).min(began + GUESTS_WAIT + patience),
        }
        if Instant::now() >= deadline {
            return Err(EmbeddedError::OwnerNotReady {
                data_dir: place.home.clone(),
                pid,
                seconds: began.elapsed().as_secs(),
            });
        }
        sleep(POLL).await;
    }
}

/// The server of this home, if it says that it is ready and somebody listens at its socket. (The
/// pid file alone would also vouch for a server that was just killed.)
fn ready_server(place: &Place) -> Option<Connection> {
    let found = pidfile::read(&pidfile::of_cluster(&place.cluster())).ok()??;
    if found.status != Status::Ready {
        return None;
    }
    let socket_dir = found.socket_dir?;
    UnixStream::connect(socket_dir.join(socket::file_name())).ok()?;
    Some(Connection {
        socket_dir,
        port: found.port?,
        user: USER.to_owned(),
        database: DATABASE.to_owned(),
    })
}
