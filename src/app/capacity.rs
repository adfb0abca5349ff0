//! How much of everything: connections for orders, places in the queue, open sockets.

use std::sync::Arc;

use super::config::{EngineChoice, Settings};
use crate::adapters::postgres::connect::SessionLimits;
use crate::adapters::postgres::reads::PgReads;
use crate::adapters::postgres::sessions::Sessions;
use crate::adapters::postgres::store::PgStore;
use crate::logic::admission::{Admission, AdmissionOptions};
use crate::logic::known_sales::KnownSales;
use crate::logic::orders::Engine;
use crate::logic::orders::alone::Alone;
use crate::logic::orders::grouped::{Grouped, GroupedOptions};
use crate::logic::orders::sold_out::{BUYERS_MAX, SoldOut};

/// For files and the operator's door; the pool's come on top.
const DESCRIPTORS_KEPT_FREE: u64 = 256;
/// Connections that the operator's door holds at a time: half of those, files need the rest.
pub(super) const OPS_CONNECTIONS_MAX: usize = DESCRIPTORS_KEPT_FREE as usize / 2;

/// Connections that orders leave to reads and administration.
pub(super) fn reserved(connections: u32) -> u32 {
    (connections / 5).max(1)
}

/// The chosen engine with its queue.
pub(super) fn engine(
    settings: &Settings,
    sessions: Sessions,
    reads: PgReads,
    known: Arc<KnownSales>,
) -> Arc<dyn Engine> {
    let slots = (settings.db_connections - reserved(settings.db_connections)) as usize;
    let time_limit = settings.request_timeout;
    // Who waited this long may still wait for key, sale and wallet.
    let wait_max = time_limit.saturating_sub(settings.lock_timeout * 3).max(time_limit / 4);
    let waiting_max = settings.max_queue;
    let limits = SessionLimits::under(settings.lock_timeout);
    let store = PgStore::admitted(sessions).under(limits);
    let admission = || {
        let options = AdmissionOptions { slots, waiting_max, wait_max };
        Arc::new(Admission::new(options, Arc::clone(&known)))
    };
    let engine: Arc<dyn Engine> = match settings.engine {
        EngineChoice::Pessimistic => Arc::new(Alone::pessimistic(store, admission(), time_limit)),
        EngineChoice::Optimistic => Arc::new(Alone::optimistic(store, admission(), time_limit)),
        EngineChoice::Grouped => {
            let options = GroupedOptions { slots, waiting_max, wait_max, time_limit };
            Arc::new(Grouped::new(store, options, Arc::clone(&known)))
        }
    };
    Arc::new(SoldOut::new(engine, reads, BUYERS_MAX))
}

/// Ten thousand buyers are ten thousand descriptors: as many connections as are wanted, or as the
/// process may have.
pub(super) fn connections_max(wanted: usize, db_connections: u32) -> usize {
    let spare = raise_descriptor_limit(DESCRIPTORS_KEPT_FREE + u64::from(db_connections));
    if spare < wanted {
        tracing::warn!(wanted, spare, "fewer connections than wanted; `ulimit -n` allows no more");
    }
    spare.min(wanted)
}

fn raise_descriptor_limit(kept_free: u64) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1_024;
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let spare = limit.saturating_sub(kept_free).max(64);
    usize::try_from(spare).unwrap_or(usize::MAX)
}
