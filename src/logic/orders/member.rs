//! An order in a group, and whose key it has.

use std::collections::HashMap;

use super::OrderAnswer;
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::order::{Order, PlaceOrder};
use crate::logic::keyed::Answer;
use crate::ports::store::Claim;

/// An order, and what the group needs to know of it more than once.
pub(super) struct Member {
    /// The order.
    pub(super) order: PlaceOrder,
    /// Its key in its scope.
    pub(super) key: KeyRef,
    /// Its meaning.
    pub(super) fingerprint: Fingerprint,
    /// The first arrival with the same key, if this is not the first.
    pub(super) twin_of: Option<usize>,
}

/// Adds orders behind those that are there, in the order of arrival.
pub(super) fn add(members: &mut Vec<Member>, orders: Vec<PlaceOrder>) {
    if orders.is_empty() {
        return;
    }
    members.extend(orders.into_iter().map(|order| Member {
        key: order.key_ref(),
        fingerprint: order.fingerprint(),
        order,
        twin_of: None,
    }));
    let mut first_with: HashMap<&KeyRef, usize> = HashMap::with_capacity(members.len());
    let keys = members.iter().map(|member| &member.key).enumerate();
    let firsts: Vec<usize> = keys.map(|(at, key)| *first_with.entry(key).or_insert(at)).collect();
    for (at, (member, first)) in members.iter_mut().zip(firsts).enumerate() {
        member.twin_of = (first != at).then_some(first);
    }
}

impl Member {
    /// The answer when an order stands under this key already: that order again to the same
    /// request, a refusal to any other. Our own order is there when an earlier run of this
    /// transaction committed unseen.
    pub(super) fn again(&self, made_by: Fingerprint, order: &Order) -> OrderAnswer {
        if order.id == self.order.order_id {
            Answer::Made(order.clone())
        } else if made_by == self.fingerprint {
            Answer::Replayed(order.clone())
        } else {
            Answer::KeyReused { resource_id: order.id.uuid() }
        }
    }

    /// Its claim.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            key: self.key.clone(),
            fingerprint: self.fingerprint,
            resource_id: self.order.order_id.uuid(),
        }
    }
}
