//! The board that everyone writes on while a round runs: the last orders, counted faults,
//! violations seen on the spot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::shop::SALES;

/// More violations than this say nothing new.
const SHOWN_MAX: usize = 50;

/// The board.
pub(crate) struct Board {
    began: Instant,
    /// Microseconds since the beginning of the last 201, by instance and sale.
    last: [[AtomicU64; SALES]; 2],
    orders: AtomicU64,
    made: AtomicU64,
    requests: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    faults: BTreeMap<&'static str, u64>,
    answers: BTreeMap<String, u64>,
    recoveries: BTreeMap<&'static str, Vec<Duration>>,
    full_rate: BTreeMap<&'static str, Vec<Duration>>,
    violations: Vec<String>,
    violation_count: usize,
}

impl Board {
    /// An empty one.
    pub(crate) fn new() -> Board {
        Board {
            began: Instant::now(),
            last: Default::default(),
            orders: AtomicU64::new(0),
            made: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            notes: Mutex::default(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered so, or not at all.
    pub(crate) fn answered(&self, what: &str) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        *self.notes().answers.entry(what.to_owned()).or_default() += 1;
    }

    /// An instance has just acknowledged an order.
    pub(crate) fn acknowledged(&self, instance: usize, sale: usize) {
        self.orders.fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_micros()).expect("not that long");
        self.last[instance][sale].fetch_max(now, Ordering::Relaxed);
    }

    /// How long it has been on the wall.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// An answer 201 was the first with its order.
    pub(crate) fn made_one(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Orders whose first answer arrived: a few less than there are.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// When one of these acknowledged its last order, counted from the beginning.
    pub(crate) fn last(&self, instance: Option<usize>, sale: Option<usize>) -> Instant {
        let instances = (0..2).filter(|at| instance.is_none_or(|wanted| wanted == *at));
        let last = instances.flat_map(|at| &self.last[at]).enumerate();
        let last = last.filter(|(at, _)| sale.is_none_or(|wanted| wanted == at % SALES));
        let last = last.map(|(_, moment)| moment.load(Ordering::Relaxed)).max();
        self.began + Duration::from_micros(last.unwrap_or_default())
    }

    /// Orders acknowledged so far, replays included.
    pub(crate) fn orders(&self) -> u64 {
        self.orders.load(Ordering::Relaxed)
    }

    /// Requests sent so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Faults of this kind have happened.
    pub(crate) fn fault(&self, kind: &'static str, count: u64) {
        *self.notes().faults.entry(kind).or_default() += count;
    }

    /// Faults so far, by kind.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.notes().faults.clone()
    }

    /// Answers so far, by code.
    pub(crate) fn answers(&self) -> BTreeMap<String, u64> {
        self.notes().answers.clone()
    }

    /// The first 201 came so long after the end of a fault.
    pub(crate) fn recovered(&self, kind: &'static str, took: Duration) {
        self.notes().recoveries.entry(kind).or_default().push(took);
    }

    /// And the rate from before came back so long after it.
    pub(crate) fn at_full_rate(&self, kind: &'static str, took: Duration) {
        self.notes().full_rate.entry(kind).or_default().push(took);
    }

    /// Times until the first 201, and until full rate, sorted.
    pub(crate) fn recoveries(&self) -> [BTreeMap<&'static str, Vec<Duration>>; 2] {
        let notes = self.notes();
        let mut both = [notes.recoveries.clone(), notes.full_rate.clone()];
        both.iter_mut().flat_map(BTreeMap::values_mut).for_each(|times| times.sort_unstable());
        both
    }

    /// A promise was broken.
    pub(crate) fn violation(&self, what: String) {
        let mut notes = self.notes();
        notes.violation_count += 1;
        if notes.violations.len() < SHOWN_MAX {
            eprintln!("VIOLATION {what}");
            notes.violations.push(what);
        }
    }

    /// More is broken than anyone wants to read.
    pub(crate) fn is_lost(&self) -> bool {
        self.violations() >= SHOWN_MAX
    }

    /// How many promises were broken.
    pub(crate) fn violations(&self) -> usize {
        self.notes().violation_count
    }
}
