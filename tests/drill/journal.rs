//! What the buyers wished and what they were told: the history that the checker holds against the
//! database.
//!
//! An answer is definite when the contract says what has become of that attempt for good. A key is
//! finished when it was answered with its order, or when every attempt under it had a definite
//! answer.

use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::shop::Shop;

/// What a buyer wants, with the key of the click. User and sale are places in the [`Shop`].
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The key.
    pub(crate) key: String,
    /// Who buys.
    pub(crate) user: usize,
    /// From which sale.
    pub(crate) sale: usize,
    /// How much.
    pub(crate) quantity: u32,
    /// Not to be executed after this moment.
    pub(crate) valid_until: Option<DateTime<Utc>>,
}

impl Wish {
    /// The request's body.
    pub(crate) fn body(&self, shop: &Shop) -> Value {
        let mut body = json!({
            "user_id": shop.users[self.user].id,
            "sale_id": shop.sales[self.sale].id,
            "quantity": self.quantity,
            "reference": self.key,
        });
        if let Some(at) = self.valid_until {
            body["valid_until"] = json!(at.to_rfc3339());
        }
        body
    }
}

/// What an attempt was told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// Its order.
    Order {
        /// The body as it came.
        bytes: Bytes,
        /// Whether it was said to be the same answer again.
        replayed: bool,
    },
    /// A refusal: this attempt has made no order and never will.
    Refused(Value),
    /// The key has made another order.
    Reused(#[expect(dead_code, reason = "complaints show it")] Value),
    /// Not now; executed nothing and never will.
    NotNow {
        /// The problem's.
        #[expect(dead_code, reason = "complaints show it")]
        code: String,
        /// It said `charged: no`.
        nothing_taken: bool,
    },
    /// Nothing that settles this attempt: no answer at all, or that nobody knows.
    Unknown,
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// The service that was asked.
    #[expect(dead_code, reason = "complaints show it")]
    pub(crate) instance: usize,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// When its answer was there, or when it was given up.
    pub(crate) done: Instant,
    /// What it was told.
    pub(crate) told: Told,
    /// Sent with another body than the key's, on purpose.
    pub(crate) other_body: bool,
}

/// Everything that happened to one key.
#[derive(Debug)]
pub(crate) struct History {
    /// What was wanted.
    pub(crate) wish: Wish,
    /// What was sent, in the order of the answers.
    pub(crate) attempts: Vec<Attempt>,
}

impl History {
    /// Nothing was sent yet.
    pub(crate) fn of(wish: Wish) -> History {
        History { wish, attempts: Vec::new() }
    }

    /// The first answer with the order: when it came, and its body.
    pub(crate) fn order(&self) -> Option<(Instant, &Bytes)> {
        let orders = self.attempts.iter().filter_map(|attempt| match &attempt.told {
            Told::Order { bytes, .. } if !attempt.other_body => Some((attempt.done, bytes)),
            _ => None,
        });
        orders.min_by_key(|(done, _)| *done)
    }

    /// When its first attempt was sent.
    pub(crate) fn first_sent(&self) -> Option<Instant> {
        self.attempts.iter().map(|attempt| attempt.sent).min()
    }

    /// Whether an attempt may still become, or have become, an order that nobody was told of.
    pub(crate) fn undecided(&self) -> bool {
        let unknown = |attempt: &Attempt| matches!(attempt.told, Told::Unknown);
        self.order().is_none() && self.attempts.iter().any(unknown)
    }

    /// Whether the last answer says that there will be no order: the buyer goes away.
    pub(crate) fn refused(&self) -> bool {
        let last = self.attempts.last().map(|attempt| &attempt.told);
        matches!(last, Some(Told::Refused(_)))
    }
}
