//! Which sales are known to exist, so that whoever invents one stands behind those who did not.
//!
//! Anybody can make up sale ids, and each costs the database a look before it can be refused. The
//! real ones are few and are heard of at every turn: whoever reads or decides one notes it here.
//! It is never needed for an answer, only for a place in line.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use crate::domain::id::SaleId;

/// So many are kept; then all are forgotten and heard of again.
const KEPT: usize = 100_000;

/// The sales that somebody has seen.
#[derive(Debug, Default)]
pub struct KnownSales(RwLock<HashSet<SaleId>>);

impl KnownSales {
    /// Somebody has seen it.
    pub fn note(&self, sale: SaleId) {
        if self.has(sale) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(sale);
    }

    /// Whether somebody has.
    pub fn has(&self, sale: SaleId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&sale)
    }
}

/// What all orders together for sales that nobody has seen may take of slots or places: a quarter.
pub fn share_of_strangers(of: usize) -> usize {
    (of / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::ids::new_id;

    #[test]
    fn what_is_known_has_a_bound() {
        let (known, one) = (KnownSales::default(), new_id());
        assert!(!known.has(one));
        known.note(one);
        assert!(known.has(one));
        (0..KEPT).for_each(|_| known.note(new_id()));
        assert!(!known.has(one), "forgotten with the others");
        known.note(one);
        assert!(known.has(one));
    }
}
