//! One borrowed connection, which goes back only when it is known to rest.

use sqlx::PgConnection;
use tokio::sync::OwnedSemaphorePermit;

use super::error::store_error;
use super::sessions::{Lent, Sessions};
use super::store::Gate;
use crate::ports::store::StoreError;

/// A connection and the place at the gate that goes with it, if any. Unless it is
/// [`Session::done`], the connection is closed and not given back.
pub(super) struct Session {
    lent: Option<Lent>,
    home: Sessions,
    slot: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Waits for a place at the gate, then for a connection.
    pub(super) async fn open(home: &Sessions, gate: &Gate) -> Result<Session, StoreError> {
        let slot = gate.enter().await?;
        Ok(Session::take(home).await?.holding(Some(slot)))
    }

    /// Waits for a connection.
    pub(super) async fn take(home: &Sessions) -> Result<Session, StoreError> {
        let lent = home.take().await.map_err(store_error)?;
        Ok(Session { lent: Some(lent), home: home.clone(), slot: None })
    }

    /// Keeps a place at the gate for as long as the connection.
    pub(super) fn holding(mut self, slot: Option<OwnedSemaphorePermit>) -> Session {
        self.slot = slot;
        self
    }

    /// The connection.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.lent.as_mut().expect("a session is lent until it is done").connection()
    }

    /// The connection may be given back: every answer has been read.
    pub(super) fn done(mut self) {
        if let Some(lent) = self.lent.take() {
            self.home.give_back(lent);
        }
    }
}
