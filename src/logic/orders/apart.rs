//! What cannot be decided together is decided apart.
//!
//! A group waits for all its wallets, and waits in vain if another session holds one. Then it
//! is asked once, without waiting, which of them are held: their buyers are told so, and everyone
//! else is decided together. So a group loses one lock time-out, however many wallets are held.
//!
//! A group whose write came too late for one of its orders is decided again, without those who may
//! be late once more: their own last moment is near. They follow in small parts.
//!
//! Where nobody can say who is to blame, a bad item or a key that another session holds, the group
//! is split until the trouble stands alone.

use std::collections::HashSet;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::OrderAnswer;
use super::lanes::Waiting;
use crate::domain::Instant as Moment;
use crate::domain::id::UserId;
use crate::logic::fault::Fault;
use crate::logic::keyed::count_all;
use crate::logic::transact::{Ending, Trouble, Work, transact};
use crate::ports::store::{Store, Transaction};

/// Into how many parts a group is split: two steps from the largest to the one.
const PARTS: usize = 32;

/// Whose last moment is nearer than this may be too late again.
const NEAR: TimeDelta = TimeDelta::seconds(1);

/// Finds out whose wallets others hold.
struct WhoseIsHeld(Vec<UserId>);

impl<T: Transaction> Work<T> for WhoseIsHeld {
    type Value = HashSet<UserId>;
    const NAME: &'static str = "held_wallets";

    async fn run(&mut self, transaction: &mut T) -> Result<Ending<HashSet<UserId>>, Trouble> {
        Ok(Ending::Rollback(transaction.held_wallets(&self.0).await?))
    }
}

/// Tells those whose wallets are held, and returns the others as one part; where that cannot be
/// found out, or all have been let go meanwhile, the group in parts.
pub(super) async fn by_wallets<S: Store>(
    store: &S,
    deadline: Instant,
    group: Vec<Waiting>,
) -> Vec<Vec<Waiting>> {
    let users = group.iter().map(|waiting| waiting.order.user_id).collect();
    let held = transact(store, deadline, &mut WhoseIsHeld(users)).await.unwrap_or_default();
    if held.is_empty() {
        return split(group);
    }
    let is_held = |waiting: &Waiting| held.contains(&waiting.order.user_id);
    let (of_held, others): (Vec<Waiting>, Vec<Waiting>) = group.into_iter().partition(is_held);
    of_held.into_iter().for_each(|waiting| waiting.tell(Err(Fault::WalletHeld)));
    vec![others]
}

/// The write came behind `moment`: those whose own last moment is near in small parts, behind all
/// others. Where there are none it was the end of the sale, and all are decided once more.
pub(super) fn by_last_moment(group: Vec<Waiting>, moment: Moment) -> Vec<Vec<Waiting>> {
    let near = moment.checked_add_signed(NEAR).unwrap_or(moment);
    let is_near = |one: &Waiting| one.order.valid_until.is_some_and(|last| last < near);
    let (soon, others): (Vec<Waiting>, Vec<Waiting>) = group.into_iter().partition(is_near);
    let mut parts = split(soon);
    parts.push(others);
    parts
}

/// Answers those whose answer stands although their group failed; returns the others. A winner who
/// asks again must not hear what became of his neighbours.
pub(super) fn tell_known(group: Vec<Waiting>, known: Vec<Option<OrderAnswer>>) -> Vec<Waiting> {
    let mut others = Vec::with_capacity(group.len());
    let mut known = known.into_iter();
    for waiting in group {
        match known.next().flatten() {
            Some(answer) => {
                count_all(std::slice::from_ref(&answer));
                waiting.tell(Ok(answer));
            }
            None => others.push(waiting),
        }
    }
    others
}

/// Cuts a group into parts, the first to come last, where the next is taken from.
pub(super) fn split(mut group: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let length = group.len().div_ceil(PARTS);
    let mut parts = Vec::with_capacity(PARTS);
    while !group.is_empty() {
        let rest = group.split_off(length.min(group.len()));
        parts.push(std::mem::replace(&mut group, rest));
    }
    parts.reverse();
    parts
}

/// Faults that one item can bring over its neighbours.
pub(super) fn one_may_be_to_blame(fault: &Fault) -> bool {
    matches!(fault, Fault::Internal(_) | Fault::InProgress)
}
