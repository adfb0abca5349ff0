//! The plan: which faults come in which order. A seed gives the plan again; the moments at which
//! processes meet are the machine's.

use std::time::Duration;

use fastrand::Rng;

/// What is done to the services, to their wires and to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The wire is cut before COMMIT is forwarded.
    CutBefore,
    /// The wire is cut while the server commits.
    CutDuring,
    /// The wire is cut after COMMIT, before its answer.
    CutAfter,
    /// The answer to COMMIT is late.
    DelayCommit,
    /// The server sees the end of the stream right behind COMMIT.
    HalfClose,
    /// From COMMIT on the server hears nothing.
    SilentUp,
    /// From COMMIT on the service hears nothing.
    SilentDown,
    /// `pg_terminate_backend` on sessions at work.
    Terminate,
    /// A session holds the sale's row.
    LockSale,
    /// A session locks wallets first and then the sale.
    Rogue,
    /// SIGSTOP and SIGCONT for a service.
    FreezeService,
    /// SIGSTOP and SIGCONT for a session of the server.
    FreezeSession,
    /// `kill -9` of a service.
    KillService,
    /// `kill -9` of the postmaster.
    KillPostgres,
    /// Every connection slot is taken, the services' sessions are ended.
    FullSlots,
    /// `default_transaction_read_only = on`.
    ReadOnlyDefault,
    /// Stand-in for a server that has become read-only.
    ReadOnly,
    /// A full disk, or its stand-in.
    DiskFull,
}

/// How often each comes among ninety cards (five thousand faults are more than thirty decks, so the
/// minima in `quota` are met by and by), its name in the report, and how soon after its end
/// an order must be confirmed again (`docs/RELIABILITY.md`).
pub(crate) const DECK: [(Fault, usize, &str, Duration); 18] = [
    (Fault::CutBefore, 16, "wire: cut before COMMIT", SOON),
    (Fault::CutDuring, 8, "wire: cut during COMMIT", SOON),
    (Fault::CutAfter, 16, "wire: cut after COMMIT, before its answer", SOON),
    (Fault::DelayCommit, 6, "wire: answer to COMMIT delayed", SOON),
    (Fault::HalfClose, 5, "wire: half-close behind COMMIT", SOON),
    (Fault::SilentUp, 2, "wire: silent towards the server", SILENCE),
    (Fault::SilentDown, 2, "wire: silent towards the service", SILENCE),
    (Fault::Terminate, 12, "session: pg_terminate_backend", SOON),
    (Fault::LockSale, 3, "lock: the sale's row held", SOON),
    (Fault::Rogue, 3, "lock: wallets, then the sale", SOON),
    (Fault::FreezeService, 4, "freeze: a service", SOON),
    (Fault::FreezeSession, 3, "freeze: a session of the server", SOON),
    (Fault::KillService, 4, "kill -9: a service", SOON),
    (Fault::KillPostgres, 2, "kill -9: the postmaster", RESTART),
    (Fault::FullSlots, 1, "server: every connection slot taken", RESTART),
    (Fault::ReadOnlyDefault, 1, "server: default_transaction_read_only", SOON),
    (Fault::ReadOnly, 1, "server: read-only (stand-in: 25006 at the write)", SOON),
    (Fault::DiskFull, 1, "server: disk full", SOON),
];

/// After a lock holder, a cut and the like.
const SOON: Duration = Duration::from_secs(2);
/// After a restart of PostgreSQL.
const RESTART: Duration = Duration::from_secs(5);
/// A silent wire has no end of its own: counted from its beginning, and a service gives up a
/// session after 2 s (twice `lock_timeout`, and a second).
const SILENCE: Duration = Duration::from_secs(5);

impl Fault {
    /// Its row in the deck.
    fn row(self) -> &'static (Fault, usize, &'static str, Duration) {
        let row = DECK.iter().find(|(fault, ..)| *fault == self);
        row.expect("every fault is in the deck")
    }

    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        self.row().2
    }

    /// How soon after its end an order must be confirmed.
    pub(crate) fn bar(self) -> Duration {
        self.row().3
    }
}

/// What a run is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Where chance begins.
    pub(crate) seed: u64,
    /// How long; none for "until there were enough orders and faults".
    pub(crate) time: Option<Duration>,
}

impl Settings {
    /// From `DRILL_SEED` and `DRILL_SECONDS`.
    pub(crate) fn read() -> Settings {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
        };
        let seed = number("DRILL_SEED").unwrap_or_else(|| Rng::new().u64(1..1_000_000));
        Settings { seed, time: number("DRILL_SECONDS").map(Duration::from_secs) }
    }
}

/// A shuffled deck that is laid again when it is empty.
pub(crate) struct Plan {
    chance: Rng,
    left: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Plan {
        Plan { chance: Rng::with_seed(seed), left: Vec::new() }
    }

    /// The next fault, and the chance that shapes it.
    pub(crate) fn next(&mut self) -> (Fault, Rng) {
        if self.left.is_empty() {
            for (fault, count, ..) in DECK {
                self.left.extend(std::iter::repeat_n(fault, count));
            }
            self.chance.shuffle(&mut self.left);
        }
        let fault = self.left.pop().expect("the deck was laid");
        (fault, self.chance.fork())
    }
}
