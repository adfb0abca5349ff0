//! Who uses a server of somebody else, and how its owner lets them finish before it stops it.
//!
//! A command without a service starts a server for its own time, and other commands find it. Its
//! end would cut their sessions, and a `verify` that was cut looks like books that are off. So each
//! guest holds a shared lock on the file `guests` for as long as it uses the server. The owner that
//! wants to go first closes the `door` (an exclusive lock on that file, which everybody who enters
//! takes for a moment), so that no newcomers keep it; then it waits for the guests. Who finds the
//! door closed waits for the owner's end and starts a server itself.
//!
//! What must stay true: a guest holds its lock before it looks whether the server is ready, so the
//! owner either sees it or has closed the door before. The kernel drops all three locks with their
//! processes, so nobody who was killed is waited for; like the home's lock the files are never
//! deleted.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::error::{EmbeddedError, io_error};
use super::lock;
use super::place::Place;

/// How long a command that started the server waits for other commands before it stops it. An
/// audit or an export of a large shop takes minutes; one that hangs must not keep it for ever.
pub(super) const GUESTS_WAIT: Duration = Duration::from_secs(600);
/// Between two looks. Nothing announces a lock that became free.
const POLL: Duration = Duration::from_millis(25);

/// The right to use the owner's server, until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    _guests: File,
}

/// The server's door, closed to newcomers until this is dropped.
#[derive(Debug)]
pub(super) struct ClosedDoor {
    _door: File,
}

/// Becomes a guest, unless the owner is about to stop its server. Does not wait.
pub(super) fn enter(place: &Place) -> Result<Option<Guest>, EmbeddedError> {
    let door = open(place, place.door_file())?;
    if !done(File::try_lock_shared(&door), place)? {
        return Ok(None);
    }
    let guests = open(place, place.guests_file())?;
    Ok(done(File::try_lock_shared(&guests), place)?.then_some(Guest { _guests: guests }))
}

/// Closes the door and waits until the last guest has left, at most this long. Who then still is
/// there is cut off. Without patience nobody is waited for; the door is closed if it can be.
pub(super) async fn see_out(
    place: &Place,
    patience: Duration,
) -> Result<ClosedDoor, EmbeddedError> {
    let deadline = Instant::now() + patience;
    let door = open(place, place.door_file())?;
    // Whoever passes the door holds it for a moment only.
    let mut left = close(&door, place, deadline).await?;
    let guests = open(place, place.guests_file())?;
    if left && !done(guests.try_lock(), place)? {
        if !patience.is_zero() {
            info!("other commands use the embedded server: waiting for them, at most {patience:?}");
        }
        left = close(&guests, place, deadline).await?;
    }
    if !left && !patience.is_zero() {
        warn!("other commands still use the embedded server after {patience:?}: stopping it");
    }
    Ok(ClosedDoor { _door: door })
}

/// Locks a file for us alone; `false` when others held it until the deadline. Tries at least once.
async fn close(file: &File, place: &Place, deadline: Instant) -> Result<bool, EmbeddedError> {
    loop {
        if done(file.try_lock(), place)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(POLL).await;
    }
}

fn open(place: &Place, path: PathBuf) -> Result<File, EmbeddedError> {
    let file = lock::open(place, &path)?;
    // After `sudo`, the ordinary account must still be able to lock.
    place.account.give(&path).map_err(io_error(format!("hand over {}", path.display())))?;
    Ok(file)
}

/// Whether a lock was taken.
fn done(tried: Result<(), TryLockError>, place: &Place) -> Result<bool, EmbeddedError> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            Err(io_error(format!("lock a file in {}", place.home.display()))(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Account;
    use super::*;

    /// A home of the test's own.
    fn home(name: &str) -> Place {
        let home = std::env::temp_dir().join(format!("flashdeal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).expect("a directory");
        Place { home, account: Account::Own }
    }

    #[tokio::test]
    async fn an_owner_waits_for_its_guests_and_lets_nobody_in_meanwhile() {
        let place = home("guests");
        let first = enter(&place).expect("files").expect("an open door");
        let second = enter(&place).expect("files").expect("an open door");
        let leaving = see_out(&place, GUESTS_WAIT);
        let watching = async {
            // Polled after the owner, so the door is closed.
            assert!(enter(&place).expect("files").is_none(), "the door is closed");
            drop(first);
            assert!(enter(&place).expect("files").is_none(), "the door stays closed");
            drop(second);
        };
        let (closed, ()) = tokio::join!(leaving, watching);
        let closed = closed.expect("files");
        assert!(enter(&place).expect("files").is_none(), "until the owner is gone");
        drop(closed);
        assert!(enter(&place).expect("files").is_some());
        std::fs::remove_dir_all(&place.home).expect("it was made");
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_does_not_wait_for_ever_and_a_service_not_at_all() {
        let place = home("guests-who-stay");
        let guest = enter(&place).expect("files").expect("an open door");
        for patience in [Duration::ZERO, GUESTS_WAIT] {
            let began = Instant::now();
            let closed = see_out(&place, patience).await.expect("files");
            assert!(began.elapsed() >= patience && began.elapsed() <= patience + POLL);
            assert!(enter(&place).expect("files").is_none(), "newcomers wait for the end");
            drop(closed);
        }
        drop(guest);
        std::fs::remove_dir_all(&place.home).expect("it was made");
    }
}
