//! Watches from the side: whether the database is there, and which of its servers it is.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgPool;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::gauges::persist;
use crate::adapters::http::{Phase, PhaseCell};
use crate::adapters::postgres::connect::SessionLimits;
use crate::adapters::postgres::servers::{Servers, refuses_login};
use crate::adapters::postgres::trust;
use crate::ports::signals;

/// How often the database is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(250);
/// How often it is asked again whether an acknowledged order is safe there: what another server or
/// a restart brings along is seen at once, what `pg_reload_conf()` does within this time.
const TRUST_FOR: Duration = Duration::from_secs(30);
/// The longest pause between two logins that are refused: an account that is asked for again and
/// again may be locked.
const LOGIN_EVERY_MAX: Duration = Duration::from_secs(30);
/// How long its answer may take; a busy server is slow, a frozen one is away.
const PING_MAX: Duration = Duration::from_secs(2);

/// What is watched, and what follows.
pub struct Watch {
    /// Where the database may be.
    pub servers: Servers,
    /// Its sessions lead to the chosen server.
    pub pool: PgPool,
    /// What its sessions must have.
    pub limits: SessionLimits,
    /// `Ready` while a server can write, `DatabaseAway` otherwise.
    pub phase: PhaseCell,
}

/// Why there is no database.
struct Away {
    reason: String,
    /// It is there, and does not let us in.
    refused_login: bool,
}

impl From<String> for Away {
    fn from(reason: String) -> Away {
        Away { reason, refused_login: false }
    }
}

/// A session on a server that was found fit.
struct Trusted {
    session: PgConnection,
    until: Instant,
}

impl Watch {
    /// Keeps the phase true and the pool on its way. It has a session of its own, so that a full
    /// pool is not mistaken for a missing database.
    pub async fn keep(self, stop: CancellationToken) {
        persist("the watch over the database", &stop, || self.watch(&stop)).await;
    }

    async fn watch(&self, stop: &CancellationToken) {
        let mut session: Option<Trusted> = None;
        let mut pause = PING_EVERY;
        while !stop.is_cancelled() {
            let alive = tokio::select! {
                () = stop.cancelled() => break,
                found = self.look(session.take()) => found,
            };
            metrics::gauge!(signals::POSTGRES_UP).set(f64::from(alive.is_ok()));
            match alive {
                Ok(found) => {
                    session = Some(found);
                    self.note_return();
                    pause = PING_EVERY;
                }
                Err(away) => {
                    self.note_loss(&away.reason);
                    let longer = (pause * 2).min(LOGIN_EVERY_MAX);
                    pause = if away.refused_login { longer } else { PING_EVERY };
                }
            }
            metrics::gauge!(signals::READY).set(f64::from(self.phase.get() == Phase::Ready));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause.mul_f64(1.0 - fastrand::f64() / 4.0)) => {}
            }
        }
    }

    /// A session that can write where nothing is lost: the one that there was, or one on the server
    /// that is found now. A search is bounded by the servers' own patience.
    async fn look(&self, session: Option<Trusted>) -> Result<Trusted, Away> {
        let (mut session, until) = match session {
            Some(Trusted { session, until }) => (session, until),
            None => {
                let found = self.servers.choose().await.map_err(|error| Away {
                    refused_login: refuses_login(&error),
                    ..error.to_string().into()
                })?;
                if self.phase.get() == Phase::DatabaseAway {
                    self.servers.start_anew();
                }
                self.servers.lead(&self.pool);
                (found, Instant::now())
            }
        };
        let until = match Instant::now() >= until {
            true => self.trust(&mut session).await?,
            false => until,
        };
        match timeout(PING_MAX, self.servers.can_write(&mut session)).await {
            Ok(Ok(true)) => Ok(Trusted { session, until }),
            Ok(Ok(false)) => {
                self.servers.leave();
                Err("the server is read-only".to_owned().into())
            }
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(_elapsed) => Err("no answer".to_owned().into()),
        }
    }

    /// Until when the server is trusted with money; the objection to it, if there is one.
    async fn trust(&self, session: &mut PgConnection) -> Result<Instant, String> {
        match timeout(PING_MAX, trust::unfit(session, self.limits)).await {
            Ok(Ok(None)) => Ok(Instant::now() + TRUST_FOR),
            Ok(Ok(Some(objection))) => Err(objection),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("no answer".to_owned()),
        }
    }

    fn note_return(&self) {
        if self.phase.get() == Phase::DatabaseAway {
            tracing::info!(server = self.servers.name(), "the database is back");
            self.phase.set(Phase::Ready);
        }
    }

    fn note_loss(&self, reason: &str) {
        if self.phase.get() == Phase::Ready {
            tracing::warn!(reason, "the database is away; orders are refused until it is back");
        }
        self.phase.set(Phase::DatabaseAway);
    }
}
