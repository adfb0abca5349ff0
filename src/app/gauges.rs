//! The gauges that nobody else sets.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::audits::{self, Shop};
use crate::adapters::http::{Phase, PhaseCell, open_connections};
use crate::adapters::postgres::reads::PgReads;
use crate::adapters::postgres::sessions::Sessions;
use crate::adapters::postgres::stats_repo::Sample;
use crate::domain::books::Audit;
use crate::domain::id::SaleId;
use crate::domain::sale::{Sale, SaleStatus};
use crate::logic::known_sales::KnownSales;
use crate::logic::last_audit::{self, Checked};
use crate::logic::orders::Engine;
use crate::ports::read::Reads;
use crate::ports::signals;
use crate::ports::store::StoreError;

/// How often the service's own gauges are refreshed.
const OWN_EVERY: Duration = Duration::from_secs(1);
/// How often the database is asked for figures.
const DATABASE_EVERY: Duration = Duration::from_secs(5);
/// How long a look at the database may take; it must not hold up the next.
const LOOK_MAX: Duration = Duration::from_secs(4);

/// Where gauges come from.
#[derive(Clone)]
pub(super) struct Gauges {
    /// How many sessions there are.
    pub(super) sessions: Sessions,
    /// Stocks, audits and the database's figures.
    pub(super) reads: PgReads,
    /// The queue.
    pub(super) engine: Arc<dyn Engine>,
    /// Whether the database may be asked.
    pub(super) phase: PhaseCell,
    /// Learns of live sales.
    pub(super) known: Arc<KnownSales>,
    /// Open connections allowed.
    pub(super) connections_max: usize,
}

impl Gauges {
    /// Refreshes until told to stop. Nothing of the service's own waits for the database.
    pub(super) async fn keep(self, stop: CancellationToken) {
        tokio::join!(
            persist("gauges", &stop, || self.keep_own(&stop)),
            persist("looks at the database", &stop, || self.keep_looking(&stop)),
            persist("audits", &stop, || self.keep_audited(&stop)),
        );
    }

    async fn keep_own(&self, stop: &CancellationToken) {
        let process = metrics_process::Collector::default();
        process.describe();
        while !stop.is_cancelled() {
            self.own();
            process.collect();
            pause(stop, OWN_EVERY).await;
        }
    }

    /// The age of the last audit goes on while one is under way, however long that takes.
    async fn keep_audited(&self, stop: &CancellationToken) {
        tokio::join!(audits::keep(self, stop), async {
            while !stop.is_cancelled() {
                // Both again each second: what is not set for a minute falls silent, and books that
                // are off must not.
                if let Some(Checked { at, discrepancies }) = last_audit::last() {
                    metrics::gauge!(signals::LEDGER_CHECKED_AGE).set(at.elapsed().as_secs_f64());
                    metrics::gauge!(signals::LEDGER_DISCREPANCIES).set(discrepancies as f64);
                }
                pause(stop, OWN_EVERY).await;
            }
        });
    }

    async fn keep_looking(&self, stop: &CancellationToken) {
        let (mut shown, mut finished) = (HashSet::new(), Finished::default());
        while !stop.is_cancelled() {
            if self.phase.get() == Phase::Ready {
                let look = async {
                    self.stocks(&mut shown).await;
                    match self.reads.sample().await {
                        Ok(sample) => {
                            show(&sample);
                            finished.note([sample.committed, sample.rolled_back]);
                        }
                        Err(error) => tracing::debug!(%error, "the database was not sampled"),
                    }
                };
                let _ = timeout(LOOK_MAX, look).await;
            }
            pause(stop, DATABASE_EVERY).await;
        }
    }

    fn own(&self) {
        let idle = self.sessions.idle() as f64;
        let size = f64::from(self.sessions.pool().size());
        let max = f64::from(self.sessions.max());
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "idle").set(idle);
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "in_use").set(size - idle);
        metrics::gauge!(signals::POOL_CONNECTIONS, "state" => "max").set(max);
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set(self.engine.waiting() as f64);
        metrics::gauge!(signals::ORDER_QUEUE_OLDEST).set(self.engine.oldest().as_secs_f64());
        metrics::gauge!(signals::HTTP_CONNECTIONS).set(open_connections() as f64);
        metrics::gauge!(signals::HTTP_CONNECTIONS_MAX).set(self.connections_max as f64);
        // The watch says both again, as soon as there is a database to watch.
        let phase = self.phase.get();
        metrics::gauge!(signals::READY).set(f64::from(phase == Phase::Ready));
        if phase == Phase::Starting {
            metrics::gauge!(signals::POSTGRES_UP).set(0.0);
        }
        let (version, engine) = (env!("CARGO_PKG_VERSION"), self.engine.name());
        metrics::gauge!(signals::BUILD_INFO, "version" => version, "engine" => engine).set(1.0);
    }

    /// Stock of live sales. A sale that ceases to be one of the newest of them says once more what
    /// is left, and then falls silent.
    async fn stocks(&self, shown: &mut HashSet<SaleId>) {
        let page =
            match self.reads.list_sales(Some(SaleStatus::Live), None, PgReads::PAGE_MAX).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "stocks were not read");
                    return;
                }
            };
        let mut live = HashSet::new();
        for view in page.items {
            show_stock(&view.sale);
            self.known.note(view.sale.id);
            shown.remove(&view.sale.id);
            live.insert(view.sale.id);
        }
        for id in shown.drain() {
            match self.reads.find_sale(id).await {
                Ok(view) => view.iter().for_each(|view| show_stock(&view.sale)),
                Err(error) => {
                    tracing::debug!(%error, "the last stock of a sale was not read");
                    live.insert(id); // the next look asks again
                }
            }
        }
        *shown = live;
    }
}

impl Shop for Gauges {
    fn open(&self) -> bool {
        self.phase.get() == Phase::Ready
    }

    fn orders_waiting(&self) -> usize {
        self.engine.waiting()
    }

    async fn rows_inserted(&self) -> Result<i64, StoreError> {
        self.reads.rows_inserted().await
    }

    async fn audit(&self) -> Result<Audit, StoreError> {
        self.reads.audit().await
    }
}

/// Runs one of the loops again when it ended by a defect: a row that nobody can read must not
/// silence the alarm that the books are off.
pub(super) async fn persist<F: Future<Output = ()>>(
    what: &'static str,
    stop: &CancellationToken,
    run: impl Fn() -> F,
) {
    while AssertUnwindSafe(run()).catch_unwind().await.is_err() {
        tracing::error!(what, "ended by a defect; begins again");
        pause(stop, DATABASE_EVERY).await;
    }
}

fn show_stock(sale: &Sale) {
    let left = f64::from(sale.stock);
    metrics::gauge!(signals::SALE_STOCK, "sale" => sale.id.to_string()).set(left);
}

fn show(sample: &Sample) {
    for (state, count) in sample.connections {
        metrics::gauge!(signals::POSTGRES_CONNECTIONS, "state" => state).set(count as f64);
    }
    metrics::gauge!(signals::POSTGRES_CONNECTIONS_MAX).set(sample.connections_max as f64);
    metrics::gauge!(signals::POSTGRES_LOCK_WAITERS).set(sample.lock_waiters as f64);
    metrics::gauge!(signals::POSTGRES_OLDEST_TRANSACTION).set(sample.oldest_transaction_seconds);
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

/// How many transactions had ended at the last look: commits, rollbacks.
#[derive(Default)]
struct Finished(Option<[i64; 2]>);

impl Finished {
    /// Counts those since the last look. Behind a crash or at another server the database counts
    /// from the beginning; the counter goes on.
    fn note(&mut self, now: [i64; 2]) {
        let before = self.0.replace(now).unwrap_or(now);
        for (at, outcome) in ["commit", "rollback"].into_iter().enumerate() {
            let more = Finished::since(before[at], now[at]);
            metrics::counter!(signals::POSTGRES_TRANSACTIONS, "outcome" => outcome).increment(more);
        }
    }

    fn since(before: i64, now: i64) -> u64 {
        u64::try_from(if now < before { now } else { now - before }).unwrap_or(0)
    }
}

async fn pause(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_database_that_counts_from_the_beginning_is_counted_on() {
        let mut finished = Finished::default();
        for (now, more) in [([9, 2], [0, 0]), ([12, 2], [3, 0]), ([4, 1], [4, 1]), ([4, 3], [0, 2])]
        {
            let before = finished.0.unwrap_or(now);
            finished.note(now);
            assert_eq!([0, 1].map(|at| Finished::since(before[at], now[at])), more);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_ends_by_a_defect_begins_again() {
        let (runs, stop) = (AtomicUsize::new(0), CancellationToken::new());
        persist("a test", &stop, || async {
            assert!(runs.fetch_add(1, Ordering::Relaxed) >= 2, "a defect");
        })
        .await;
        assert_eq!(runs.into_inner(), 3);
    }
}
