//! One borrowed connection for reads.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

use super::error::store_error;
use super::store::Gate;
use crate::ports::store::StoreError;

/// A connection and the place at the gate that goes with it. Unless it is [`Session::done`], the
/// connection is closed and not given back: it may be in the middle of a statement.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

impl Session {
    /// Waits for a place at the gate, then for a connection.
    pub(super) async fn open(pool: &PgPool, gate: &Gate) -> Result<Session, StoreError> {
        let slot = gate.enter().await?;
        let connection = pool.acquire().await.map_err(store_error)?;
        Ok(Session { connection: Some(connection), _slot: slot })
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

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
