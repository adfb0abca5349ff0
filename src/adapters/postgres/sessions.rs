//! The pool's sessions, the last used first.
//!
//! sqlx's pool goes round: the next caller gets the session that has rested longest, whose plans
//! and catalogue have left the processor's caches, and each one that comes back is asked across the
//! wire whether it lives. For a lone order that was a fifth of the database's processor time
//! (docs/performance.md). So sessions that come back rest here, and the pool is asked only when
//! none does; it still bounds them, opens them and ends the old ones.
//!
//! What must stay true: nobody waits at the pool while a session rests here. Who finds none is
//! counted before it goes to the pool, and as long as somebody is there, who is done gives back to
//! the pool. Both are decided under one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::{Instant, timeout};

use super::connect::answers_after_rest;
use super::servers::Servers;

/// How long a server has to answer that the session which goes back to the pool still lives.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// A session goes by way of the pool at least this often: the pool ends those that are too old.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Who lends sessions. Clones lend the same ones.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: PgPool,
    rest: Option<Arc<Rest>>,
}

/// Where sessions rest.
#[derive(Debug)]
struct Rest {
    servers: Servers,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    resting: Vec<Resting>,
    waiting: usize,
}

#[derive(Debug)]
struct Resting {
    lent: Lent,
    since: Instant,
}

/// A session that is lent. Unless it is given back, it ends with this: it may be in the middle of
/// a statement, and nobody may be handed one with an open transaction (sqlx issue #4393).
#[derive(Debug)]
pub(super) struct Lent {
    connection: Option<PoolConnection<Postgres>>,
    /// When the pool gave it.
    since: Instant,
}

impl Lent {
    fn by_pool(connection: PoolConnection<Postgres>) -> Lent {
        Lent { connection: Some(connection), since: Instant::now() }
    }

    /// The connection.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("a session has its connection until it is given back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// Commands and tests: every session goes back to the pool, which others may use as well.
impl From<PgPool> for Sessions {
    fn from(pool: PgPool) -> Sessions {
        Sessions { pool, rest: None }
    }
}

impl Sessions {
    /// Sessions of a pool that leads to the chosen one of `servers`. While they are in use, all who
    /// use the pool have to ask here.
    pub fn resting(pool: PgPool, servers: impl Into<Servers>) -> Sessions {
        let rest = Rest { servers: servers.into(), room: Mutex::default() };
        Sessions { pool, rest: Some(Arc::new(rest)) }
    }

    /// The pool behind it.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// At most so many at a time.
    pub fn max(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// Open sessions that nobody uses.
    pub fn idle(&self) -> usize {
        self.pool.num_idle() + self.rest.as_ref().map_or(0, |rest| rest.room().resting.len())
    }

    /// The session that was used last, or one of the pool.
    ///
    /// # Errors
    /// What the pool says.
    pub(super) async fn take(&self) -> Result<Lent, sqlx::Error> {
        let Some(rest) = &self.rest else {
            return Ok(Lent::by_pool(self.pool.acquire().await?));
        };
        loop {
            match rest.find() {
                Ok(mut found) => {
                    if rest.may_be_used(&mut found).await {
                        return Ok(found.lent);
                    }
                    self.end_resting();
                }
                Err(waiting) => {
                    let connection = self.pool.acquire().await?;
                    drop(waiting);
                    return Ok(Lent::by_pool(connection));
                }
            }
        }
    }

    /// Ends all that rest: one that has rested less than they cannot be used any more. A lost wire
    /// or a server that started anew is met once, and not once for each session.
    pub(super) fn end_resting(&self) {
        if let Some(rest) = &self.rest {
            let resting = std::mem::take(&mut rest.room().resting);
            drop(resting);
        }
    }

    /// Takes back a session whose every answer has been read.
    pub(super) fn give_back(&self, lent: Lent) {
        let kept = match &self.rest {
            Some(rest) => rest.keep(lent, &self.pool),
            None => Err(lent),
        };
        if let Err(lent) = kept {
            return_to_pool(lent);
        }
    }

    /// Ends all of them, as they come back.
    pub async fn close(&self) {
        let closing = self.pool.close();
        if let Some(rest) = &self.rest {
            let resting = std::mem::take(&mut rest.room().resting);
            resting.into_iter().for_each(|resting| return_to_pool(resting.lent));
        }
        closing.await;
    }
}

impl Rest {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that was used last; if none rests, a place among those who wait at the pool.
    fn find(&self) -> Result<Resting, Waiting<'_>> {
        let mut room = self.room();
        room.resting.pop().ok_or_else(|| {
            room.waiting += 1;
            Waiting(self)
        })
    }

    fn keep(&self, lent: Lent, pool: &PgPool) -> Result<(), Lent> {
        let mut room = self.room();
        if room.waiting > 0 || lent.since.elapsed() > AWAY_MAX || pool.is_closed() {
            return Err(lent);
        }
        room.resting.push(Resting { lent, since: Instant::now() });
        Ok(())
    }

    /// As the pool asks of its own.
    async fn may_be_used(&self, found: &mut Resting) -> bool {
        !self.servers.left_behind(found.lent.since.elapsed())
            && answers_after_rest(found.lent.connection(), found.since.elapsed()).await
    }
}

/// The pool asks the server whether the session lives, in the background and without a limit:
/// sessions to a server that has gone silent would keep their places for as long as TCP hopes. What
/// drop would do is done here, with a limit; beyond it the connection is closed.
fn return_to_pool(mut lent: Lent) {
    let Some(mut connection) = lent.connection.take() else { return };
    let back = connection.return_to_pool();
    tokio::spawn(async move { timeout(BACK_WITHIN, back).await });
}

/// Somebody waits at the pool.
struct Waiting<'a>(&'a Rest);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.room().waiting -= 1;
    }
}
