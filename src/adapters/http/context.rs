//! What every handler shares: the logic, the reads, the options, and the tasks that outlive a
//! caller.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::audit_desk::AuditDesk;
use super::kept::{Kept, Panicked};
use super::problem::{OVERLOADED, Problem};
use super::rates::Rates;
use super::sales_board::SalesBoard;
use super::verdict::{failed, unread};
use crate::adapters::token::Verifier;
use crate::domain::books::Audit;
use crate::logic::fault::{Fault, in_a_moment};
use crate::logic::known_sales::KnownSales;
use crate::logic::last_audit;
use crate::logic::orders::Engine;
use crate::ports::read::Reads;
use crate::ports::store::StoreError;

/// How long a read may take before its session counts as silent, or less where a request may. The
/// server ends its statements long before.
const READ_MAX: Duration = Duration::from_secs(10);
/// How long one who came too often may wait to be looked up.
const LOOK_WAIT_MAX: Duration = Duration::from_millis(500);

/// Who may come in.
#[derive(Clone)]
pub enum AuthMode {
    /// Everyone, as an operator: for a trusted network only.
    Open,
    /// Holders of a token.
    Jwt(Arc<Verifier>),
}

/// What the HTTP room needs to exist.
#[derive(Clone)]
pub struct ContextOptions {
    /// Who may come in.
    pub auth: AuthMode,
    /// The installation's currency.
    pub currency: String,
    /// How long a caller waits for a decision.
    pub request_timeout: Duration,
    /// Proxies whose word about a client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may read answers.
    pub cors_origins: Vec<http::HeaderValue>,
    /// Whether `/metrics` and `/api/audit` live on an address of their own.
    pub ops_apart: bool,
    /// Sales that somebody has seen.
    pub known_sales: Arc<KnownSales>,
    /// How often one may order.
    pub rates: Arc<Rates>,
    /// Renders the metrics.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Where the service stands between start and stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The database is not there yet.
    Starting = 0,
    /// Orders are taken.
    Ready = 1,
    /// The database was there and is away.
    DatabaseAway = 2,
    /// Shutting down.
    Draining = 3,
}

/// The phase, shared.
#[derive(Debug, Clone, Default)]
pub struct PhaseCell(Arc<AtomicU8>);

impl PhaseCell {
    /// The phase now.
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::DatabaseAway,
            _ => Phase::Draining,
        }
    }

    /// Moves on. Draining is final.
    pub fn set(&self, phase: Phase) {
        let keep_draining = |now| (now != Phase::Draining as u8).then_some(phase as u8);
        // An error means that the service drains already.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, keep_draining);
    }
}

/// The shared context; cheap to clone.
pub struct Context<S, R> {
    inner: Arc<Inner<S, R>>,
}

struct Inner<S, R> {
    store: S,
    reads: R,
    engine: Arc<dyn Engine>,
    options: ContextOptions,
    phase: PhaseCell,
    tasks: TaskTracker,
    audits: AuditDesk,
    sales: SalesBoard,
    looks: Semaphore,
    strangers: Semaphore,
}

impl<S, R> Clone for Context<S, R> {
    fn clone(&self) -> Self {
        Context { inner: Arc::clone(&self.inner) }
    }
}

impl<S, R> Context<S, R> {
    /// `tasks` owns every task that a handler starts; shut-down waits for it.
    pub fn new(
        store: S,
        reads: R,
        engine: Arc<dyn Engine>,
        options: ContextOptions,
        phase: PhaseCell,
        tasks: TaskTracker,
    ) -> Self {
        let (audits, sales) = (AuditDesk::default(), SalesBoard::default());
        let (looks, strangers) = (Semaphore::new(1), Semaphore::new(1));
        let inner =
            Inner { store, reads, engine, options, phase, tasks, audits, sales, looks, strangers };
        Context { inner: Arc::new(inner) }
    }

    pub(super) fn store(&self) -> &S {
        &self.inner.store
    }

    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    pub(super) fn options(&self) -> &ContextOptions {
        &self.inner.options
    }

    pub(super) fn phase(&self) -> Phase {
        self.inner.phase.get()
    }

    pub(super) fn sales(&self) -> &SalesBoard {
        &self.inner.sales
    }

    pub(super) fn audits(&self) -> &AuditDesk {
        &self.inner.audits
    }

    /// Checks the books, for as long as a caller waits.
    pub(super) async fn audit(&self) -> Result<Audit, Problem>
    where
        R: Reads,
    {
        let desk = self.audits().clone();
        let again = |detail| Problem::new(OVERLOADED, detail).retry_after(in_a_moment());
        let Some(turn) = desk.turn() else {
            return Err(again("Another audit is running; one at a time keeps a sale fast."));
        };
        let reads = self.inner.reads.clone();
        let audited = async move { reads.audit().await.inspect(last_audit::note) };
        let work = async move { desk.run(turn, audited).await };
        // Nobody waits for a report when the service ends: it changes nothing.
        let task = tokio::spawn(work.in_current_span());
        match tokio::time::timeout(self.inner.options.request_timeout, task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(unread(&error)),
            Ok(Err(error)) => return Err(panicked(&error)),
            Err(_elapsed) => {
                return Err(again(
                    "The books are long and still being read; ask again for the report.",
                ));
            }
        }
        let raced = || again("Another caller fetched this report; ask again for another.");
        self.audits().fetch().ok_or_else(raced)
    }

    /// Refuses at once what cannot be executed now.
    pub(super) fn require_ready(&self) -> Result<(), Problem> {
        match self.phase() {
            Phase::Ready => Ok(()),
            Phase::Starting | Phase::DatabaseAway => Err(failed(&Fault::Unavailable)),
            Phase::Draining => Err(failed(&Fault::Draining)),
        }
    }

    /// The turn of one who came too often to look whether that was a replay. A flood of them must
    /// leave the others their reads, so they look one at a time, and wait a moment for it at most.
    pub(super) async fn turn_to_look(&self) -> Option<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(LOOK_WAIT_MAX, self.inner.looks.acquire());
        turn.await.ok()?.ok()
    }

    /// The turn of one who asks for what nobody has seen: a sale that may be invented, a page
    /// behind a cursor of one's own. Anybody can ask for any number of them, and every answer is a
    /// reading of its own; so they are read one at a time, and deposits, wallets and receipts have
    /// the other places.
    ///
    /// # Errors
    /// `overloaded` when too many ask.
    pub(super) async fn turn_of_a_stranger(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = tokio::time::timeout(LOOK_WAIT_MAX, self.inner.strangers.acquire());
        let busy = || failed(&Fault::busy());
        turn.await.map_err(|_elapsed| busy())?.map_err(|_closed| busy())
    }

    /// Reads, and once more where its session had died in the pool. The reading of a caller who
    /// leaves goes on (see [`Kept`]), so that its place at the gate is not given away before it
    /// is free.
    pub(super) async fn read<V, F>(&self, read: impl Fn(R) -> F) -> Result<V, Problem>
    where
        R: Clone,
        V: Send + 'static,
        F: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        let until = Instant::now() + READ_MAX.min(self.inner.options.request_timeout);
        let reading = || {
            let reading = tokio::time::timeout_at(until, read(self.inner.reads.clone()));
            Kept::new(reading, &self.inner.tasks)
        };
        let mut answer = reading().await;
        if matches!(answer, Ok(Ok(Err(StoreError::Lost(_))))) {
            answer = reading().await;
        }
        match answer {
            Ok(Ok(value)) => value.map_err(|error| unread(&error)),
            Ok(Err(_elapsed)) => Err(failed(&Fault::Unavailable)),
            Err(Panicked(said)) => Err(panicked(&said)),
        }
    }

    /// Runs work that may hold a transaction and waits for it, within the request's time. Whether
    /// or not the caller stays, the work is run to its end (see [`Kept`]).
    pub(super) async fn run_to_end<V: Send + 'static>(
        &self,
        work: impl Future<Output = V> + Send + 'static,
    ) -> Result<V, Problem> {
        let work = Kept::new(work, &self.inner.tasks);
        match tokio::time::timeout(self.inner.options.request_timeout, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Panicked(said))) => Err(panicked(&said)),
            Err(_elapsed) => Err(failed(&Fault::OutcomeUnknown)),
        }
    }
}

/// A defect.
fn panicked(error: &impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a request's work panicked");
    failed(&Fault::Internal(error.to_string()))
}
