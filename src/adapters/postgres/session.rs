//! One borrowed connection, which goes back only when it is known to rest.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::store_error;
use super::store::Gate;
use crate::ports::store::StoreError;

/// How long a server has to answer that the session which goes back to the pool still lives.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// A connection and the place at the gate that goes with it, if any. Unless it is
/// [`Session::done`], the connection is closed and not given back: it may be in the middle of a
/// statement, and the pool must never hand out one with an open transaction (sqlx issue #4393).
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Waits for a place at the gate, then for a connection.
    pub(super) async fn open(pool: &PgPool, gate: &Gate) -> Result<Session, StoreError> {
        let slot = gate.enter().await?;
        let connection = pool.acquire().await.map_err(store_error)?;
        Ok(Session::from(connection).holding(Some(slot)))
    }

    /// Keeps a place at the gate for as long as the connection.
    pub(super) fn holding(mut self, slot: Option<OwnedSemaphorePermit>) -> Session {
        self.slot = slot;
        self
    }

    /// The connection.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("a session has its connection until it is done")
    }

    /// The connection may be given back: every answer has been read.
    ///
    /// The pool asks the server once more whether it lives, in the background and without a limit:
    /// sessions to a server that has gone silent would keep their places for as long as TCP hopes.
    /// What drop would do is done here, with a limit; beyond it the connection is closed.
    pub(super) fn done(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let back = connection.return_to_pool();
        tokio::spawn(async move { timeout(BACK_WITHIN, back).await });
    }
}

impl From<PoolConnection<Postgres>> for Session {
    fn from(connection: PoolConnection<Postgres>) -> Session {
        Session { connection: Some(connection), slot: None }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
