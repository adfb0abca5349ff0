//! Placing an order: one decision, several rhythms.
//!
//! An [`Engine`] is a rhythm: when orders are decided, and how many in one transaction. What a
//! decision is lives in `domain::decision`; how a transaction carries it out lives in [`group`].

pub mod alone;
mod apart;
mod buyers;
mod distance;
mod facts;
pub mod group;
pub mod grouped;
pub mod held;
mod lanes;
mod member;
pub mod sold_out;

use std::pin::Pin;
use std::time::Duration;

use super::fault::Fault;
use super::keyed::Answer;
use crate::domain::order::{Order, PlaceOrder};
use crate::domain::refusal::Refusal;

/// How an order ended.
pub type OrderAnswer = Answer<Order>;

/// A future that owns what it needs and may outlive its caller.
pub type Deciding = Pin<Box<dyn Future<Output = Result<OrderAnswer, Fault>> + Send>>;

/// A rhythm of deciding orders.
pub trait Engine: Send + Sync {
    /// The name in configuration and metrics.
    fn name(&self) -> &'static str;

    /// Decides one order. The future must be run to its end: whoever only waits for the answer may
    /// leave, the decision may not be dropped.
    fn place(&self, order: PlaceOrder) -> Deciding;

    /// Orders that wait to be decided.
    fn waiting(&self) -> usize;

    /// How long the one that has waited longest has waited.
    fn oldest(&self) -> Duration;

    /// Takes no new orders; those already being decided are finished.
    fn close(&self);
}

/// Whether an answer says that its sale exists.
fn is_of_a_sale(answer: &OrderAnswer) -> bool {
    match answer {
        Answer::Made(_) | Answer::Replayed(_) => true,
        Answer::Refused(refusal) => {
            !matches!(refusal, Refusal::SaleNotFound | Refusal::OrderExpired { .. })
        }
        Answer::KeyReused { .. } => false,
    }
}
