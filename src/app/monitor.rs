//! Watches from the side: whether the database is there.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::adapters::http::{Phase, PhaseCell};
use crate::ports::signals;

/// How often the database is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(250);
/// How long its answer may take; a busy server is slow, a frozen one is away.
const PING_MAX: Duration = Duration::from_secs(2);

/// Keeps the phase true: `Ready` while the database answers, `DatabaseAway` otherwise. It has a
/// session of its own, so that a full pool is not mistaken for a missing database.
pub async fn watch_database(options: PgConnectOptions, phase: PhaseCell, stop: CancellationToken) {
    let mut session: Option<PgConnection> = None;
    while !stop.is_cancelled() {
        let alive = match timeout(PING_MAX, ping(&options, &mut session)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                note_loss(&phase, &error.to_string());
                false
            }
            Err(_elapsed) => {
                note_loss(&phase, "no answer");
                false
            }
        };
        metrics::gauge!(signals::POSTGRES_UP).set(f64::from(alive));
        if !alive {
            session = None;
            phase.set(Phase::DatabaseAway);
        } else if phase.get() == Phase::DatabaseAway {
            tracing::info!("the database is back");
            phase.set(Phase::Ready);
        }
        metrics::gauge!(signals::READY).set(f64::from(phase.get() == Phase::Ready));
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PING_EVERY) => {}
        }
    }
}

fn note_loss(phase: &PhaseCell, reason: &str) {
    if phase.get() == Phase::Ready {
        tracing::warn!(reason, "the database is away; orders are refused until it is back");
    }
}

async fn ping(
    options: &PgConnectOptions,
    session: &mut Option<PgConnection>,
) -> Result<(), sqlx::Error> {
    let connection = match session {
        Some(connection) => connection,
        None => session.insert(options.connect().await?),
    };
    let writable = "SELECT current_setting('transaction_read_only') = 'off'";
    let writable: bool = sqlx::query_scalar(writable).fetch_one(connection).await?;
    if writable { Ok(()) } else { Err(sqlx::Error::Protocol("the server is read-only".to_owned())) }
}
