//! The way to the facts of a decision: keys, then sale and wallets, and how long each was waited
//! for.

use tokio::time::Instant;

use crate::domain::id::{SaleId, UserId};
use crate::domain::sale::Sale;
use crate::logic::keyed;
use crate::logic::transact::Trouble;
use crate::ports::signals;
use crate::ports::store::{
    Buyers, Claim, Locked, NotReached, Reached, StoreError, Transaction, Waited,
};

/// Whether rows are locked before they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Sale, then wallets: what was read cannot change before COMMIT.
    First,
    /// Not at all: the write succeeds only where nothing has changed since.
    Never,
}

/// Whose facts.
pub(super) struct Wanted {
    /// Of this sale.
    pub(super) sale: SaleId,
    /// Of these buyers, distinct and ascending.
    pub(super) users: Vec<UserId>,
}

/// What the decisions rest on.
pub(super) struct Facts {
    pub(super) sale: Option<Sale>,
    pub(super) buyers: Buyers,
}

/// What a claim led to.
pub(super) enum Entered {
    /// By position, which keys are ours. Nothing is locked.
    Claimed(Vec<bool>),
    /// All are ours, and so are the locks.
    Locked(Facts),
}

/// Claims keys, ascending; who locks first and gets them all, has the locks with them.
pub(super) async fn enter<T: Transaction>(
    transaction: &mut T,
    locking: Locking,
    claims: &[Claim],
    wanted: &Wanted,
) -> Result<Entered, Trouble> {
    let began = Instant::now();
    let reached = match locking {
        Locking::First => transaction.claim_and_lock(claims, wanted.sale, &wanted.users).await,
        Locking::Never => {
            transaction.claim_keys(claims).await.map(Reached::Keys).map_err(NotReached::Keys)
        }
    };
    match reached {
        Ok(Reached::Locks(locked)) => {
            let behind_keys = locked.waited.sale + locked.waited.wallets;
            note_key(began.elapsed().saturating_sub(behind_keys));
            note(locked.waited);
            Ok(Entered::Locked(locked.into()))
        }
        Ok(Reached::Keys(ours)) => {
            note_key(began.elapsed());
            Ok(Entered::Claimed(ours))
        }
        Err(NotReached::Keys(error)) => {
            note_key(began.elapsed());
            Err(keyed::unsettled(error))
        }
        Err(NotReached::Locks(error)) => {
            note(in_vain(began));
            Err(error.into())
        }
    }
}

/// The facts by themselves, behind a claim that did not bring them.
pub(super) async fn read<T: Transaction>(
    transaction: &mut T,
    locking: Locking,
    wanted: &Wanted,
) -> Result<Facts, StoreError> {
    if locking == Locking::Never {
        let (sale, buyers) = transaction.look(wanted.sale, &wanted.users).await?;
        return Ok(Facts { sale, buyers });
    }
    let began = Instant::now();
    let locked = transaction.lock(wanted.sale, &wanted.users).await;
    note(locked.as_ref().map_or_else(|_| in_vain(began), |locked| locked.waited));
    locked.map(Facts::from)
}

impl From<Locked> for Facts {
    fn from(locked: Locked) -> Facts {
        Facts { sale: locked.sale, buyers: locked.buyers }
    }
}

fn note_key(waited: std::time::Duration) {
    metrics::histogram!(signals::LOCK_WAIT, "lock" => "key").record(waited);
}

fn note(waited: Waited) {
    metrics::histogram!(signals::LOCK_WAIT, "lock" => "sale").record(waited.sale);
    metrics::histogram!(signals::LOCK_WAIT, "lock" => "wallet").record(waited.wallets);
}

/// Whoever waited in vain waited for the sale, as far as anybody can tell.
fn in_vain(began: Instant) -> Waited {
    Waited { sale: began.elapsed(), ..Waited::default() }
}
