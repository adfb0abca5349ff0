//! What a run must have brought before it counts: orders, faults, and so many of each kind that
//! matters most. The long run is asked for all of it, a shorter one for its share, and the run goes
//! on until it is there.

use std::time::Duration;

use crate::board::Board;
use crate::plan::{Fault, Settings};

/// What a long run lasts at least; a longer one is asked for no more.
const LONG: Duration = Duration::from_secs(1_000);
/// The gate's share of the long run: a tenth of its faults, a twentieth of its orders.
const GATE_FAULTS: u64 = 10;
const GATE_ORDERS: u64 = 20;

/// Orders that the long run confirms at least.
const ORDERS: u64 = 1_000_000;
/// Faults of services, wires and server that it suffers at least.
const FAULTS: u64 = 5_000;
/// And of these, by kind.
const KINDS: [(&str, u64, &[Fault]); 6] = [
    ("kills of PostgreSQL", 50, &[Fault::KillPostgres]),
    ("kills of a service", 100, &[Fault::KillService]),
    ("cuts before COMMIT", 500, &[Fault::CutBefore]),
    ("cuts after COMMIT", 500, &[Fault::CutAfter]),
    ("freezes", 100, &[Fault::FreezeService, Fault::FreezeSession]),
    ("terminated sessions", 500, &[Fault::Terminate]),
];

/// One minimum, and how much of it there is.
pub(crate) struct Quota {
    /// What is counted.
    pub(crate) what: &'static str,
    /// How much is asked.
    pub(crate) asked: u64,
    /// How much there is.
    pub(crate) done: u64,
}

impl Quota {
    /// Whether there is enough.
    pub(crate) fn reached(&self) -> bool {
        self.done >= self.asked
    }
}

/// Faults of services, wires and server, without what buyers do.
pub(crate) fn faults_done(board: &Board) -> u64 {
    let faults = board.faults();
    faults.iter().filter(|(name, _)| !name.starts_with("client")).map(|(_, count)| count).sum()
}

/// Every minimum of this run.
pub(crate) fn quotas(settings: Settings, board: &Board, orders: u64) -> Vec<Quota> {
    let share = |full: u64, gate: u64| match settings.time {
        Some(time) => full * time.min(LONG).as_secs() / LONG.as_secs(),
        None => full / gate,
    };
    let faults = board.faults();
    let done = |kinds: &[Fault]| -> u64 {
        kinds.iter().map(|kind| faults.get(kind.name()).copied().unwrap_or_default()).sum()
    };
    let mut quotas = vec![
        Quota { what: "orders", asked: share(ORDERS, GATE_ORDERS), done: orders },
        Quota { what: "faults", asked: share(FAULTS, GATE_FAULTS), done: faults_done(board) },
    ];
    quotas.extend(KINDS.map(|(what, full, kinds)| Quota {
        what,
        asked: share(full, GATE_FAULTS),
        done: done(kinds),
    }));
    quotas
}

/// Whether the minima bind this run. A shorter one is a sample: its shares are shown, and nothing
/// is asked of it.
pub(crate) fn bind(settings: Settings) -> bool {
    settings.time.is_none_or(|time| time >= LONG)
}

/// Whether a run has got all that is asked of it.
pub(crate) fn reached(settings: Settings, board: &Board, orders: u64) -> bool {
    !bind(settings) || quotas(settings, board, orders).iter().all(Quota::reached)
}
