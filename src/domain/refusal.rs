//! The correct "no": values, not errors. Each carries what its reader needs to act.

use super::Instant;
use super::money::Money;

/// Why a well-formed request is not executed. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `valid_until` had passed, by the database's clock.
    OrderExpired {
        /// The limit that the request set.
        valid_until: Instant,
        /// The database's time at the decision.
        now: Instant,
    },
    /// There is no such sale.
    SaleNotFound,
    /// The moment is outside `[starts_at, ends_at)`.
    SaleNotOpen {
        /// When the sale opens or opened.
        starts_at: Instant,
        /// When it closes or closed.
        ends_at: Option<Instant>,
        /// The database's time at the decision.
        now: Instant,
    },
    /// The user would own more than the sale allows.
    LimitReached {
        /// Units one user may own.
        limit: u32,
        /// Units this user owns.
        bought: u32,
    },
    /// Fewer units are left than were asked for.
    OutOfStock {
        /// Units left.
        stock: u32,
    },
    /// There is no such user.
    UserNotFound,
    /// The wallet holds less than the total.
    InsufficientBalance {
        /// What the wallet holds.
        balance: Money,
        /// What the order costs.
        total: Money,
    },
    /// The deposit would lift the balance over the largest one.
    BalanceLimitExceeded {
        /// What the wallet holds.
        balance: Money,
    },
    /// The external id belongs to another user.
    ExternalIdTaken,
    /// The sale would end before, or when, it starts.
    EmptyWindow {
        /// When it would start.
        starts_at: Instant,
    },
}

impl Refusal {
    /// The published code, also the metric label of the outcome.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::OrderExpired { .. } => "order_expired",
            Refusal::SaleNotFound => "sale_not_found",
            Refusal::SaleNotOpen { .. } => "sale_not_open",
            Refusal::LimitReached { .. } => "purchase_limit_reached",
            Refusal::OutOfStock { .. } => "out_of_stock",
            Refusal::UserNotFound => "user_not_found",
            Refusal::InsufficientBalance { .. } => "insufficient_balance",
            Refusal::BalanceLimitExceeded { .. } => "balance_limit_exceeded",
            Refusal::ExternalIdTaken => "already_exists",
            Refusal::EmptyWindow { .. } => "validation_failed",
        }
    }
}
