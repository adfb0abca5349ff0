//! The gauges that nobody else sets, and the audit of the books now and then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::adapters::http::{Phase, PhaseCell, open_connections};
use crate::adapters::postgres::stats_repo::{self, Sample};
use crate::domain::sale::SaleStatus;
use crate::logic::orders::Engine;
use crate::ports::read::Reads;
use crate::ports::signals;

/// How often the service's own gauges are refreshed.
const OWN_EVERY: Duration = Duration::from_secs(1);
/// How often the database is asked for figures: every so many rounds.
const DATABASE_EVERY: u32 = 5;
/// The shortest time between two audits, and the share of time they may take.
const AUDIT_EVERY: Duration = Duration::from_secs(60);
const AUDIT_SHARE: u32 = 100;

/// Where gauges come from.
pub(super) struct Gauges<R> {
    /// The pool, for its own figures and the database's.
    pub(super) pool: PgPool,
    /// Stocks and audits.
    pub(super) reads: R,
    /// The queue.
    pub(super) engine: Arc<dyn Engine>,
    /// Whether the database may be asked.
    pub(super) phase: PhaseCell,
}

impl<R: Reads> Gauges<R> {
    /// Refreshes until told to stop.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let process = metrics_process::Collector::default();
        process.describe();
        let mut audits =
            tokio::spawn(keep_audited(self.reads.clone(), self.phase.clone(), stop.clone()));
        let mut shown = HashSet::new();
        for round in 0_u32.. {
            self.own();
            process.collect();
            if round.is_multiple_of(DATABASE_EVERY) && self.phase.get() == Phase::Ready {
                self.stocks(&mut shown).await;
                match stats_repo::sample(&self.pool).await {
                    Ok(sample) => show(&sample),
                    Err(error) => tracing::debug!(%error, "the database was not sampled"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(OWN_EVERY) => {}
            }
        }
        audits.abort();
        let _ = (&mut audits).await;
    }

    fn own(&self) {
        let (size, idle) = (f64::from(self.pool.size()), self.pool.num_idle() as f64);
        let max = f64::from(self.pool.options().get_max_connections());
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "idle").set(idle);
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "in_use").set(size - idle);
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "max").set(max);
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set(self.engine.waiting() as f64);
        metrics::gauge!(signals::ORDER_QUEUE_OLDEST).set(self.engine.oldest().as_secs_f64());
        metrics::gauge!(signals::HTTP_CONNECTIONS).set(open_connections() as f64);
        let (version, engine) = (env!("CARGO_PKG_VERSION"), self.engine.name());
        metrics::gauge!(signals::BUILD_INFO, "version" => version, "engine" => engine).set(1.0);
    }

    /// Stock of live sales. A sale that ceases to be live says 0 or what is left once more, and
    /// then falls silent.
    async fn stocks(&self, shown: &mut HashSet<String>) {
        let page = match self.reads.list_sales(Some(SaleStatus::Live), None, R::PAGE_MAX).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(%error, "stocks were not read");
                return;
            }
        };
        let mut live = HashSet::new();
        for view in page.items {
            let sale = view.sale.id.to_string();
            let left = f64::from(view.sale.stock);
            metrics::gauge!(signals::SALE_STOCK, "sale" => sale.clone()).set(left);
            shown.remove(&sale);
            live.insert(sale);
        }
        for sale in shown.drain() {
            metrics::gauge!(signals::SALE_STOCK, "sale" => sale).set(0.0);
        }
        *shown = live;
    }
}

fn show(sample: &Sample) {
    for (state, count) in sample.connections {
        metrics::gauge!(signals::POSTGRES_CONNECTIONS, "state" => state).set(count as f64);
    }
    metrics::gauge!(signals::POSTGRES_CONNECTIONS_MAX).set(sample.connections_max as f64);
    metrics::gauge!(signals::POSTGRES_LOCK_WAITERS).set(sample.lock_waiters as f64);
    metrics::gauge!(signals::POSTGRES_OLDEST_TRANSACTION).set(sample.oldest_transaction_seconds);
    for (outcome, count) in [("commit", sample.committed), ("rollback", sample.rolled_back)] {
        let count = u64::try_from(count).unwrap_or(0);
        metrics::counter!(signals::POSTGRES_TRANSACTIONS, "outcome" => outcome).absolute(count);
    }
    metrics::gauge!(signals::POSTGRES_BYTES).set(sample.bytes as f64);
    for (table, live, dead) in &sample.rows {
        for (state, rows) in [("live", *live), ("dead", *dead)] {
            let gauge = metrics::gauge!(
                signals::POSTGRES_ROWS, "table" => table.clone(), "state" => state
            );
            gauge.set(rows as f64);
        }
    }
}

/// Audits the books now and then: at most a hundredth of the time.
async fn keep_audited<R: Reads>(reads: R, phase: PhaseCell, stop: CancellationToken) {
    let (mut due, mut checked) = (Instant::now(), None);
    let mut discrepancies = 0.0;
    while !stop.is_cancelled() {
        if phase.get() == Phase::Ready && Instant::now() >= due {
            let began = Instant::now();
            if let Some(found) = audit(&reads).await {
                discrepancies = found;
                checked = Some(Instant::now());
            }
            due = Instant::now() + AUDIT_EVERY.max(began.elapsed() * AUDIT_SHARE);
        }
        if let Some(checked) = checked {
            let age = Instant::now() - checked;
            metrics::gauge!(signals::LEDGER_DISCREPANCIES).set(discrepancies);
            metrics::gauge!(signals::LEDGER_CHECKED_AGE).set(age.as_secs_f64());
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(OWN_EVERY) => {}
        }
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
