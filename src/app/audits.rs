//! Audits of the books now and then, out of the way of whoever buys.
//!
//! An audit reads every table from end to end: a core for some seconds where there are millions of
//! orders, and its snapshot keeps the hot row's old versions alive meanwhile. So it waits until
//! nobody buys, here or at another instance, and gives way when somebody begins. Not for ever:
//! books that nobody checks are worse than a slow sale.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::books::Audit;
use crate::logic::last_audit;
use crate::ports::store::StoreError;

/// The shortest time between two audits, and the share of time they may take.
const EVERY: Duration = Duration::from_secs(60);
const SHARE: u32 = 100;
/// The longest: the alert that misses an audit waits for an hour.
const PAUSE_MAX: Duration = Duration::from_secs(1800);
/// An audit that gave way waits ten times as long as it had run.
const IN_VAIN_PAUSE: u32 = 10;
/// How long an audit that is due waits for a calm moment: longer than most rushes, less than the
/// ten minutes after which a start without an audit is an alert.
const PATIENCE: Duration = Duration::from_secs(480);
/// How often it is looked while an audit is due or under way, and how many looks in a row must be
/// calm. Sessions of PostgreSQL report what they wrote once a second, so one look may miss it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const CALM_LOOKS: u32 = 2;
/// Rows a second in the whole database from which on it is a rush: a hundred orders, of three rows.
const RUSH_ROWS: i64 = 300;

/// What audits need to know of the shop around them.
pub(super) trait Shop {
    /// Whether there is a database to be asked.
    fn open(&self) -> bool;
    /// Orders that wait in this instance.
    fn orders_waiting(&self) -> usize;
    /// Rows that were ever inserted into the database, by this instance or another.
    fn rows_inserted(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Checks the books. Ends the check when it is dropped.
    fn audit(&self) -> impl Future<Output = Result<Audit, StoreError>> + Send;
}

/// Audits until told to stop; then one that is under way ends at once.
pub(super) async fn keep(shop: &impl Shop, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = audit_when_calm(shop) => {}
    }
}

async fn audit_when_calm(shop: &impl Shop) {
    let (mut due, mut traffic) = (Instant::now(), Traffic::default());
    let mut again = due;
    loop {
        sleep(LOOK_EVERY).await;
        let now = Instant::now();
        let overdue = now >= due + PATIENCE;
        if !shop.open() || now < due || now < again && !overdue {
            traffic = Traffic::default();
            continue;
        }
        traffic.look(shop).await;
        if !(overdue || traffic.is_calm()) {
            continue;
        }
        let began = Instant::now();
        let audited = tokio::select! {
            biased;
            audited = shop.audit() => audited,
            () = rush(shop, &mut traffic), if !overdue => {
                tracing::info!("an audit gave way to orders and waits for a calm moment");
                again = Instant::now() + began.elapsed() * IN_VAIN_PAUSE;
                continue;
            }
        };
        match audited {
            Ok(audit) => last_audit::note(&audit),
            Err(error) => tracing::warn!(%error, "the books were not audited"),
        }
        due = Instant::now() + (began.elapsed() * SHARE).clamp(EVERY, PAUSE_MAX);
    }
}

/// Waits until there is a rush.
async fn rush(shop: &impl Shop, traffic: &mut Traffic) {
    while traffic.calm_looks > 0 {
        sleep(LOOK_EVERY).await;
        traffic.look(shop).await;
    }
}

/// What the looks saw.
#[derive(Default)]
struct Traffic {
    /// Rows, and when they were counted.
    last: Option<(i64, Instant)>,
    /// Looks in a row that saw no rush.
    calm_looks: u32,
}

impl Traffic {
    fn is_calm(&self) -> bool {
        self.calm_looks >= CALM_LOOKS
    }

    /// One look. A database that takes longer than a second for it is busy; one that cannot say
    /// leaves the word to the orders that wait here.
    async fn look(&mut self, shop: &impl Shop) {
        let rush = shop.orders_waiting() > 0
            || match timeout(LOOK_EVERY, shop.rows_inserted()).await {
                Ok(Ok(rows)) => self.counted(rows, Instant::now()),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the database did not say how busy it is");
                    false
                }
                Err(_elapsed) => true,
            };
        self.calm_looks = if rush { 0 } else { self.calm_looks.saturating_add(1) };
    }

    /// Whether more came since the last count than in a calm moment. Nobody knows at the first.
    fn counted(&mut self, rows: i64, now: Instant) -> bool {
        self.last.replace((rows, now)).is_none_or(|(before, then)| {
            (rows - before) as f64 > RUSH_ROWS as f64 * (now - then).as_secs_f64()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering::Relaxed};

    use tokio::task::JoinHandle;

    use super::*;

    /// A shop on paper: who buys, and how long a look into the books takes.
    #[derive(Default)]
    struct Paper {
        waiting: AtomicUsize,
        rows_a_second: AtomicI64,
        audit_seconds: AtomicU32,
        begun: AtomicU32,
        finished: AtomicU32,
    }

    struct Open(Arc<Paper>, Instant);

    impl Shop for Open {
        fn open(&self) -> bool {
            true
        }

        fn orders_waiting(&self) -> usize {
            self.0.waiting.load(Relaxed)
        }

        async fn rows_inserted(&self) -> Result<i64, StoreError> {
            Ok(self.0.rows_a_second.load(Relaxed) * self.1.elapsed().as_secs() as i64)
        }

        async fn audit(&self) -> Result<Audit, StoreError> {
            self.0.begun.fetch_add(1, Relaxed);
            sleep(Duration::from_secs(self.0.audit_seconds.load(Relaxed).into())).await;
            self.0.finished.fetch_add(1, Relaxed);
            Ok(Audit {
                checked_at: chrono::DateTime::UNIX_EPOCH,
                sales: 0,
                wallets: 0,
                orders: 0,
                discrepancies: Vec::new(),
            })
        }
    }

    fn opened(paper: &Arc<Paper>) -> JoinHandle<()> {
        let shop = Open(Arc::clone(paper), Instant::now());
        tokio::spawn(async move { keep(&shop, &CancellationToken::new()).await })
    }

    async fn after(seconds: u64, paper: &Paper) -> [u32; 2] {
        sleep(Duration::from_secs(seconds)).await;
        [paper.begun.load(Relaxed), paper.finished.load(Relaxed)]
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_buys_so_the_books_are_checked_at_once_and_each_minute() {
        let paper = Arc::new(Paper { rows_a_second: 100.into(), ..Paper::default() });
        let shop = opened(&paper);
        assert_eq!(after(5, &paper).await, [1, 1], "a trickle of orders is calm enough");
        assert_eq!(after(55, &paper).await, [1, 1]);
        assert_eq!(after(10, &paper).await, [2, 2]);
        shop.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_waits_while_orders_wait_here_or_are_written_elsewhere() {
        let paper = Arc::new(Paper { waiting: 1.into(), ..Paper::default() });
        let shop = opened(&paper);
        assert_eq!(after(200, &paper).await, [0, 0], "orders wait here");
        paper.waiting.store(0, Relaxed);
        paper.rows_a_second.store(3_000, Relaxed);
        assert_eq!(after(200, &paper).await, [0, 0], "another instance sells");
        paper.rows_a_second.store(0, Relaxed);
        assert_eq!(after(5, &paper).await, [1, 1]);
        shop.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_gives_way_and_is_taken_up_again() {
        let paper = Arc::new(Paper { audit_seconds: 20.into(), ..Paper::default() });
        let shop = opened(&paper);
        assert_eq!(after(10, &paper).await, [1, 0]);
        paper.waiting.store(1, Relaxed);
        assert_eq!(after(30, &paper).await, [1, 0], "it has given way");
        paper.waiting.store(0, Relaxed);
        assert_eq!(after(30, &paper).await, [1, 0], "a tenth of the time for what is in vain");
        assert_eq!(after(60, &paper).await, [2, 1], "and then it is done");
        shop.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn books_are_checked_in_a_rush_without_end_too() {
        let paper =
            Arc::new(Paper { waiting: 1.into(), audit_seconds: 30.into(), ..Paper::default() });
        let shop = opened(&paper);
        assert_eq!(after(470, &paper).await, [0, 0]);
        assert_eq!(after(45, &paper).await, [1, 1], "nobody interrupts it");
        assert_eq!(after(1_700 + 470, &paper).await, [1, 1], "thirty seconds in half an hour");
        assert_eq!(after(150, &paper).await, [2, 2]);
        shop.abort();
    }
}
