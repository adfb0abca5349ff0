//! Watches from the side: whether the database is there, and the gauges that nobody else sets.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::adapters::http::{Phase, PhaseCell, open_connections};
use crate::domain::sale::SaleStatus;
use crate::logic::orders::Engine;
use crate::ports::read::Reads;
use crate::ports::signals;

/// How often the database is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(250);
/// How long its answer may take; a busy server is slow, a frozen one is away.
const PING_MAX: Duration = Duration::from_secs(2);
/// How often gauges are refreshed.
const GAUGES_EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two audits, and the share of time they may take.
const AUDIT_EVERY: Duration = Duration::from_secs(60);
const AUDIT_SHARE: u32 = 100;

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
        if !alive {
            session = None;
            phase.set(Phase::DatabaseAway);
        } else if phase.get() == Phase::DatabaseAway {
            tracing::info!("the database is back");
            phase.set(Phase::Ready);
        }
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

/// Refreshes gauges, and audits the books now and then: at most a hundredth of the time.
pub async fn refresh_gauges<R: Reads>(
    pool: PgPool,
    reads: R,
    engine: Arc<dyn Engine>,
    phase: PhaseCell,
    stop: CancellationToken,
) {
    let mut audit_due = Instant::now();
    let mut discrepancies = None;
    while !stop.is_cancelled() {
        let (size, idle) = (f64::from(pool.size()), pool.num_idle() as f64);
        let max = f64::from(pool.options().get_max_connections());
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "idle").set(idle);
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "in_use").set(size - idle);
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "max").set(max);
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set(engine.waiting() as f64);
        metrics::gauge!(signals::HTTP_CONNECTIONS).set(open_connections() as f64);
        metrics::gauge!(
            signals::BUILD_INFO,
            "version" => env!("CARGO_PKG_VERSION"),
            "engine" => engine.name(),
        )
        .set(1.0);
        if phase.get() == Phase::Ready {
            stocks(&reads).await;
            if Instant::now() >= audit_due {
                let began = Instant::now();
                discrepancies = audit(&reads).await.or(discrepancies);
                audit_due = Instant::now() + AUDIT_EVERY.max(began.elapsed() * AUDIT_SHARE);
            }
        }
        if let Some(count) = discrepancies {
            metrics::gauge!(signals::LEDGER_DISCREPANCIES).set(count);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(GAUGES_EVERY) => {}
        }
    }
}

async fn stocks<R: Reads>(reads: &R) {
    match reads.list_sales(Some(SaleStatus::Live), None, R::PAGE_MAX).await {
        Ok(page) => {
            for view in page.items {
                let sale = view.sale.id.to_string();
                metrics::gauge!(signals::SALE_STOCK, "sale" => sale)
                    .set(f64::from(view.sale.stock));
            }
        }
        Err(error) => tracing::debug!(%error, "stocks were not read"),
    }
}

async fn audit<R: Reads>(reads: &R) -> Option<f64> {
    match reads.audit().await {
        Ok(audit) => {
            for found in &audit.discrepancies {
                tracing::error!(%found, "ALARM: the books do not balance");
            }
            Some(audit.discrepancies.len() as f64)
        }
        Err(error) => {
            tracing::warn!(%error, "the books were not audited");
            None
        }
    }
}
