//! One borrowed connection, which goes back only when it is known to rest.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::OwnedSemaphorePermit;

use super::error::store_error;
use super::store::Gate;
use crate::ports::store::StoreError;

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
    pub(super) fn done(mut self) {
        drop(self.connection.take());
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
