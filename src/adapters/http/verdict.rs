//! Refusals and faults as problems: where the logic's words become the contract's codes.

use super::dto::instant;
use super::problem::{self, FieldError, Problem};
use crate::domain::key::Operation;
use crate::domain::refusal::Refusal;
use crate::logic::fault::{Fault, in_a_moment};
use crate::logic::keyed::Answer;
use crate::ports::store::StoreError;
use uuid::Uuid;

/// How a keyed operation ended, for the one who writes the answer.
pub(super) enum Settled<V> {
    /// Made now.
    Made(V),
    /// The same answer again.
    Replayed(V),
}

/// Splits answers from problems.
pub(super) fn settle<V>(
    outcome: Result<Answer<V>, Fault>,
    operation: Operation,
) -> Result<Settled<V>, Problem> {
    match outcome {
        Ok(Answer::Made(value)) => Ok(Settled::Made(value)),
        Ok(Answer::Replayed(value)) => Ok(Settled::Replayed(value)),
        Ok(Answer::Refused(refusal)) => Err(refused(&refusal)),
        Ok(Answer::KeyReused { resource_id }) => Err(reused(operation, resource_id)),
        Err(fault) => Err(failed(&fault)),
    }
}

fn reused(operation: Operation, resource_id: Uuid) -> Problem {
    let what = match operation {
        Operation::PlaceOrder => "order",
        Operation::CreateDeposit => "deposit",
        Operation::CreateUser => "user",
        Operation::CreateSale => "sale",
    };
    let detail = format!(
        "This key already made {what} {resource_id} from a request with another meaning; this \
         request was not executed. A new decision needs a new key."
    );
    let problem = Problem::new(problem::KEY_REUSED, detail);
    match operation {
        Operation::PlaceOrder => problem.with("order_id", resource_id.to_string()),
        _ => problem,
    }
}

/// A correct "no".
pub(super) fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::OrderExpired { valid_until, now } => Problem::new(
            problem::ORDER_EXPIRED,
            format!(
                "The order was valid until {}, it came to be decided at {}. No money was taken.",
                instant(*valid_until),
                instant(*now)
            ),
        ),
        Refusal::SaleNotFound => {
            Problem::new(problem::SALE_NOT_FOUND, "No sale has this id. No money was taken.")
        }
        Refusal::SaleNotOpen { starts_at, ends_at, now } => {
            let window = match ends_at {
                Some(end) => format!("from {} to {}", instant(*starts_at), instant(*end)),
                None => format!("from {}", instant(*starts_at)),
            };
            let detail =
                format!("The sale is open {window}; it is {}. No money was taken.", instant(*now));
            let problem =
                Problem::new(problem::SALE_NOT_OPEN, detail).with("starts_at", instant(*starts_at));
            match ends_at {
                Some(end) => problem.with("ends_at", instant(*end)),
                None => problem,
            }
        }
        Refusal::LimitReached { limit, bought } => Problem::new(
            problem::LIMIT_REACHED,
            format!(
                "One user may own {limit} of this sale, this one owns {bought}. No money was taken."
            ),
        )
        .with("limit", *limit)
        .with("bought", *bought),
        Refusal::OutOfStock { stock } => Problem::new(
            problem::OUT_OF_STOCK,
            format!("{stock} left, fewer than asked for. No money was taken."),
        )
        .with("stock", *stock),
        Refusal::UserNotFound => {
            Problem::new(problem::USER_NOT_FOUND, "No user has this id. No money was taken.")
        }
        Refusal::InsufficientBalance { balance, total } => Problem::new(
            problem::INSUFFICIENT_BALANCE,
            format!("The order costs {total}, the wallet holds {balance}. No money was taken."),
        )
        .with("balance", balance.to_string())
        .with("total", total.to_string()),
        Refusal::BalanceLimitExceeded { balance } => Problem::new(
            problem::BALANCE_LIMIT,
            format!(
                "The wallet holds {balance}; with this deposit it would hold more than 99999999999.99. Nothing was deposited."
            ),
        ),
        Refusal::ExternalIdTaken => Problem::new(
            problem::ALREADY_EXISTS,
            "Another user has this external_id; look it up with GET /api/users?external_id=. Nothing was made.",
        ),
        Refusal::EmptyWindow { starts_at } => Problem::invalid(&[FieldError {
            field: "ends_at".to_owned(),
            message: format!("must be after starts_at, {}", instant(*starts_at)),
        }]),
    }
}

/// No decision.
pub(super) fn failed(fault: &Fault) -> Problem {
    match fault {
        Fault::InProgress => Problem::new(
            problem::IN_PROGRESS,
            "Another request with this key is being decided. Ask again with the same key.",
        )
        .retry_after(in_a_moment()),
        Fault::Conflict | Fault::WalletHeld | Fault::TooLate(_) => Problem::new(
            problem::CONFLICT,
            "Others held the row for too long. No money was taken; try again with the same key.",
        )
        .retry_after(in_a_moment()),
        Fault::Overloaded { retry_after_seconds } => Problem::new(
            problem::OVERLOADED,
            "No place was free in time: the database is slow, or many requests wait. This attempt was not executed and never will be; try again with the same key.",
        )
        .retry_after(*retry_after_seconds),
        Fault::Draining => Problem::new(
            problem::DRAINING,
            "This instance is shutting down. This attempt was not executed and never will be; try again with the same key.",
        )
        .retry_after(in_a_moment()),
        Fault::Unavailable => Problem::new(
            problem::DATABASE_UNAVAILABLE,
            "The database cannot be reached. This attempt was not executed and never will be; try again with the same key.",
        )
        .retry_after(in_a_moment()),
        Fault::OutcomeUnknown => Problem::new(
            problem::OUTCOME_UNKNOWN,
            "It is not known how this attempt ended. Try again with the same key: it is executed once at most.",
        )
        .retry_after(in_a_moment()),
        Fault::Internal(reason) => Problem::new(
            problem::INTERNAL,
            "A defect on our side; it is logged under this request's id. Ask again with the same key to learn how it ended.",
        )
        .because(reason),
    }
}

/// A read that failed.
pub(super) fn unread(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) | StoreError::Lost(_) => failed(&Fault::Unavailable),
        StoreError::Busy
        | StoreError::LockTimeout { .. }
        | StoreError::WalletHeld
        | StoreError::Retry { .. } => failed(&Fault::busy()),
        error => {
            tracing::error!(%error, "a read failed");
            failed(&Fault::Internal(error.to_string()))
        }
    }
}
