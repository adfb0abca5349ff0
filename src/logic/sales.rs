//! Opening a sale.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::keyed::{Answer, Claimed, claim, found};
use super::transact::{Ending, Trouble, Work, transact};
use crate::domain::Instant as Moment;
use crate::domain::id::SaleId;
use crate::domain::key::{Fingerprint, IdempotencyKey, KeyRef, Operation};
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::domain::sale::Sale;
use crate::domain::text::ShortText;
use crate::ports::store::{Store, Transaction};

/// A request for a sale.
#[derive(Debug, Clone)]
pub struct CreateSale {
    /// The id the sale gets.
    pub sale_id: SaleId,
    /// What is sold.
    pub name: ShortText,
    /// The shop's own article number.
    pub sku: Option<ShortText>,
    /// Price of one unit.
    pub unit_price: Money,
    /// Units to sell.
    pub stock: u32,
    /// The most units one user may own.
    pub per_user_limit: Option<u32>,
    /// When it opens; at once when absent.
    pub starts_at: Option<Moment>,
    /// When it closes; never when absent.
    pub ends_at: Option<Moment>,
    /// The key, if one was sent.
    pub key: Option<IdempotencyKey>,
}

/// Opens a sale.
///
/// # Errors
/// A [`Fault`] when it could not be decided.
pub async fn create_sale<S: Store>(
    store: &S,
    time_limit: Duration,
    request: CreateSale,
) -> Result<Answer<Sale>, Fault> {
    transact(store, Instant::now() + time_limit, &mut SaleWork(request)).await
}

struct SaleWork(CreateSale);

impl SaleWork {
    fn fingerprint(&self) -> Fingerprint {
        let sale = &self.0;
        Fingerprint::of(Operation::CreateSale)
            .part("name", &sale.name)
            .optional("sku", sale.sku.as_ref())
            .part("unit_price", sale.unit_price)
            .part("stock", sale.stock)
            .optional("per_user_limit", sale.per_user_limit)
            .optional("starts_at", sale.starts_at.map(|at| at.timestamp_micros()))
            .optional("ends_at", sale.ends_at.map(|at| at.timestamp_micros()))
            .finish()
    }
}

impl<T: Transaction> Work<T> for SaleWork {
    type Value = Answer<Sale>;
    const NAME: &'static str = "sale";

    /// Without a key the id still is one: a second run finds the sale of the first.
    async fn run(&mut self, transaction: &mut T) -> Result<Ending<Answer<Sale>>, Trouble> {
        let id = self.0.sale_id;
        if let Some(key) = &self.0.key {
            let key = KeyRef::of_installation(Operation::CreateSale, key.clone());
            match claim(transaction, &key, self.fingerprint(), id.uuid()).await? {
                Claimed::Ours => {}
                Claimed::Before { id, by_us } => {
                    let sale = found(transaction.sale(SaleId::new(id)).await?, "sale")?;
                    return Ok(Ending::Rollback(Answer::again(sale.as_created(), by_us)));
                }
                Claimed::Other(resource_id) => {
                    return Ok(Ending::Rollback(Answer::KeyReused { resource_id }));
                }
            }
        }
        let now = transaction.now().await?;
        let wish = self.0.clone();
        let starts_at = wish.starts_at.unwrap_or(now);
        if wish.ends_at.is_some_and(|ends_at| ends_at <= starts_at) {
            return Ok(Ending::Rollback(Answer::Refused(Refusal::EmptyWindow { starts_at })));
        }
        let sale = Sale {
            id: wish.sale_id,
            name: wish.name,
            sku: wish.sku,
            unit_price: wish.unit_price,
            stock: wish.stock,
            stock_initial: wish.stock,
            per_user_limit: wish.per_user_limit,
            starts_at,
            ends_at: wish.ends_at,
            sold_out_at: None,
            created_at: now,
            order_count: 0,
        }
        .as_created();
        if !transaction.insert_sale(&sale).await? {
            let sale = found(transaction.sale(id).await?, "sale")?;
            return Ok(Ending::Rollback(Answer::Made(sale.as_created())));
        }
        Ok(Ending::Commit(Answer::Made(sale)))
    }
}
