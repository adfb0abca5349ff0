//! Who has ever bought, so that no winner is told "sold out" from memory.
//!
//! They are followed order by order: within a sale sequences are gapless and committed in their
//! order, so "after the last I know" misses nobody. If that order is gone, a failover has lost it,
//! and its sale is followed from the first again.
//!
//! Of the sales that are asked for everyone is known, each time. Buyers of all other sales are
//! wanted too, for a key that is spent there is to be looked up; but only as often as costs little,
//! and as long as there is room. So in a shop of many thousands of sales, or of more buyers than
//! fit, "sold out" is what such a key may hear.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::id::{OrderId, SaleId, UserId};
use crate::ports::read::Bought;

/// Looking at all sales takes at most one part in so many of the time, however many there are.
const SHARE_OF_ALL: u32 = 10;

/// Whose buyers are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of<'a> {
    /// Those of all sales.
    All,
    /// Those of these.
    These(&'a [SaleId]),
}

/// Those who are known, and the last order that was read, by sale.
#[derive(Debug, Default)]
pub(super) struct Buyers {
    users: HashSet<UserId>,
    followed: HashMap<SaleId, OrderId>,
    all: All,
}

/// When the buyers of all sales are to be read.
#[derive(Debug, Default, Clone, Copy)]
enum All {
    #[default]
    Now,
    At(Instant),
    /// They are too many.
    Never,
}

impl Buyers {
    /// Whether this one may have bought.
    pub(super) fn know(&self, user: UserId) -> bool {
        self.users.contains(&user)
    }

    /// How many are known.
    pub(super) fn count(&self) -> usize {
        self.users.len()
    }

    /// This one has bought.
    pub(super) fn note(&mut self, user: UserId) {
        self.users.insert(user);
    }

    /// This order was read.
    pub(super) fn follow(&mut self, bought: &Bought) {
        self.users.insert(bought.user);
        self.followed.insert(bought.sale, bought.order);
    }

    /// From here on buyers are noted again; who bought in between is to be read at once.
    pub(super) fn noted_from_now(&mut self) {
        if !matches!(self.all, All::Never) {
            self.all = All::Now;
        }
    }

    /// Whose buyers are to be read now, when these sales are asked for.
    pub(super) fn whose<'a>(&self, wanted: &'a [SaleId]) -> Of<'a> {
        let all = match self.all {
            All::Now => true,
            All::At(moment) => Instant::now() >= moment,
            All::Never => false,
        };
        if all { Of::All } else { Of::These(wanted) }
    }

    /// The last order that was read of each, if any was.
    pub(super) fn last_known(&self, of: Of<'_>) -> Vec<(SaleId, Option<OrderId>)> {
        match of {
            Of::All => self.followed.iter().map(|(sale, last)| (*sale, Some(*last))).collect(),
            Of::These(sales) => {
                sales.iter().map(|sale| (*sale, self.followed.get(sale).copied())).collect()
            }
        }
    }

    /// All of them have been read; the last question took so long.
    pub(super) fn read_up_to_now(&mut self, of: Of<'_>, took: Duration) {
        if of == Of::All {
            self.all = All::At(Instant::now() + took * SHARE_OF_ALL);
        }
    }

    /// Begins anew, with the sales that are asked for only.
    pub(super) fn forget(&mut self) {
        *self = Buyers { all: All::Never, ..Buyers::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::ids::new_id;

    #[tokio::test(start_paused = true)]
    async fn all_sales_take_a_tenth_of_the_time_and_those_asked_for_what_they_need() {
        let (mut buyers, here, there) = (Buyers::default(), new_id(), new_id());
        let (wanted, order) = ([here], new_id());
        assert_eq!(buyers.whose(&wanted), Of::All, "nobody is known yet");
        buyers.follow(&Bought { sale: there, order, user: new_id() });
        buyers.read_up_to_now(Of::All, Duration::from_millis(250));
        for (passed, whose) in [(0, false), (2_499, false), (1, true)] {
            tokio::time::advance(Duration::from_millis(passed)).await;
            let whose = if whose { Of::All } else { Of::These(&wanted) };
            assert_eq!(buyers.whose(&wanted), whose, "{passed} ms later");
        }
        assert_eq!(buyers.last_known(Of::All), [(there, Some(order))]);
        assert_eq!(buyers.last_known(Of::These(&wanted)), [(here, None)]);
        buyers.read_up_to_now(Of::All, Duration::from_millis(250));
        buyers.read_up_to_now(Of::These(&wanted), Duration::ZERO);
        assert_eq!(buyers.whose(&wanted), Of::These(&wanted));
        buyers.noted_from_now();
        assert_eq!(buyers.whose(&wanted), Of::All, "nobody was noted in between");
    }

    #[test]
    fn who_does_not_fit_is_not_read_again() {
        let (mut buyers, user, wanted) = (Buyers::default(), new_id(), [new_id()]);
        buyers.follow(&Bought { sale: wanted[0], order: new_id(), user });
        assert!(buyers.know(user));
        buyers.forget();
        assert!(!buyers.know(user) && buyers.last_known(Of::All).is_empty());
        buyers.noted_from_now();
        assert_eq!(buyers.whose(&wanted), Of::These(&wanted));
    }
}
