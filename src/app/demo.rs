//! Demo data with constant, documented ids: what the README's `curl` line, the page and the
//! examples of `openapi.yaml` speak of.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgPool};
use uuid::Uuid;

use crate::adapters::postgres::connect::BEGIN;
use crate::adapters::postgres::seed_repo::insert_users;
use crate::adapters::postgres::store::PgStore;
use crate::domain::Instant;
use crate::domain::id::{Id, OrderId, SaleId, UserId};
use crate::domain::key::IdempotencyKey;
use crate::domain::money::Money;
use crate::domain::order::PlaceOrder;
use crate::domain::quantity::Quantity;
use crate::domain::sale::Sale;
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::logic::admission::{Admission, AdmissionOptions};
use crate::logic::ids::new_id;
use crate::logic::keyed::Answer;
use crate::logic::orders::Engine;
use crate::logic::orders::alone::Alone;
use crate::logic::sales::{CreateSale, create_sale};

/// How many demo buyers there are.
pub const BUYERS: u128 = 1_000;
/// What each demo buyer begins with, in cents.
const OPENING_CENTS: u64 = 50_000;
const USER_PREFIX: u128 = 0x0190_a000_0000_7000_8000_0000_0000_0000;
const SALE_PREFIX: u128 = 0x0190_b000_0000_7000_8000_0000_0000_0000;
const ORDER_PREFIX: u128 = 0x0190_c000_0000_7000_8000_0000_0000_0000;

/// The id of demo buyer `number`: its last group shows the number in decimal.
pub fn buyer(number: u128) -> UserId {
    Id::new(Uuid::from_u128(USER_PREFIX + as_shown(number)))
}

/// The demo sale `number`: 1 is live, 2 upcoming, 3 nearly sold out.
pub fn sale(number: u128) -> SaleId {
    Id::new(Uuid::from_u128(SALE_PREFIX + as_shown(number)))
}

fn order(number: u128) -> OrderId {
    Id::new(Uuid::from_u128(ORDER_PREFIX + as_shown(number)))
}

/// The number whose hexadecimal digits read like `number` in decimal.
fn as_shown(number: u128) -> u128 {
    let (mut shown, mut rest, mut shift) = (0, number, 0);
    while rest > 0 {
        shown |= (rest % 10) << shift;
        rest /= 10;
        shift += 4;
    }
    shown
}

/// Whether demo data is due: in an empty database, or where an earlier filling was cut short.
///
/// # Errors
/// What the database says.
pub async fn is_due(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let question = "SELECT CASE WHEN EXISTS (SELECT FROM sales WHERE id = $1)
                                THEN NOT EXISTS (SELECT FROM orders WHERE id = $2)
                                ELSE NOT EXISTS (SELECT FROM sales)
                                     AND NOT EXISTS (SELECT FROM users) END";
    sqlx::query_scalar(question).bind(sale(1).uuid()).bind(order(19).uuid()).fetch_one(pool).await
}

/// Fills an empty database, or goes on where an earlier filling was cut short.
///
/// # Errors
/// A sentence; what was written until then stays and the books balance.
pub async fn fill(pool: &PgPool) -> Result<(), String> {
    let now: Instant = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(pool)
        .await
        .map_err(|error| error.to_string())?;
    make_sales(pool, now).await?;
    make_buyers(pool, now).await?;
    sell_most_of_the_third(pool).await
}

async fn make_buyers(pool: &PgPool, now: Instant) -> Result<(), String> {
    let users: Vec<User> = (1..=BUYERS)
        .map(|number| User {
            id: buyer(number),
            external_id: ShortText::parse(&format!("demo-{number}")).ok(),
            name: ShortText::parse(&format!("Demo buyer {number}")).ok(),
            created_at: now,
        })
        .collect();
    if exists(pool, "SELECT EXISTS (SELECT FROM users WHERE id = $1)", buyer(1).uuid()).await? {
        return Ok(());
    }
    let mut connection = pool.acquire().await.map_err(|error| error.to_string())?;
    let transaction = connection.begin_with(BEGIN).await;
    let mut transaction = transaction.map_err(|error| error.to_string())?;
    insert_users(&mut transaction, &users, Money::from_cents(OPENING_CENTS))
        .await
        .map_err(|error| error.to_string())?;
    transaction.commit().await.map_err(|error| error.to_string())
}

async fn make_sales(pool: &PgPool, now: Instant) -> Result<(), String> {
    let text = |text: &str| ShortText::parse(text).map_err(|error| error.to_string());
    let store = PgStore::admitted(pool.clone());
    let table = [
        (1, "Aurora headphones", "AURORA-1", 4_990, 500, None, None),
        (
            2,
            "Nimbus camera",
            "NIMBUS-1",
            19_900,
            50,
            Some(1),
            Some(now + chrono::TimeDelta::days(365)),
        ),
        (3, "Comet lamp", "COMET-1", 1_500, 20, Some(2), None),
    ];
    for (number, name, sku, cents, stock, per_user_limit, starts_at) in table {
        let known = "SELECT EXISTS (SELECT FROM sales WHERE id = $1)";
        if exists(pool, known, sale(number).uuid()).await? {
            continue;
        }
        let request = CreateSale {
            sale_id: sale(number),
            name: text(name)?,
            sku: Some(text(sku)?),
            unit_price: Money::from_cents(cents),
            stock,
            per_user_limit,
            starts_at,
            ends_at: None,
            key: None,
        };
        let made: Result<Answer<Sale>, _> =
            create_sale(&store, Duration::from_secs(10), request).await;
        made.map_err(|fault| fault.to_string())?;
    }
    Ok(())
}

async fn exists(pool: &PgPool, question: &'static str, id: Uuid) -> Result<bool, String> {
    let asked = sqlx::query_scalar(question).bind(id).fetch_one(pool);
    asked.await.map_err(|error| error.to_string())
}

/// Buyers 2 to 19 take one each, through the same door as everyone: two of twenty are left.
async fn sell_most_of_the_third(pool: &PgPool) -> Result<(), String> {
    let wait_max = Duration::from_secs(10);
    let admission =
        Admission::new(AdmissionOptions { slots: 1, waiting_max: 1, wait_max }, Arc::default());
    let store = PgStore::admitted(pool.clone());
    let engine = Alone::pessimistic(store, Arc::new(admission), wait_max);
    for number in 2..=19 {
        let key = format!("demo-{number}");
        let wish = PlaceOrder {
            order_id: order(number),
            entry_id: new_id(),
            user_id: buyer(number),
            sale_id: sale(3),
            quantity: Quantity::ONE,
            reference: None,
            valid_until: None,
            key: IdempotencyKey::parse(key.as_bytes()).map_err(|error| error.to_string())?,
        };
        match engine.place(wish).await.map_err(|fault| fault.to_string())? {
            Answer::Made(_) | Answer::Replayed(_) => {}
            other => return Err(format!("demo order {number} was not confirmed: {other:?}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_ids_show_their_number() {
        assert_eq!(buyer(1).to_string(), "0190a000-0000-7000-8000-000000000001");
        assert_eq!(buyer(1_000).to_string(), "0190a000-0000-7000-8000-000000001000");
        assert_eq!(sale(3).to_string(), "0190b000-0000-7000-8000-000000000003");
        assert_eq!(order(19).to_string(), "0190c000-0000-7000-8000-000000000019");
    }
}
