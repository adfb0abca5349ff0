//! `orders`, and the one statement that writes what a decided group leaves behind.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{expect_rows, store_error, unreadable};
use crate::domain::id::{Id, UserId};
use crate::domain::money::Money;
use crate::domain::order::Order;
use crate::domain::quantity::Quantity;
use crate::domain::text::ShortText;
use crate::ports::store::{StoreError, Winners};

/// A row of `orders`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct OrderRecord {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) sale_id: Uuid,
    pub(super) sequence: i64,
    pub(super) quantity: i32,
    pub(super) unit_price: Decimal,
    pub(super) total: Decimal,
    pub(super) balance_after: Decimal,
    pub(super) reference: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<OrderRecord> for Order {
    type Error = StoreError;

    fn try_from(record: OrderRecord) -> Result<Order, StoreError> {
        let quantity = u64::try_from(record.quantity).ok().and_then(Quantity::new);
        Ok(Order {
            id: Id::new(record.id),
            user_id: Id::new(record.user_id),
            sale_id: Id::new(record.sale_id),
            sequence: record.sequence,
            quantity: quantity.ok_or_else(|| unreadable("quantity", record.quantity))?,
            unit_price: money(record.unit_price)?,
            total: money(record.total)?,
            balance_after: money(record.balance_after)?,
            reference: short_text(record.reference)?,
            created_at: record.created_at,
        })
    }
}

/// A stored amount.
pub(super) fn money(value: Decimal) -> Result<Money, StoreError> {
    Money::from_decimal(value).ok_or_else(|| unreadable("amount", value))
}

/// A stored text.
pub(super) fn short_text(value: Option<String>) -> Result<Option<ShortText>, StoreError> {
    value
        .map(|text| ShortText::parse(&text).map_err(|_| unreadable("text", text.escape_debug())))
        .transpose()
}

/// One column for each field of the winners, as `unnest` wants them.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    users: Vec<Uuid>,
    sequences: Vec<i64>,
    quantities: Vec<i32>,
    totals: Vec<Decimal>,
    debits: Vec<Decimal>,
    balances_after: Vec<Decimal>,
    references: Vec<Option<String>>,
    created: Vec<DateTime<Utc>>,
    entry_ids: Vec<Uuid>,
    entry_numbers: Vec<i64>,
    wallet_users: Vec<Uuid>,
    wallet_balances: Vec<Decimal>,
    wallet_counts: Vec<i64>,
    wallet_counts_before: Vec<i64>,
}

impl Columns {
    fn of(winners: &Winners) -> Columns {
        let mut columns = Columns::default();
        for (order, entry) in winners.orders.iter().zip(&winners.entries) {
            columns.ids.push(order.id.uuid());
            columns.users.push(order.user_id.uuid());
            columns.sequences.push(order.sequence);
            columns.quantities.push(order.quantity.units().cast_signed());
            columns.totals.push(order.total.decimal());
            columns.debits.push(-entry.amount.decimal());
            columns.balances_after.push(order.balance_after.decimal());
            columns.references.push(order.reference.as_ref().map(ToString::to_string));
            columns.created.push(order.created_at);
            columns.entry_ids.push(entry.id.uuid());
            columns.entry_numbers.push(entry.number);
        }
        let mut added: HashMap<UserId, i64> = HashMap::new();
        for entry in &winners.entries {
            *added.entry(entry.user_id).or_default() += 1;
        }
        for wallet in &winners.wallets {
            let before = wallet.entry_count - added.get(&wallet.user_id).copied().unwrap_or(0);
            columns.wallet_users.push(wallet.user_id.uuid());
            columns.wallet_balances.push(wallet.balance.decimal());
            columns.wallet_counts.push(wallet.entry_count);
            columns.wallet_counts_before.push(before);
        }
        columns
    }
}

/// Writes orders, debits, wallets and the sale in one statement. Each row is touched once; the
/// counters that wallets and sale had when they were read must still stand there, so a write that
/// did not hold its locks touches too few rows and fails.
pub(super) async fn record(
    connection: &mut PgConnection,
    winners: &Winners,
) -> Result<(), StoreError> {
    let Some(sale) = &winners.sale else {
        return expect_rows("orders without a sale", winners.orders.len(), 0);
    };
    let columns = Columns::of(winners);
    let decided_at = winners.orders.last().map(|order| order.created_at);
    let before = sale.order_count - i64::try_from(winners.orders.len()).unwrap_or(i64::MAX);
    let touched = sqlx::query!(
        r#"WITH new_orders AS (
             INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                                 balance_after, reference, created_at)
             SELECT o.id, o.user_id, $1, o.sequence, o.quantity, $2, o.total,
                    o.balance_after, o.reference, o.created_at
             FROM unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::integer[], $7::numeric[],
                         $8::numeric[], $9::text[], $10::timestamptz[])
               AS o (id, user_id, sequence, quantity, total, balance_after, reference, created_at)
             RETURNING 1
           ), new_entries AS (
             INSERT INTO ledger_entries (id, user_id, number, type, amount, balance_after,
                                         order_id, reference, created_at)
             SELECT e.id, e.user_id, e.number, 'order', e.amount, e.balance_after,
                    e.order_id, e.reference, e.created_at
             FROM unnest($11::uuid[], $4::uuid[], $12::bigint[], $13::numeric[], $8::numeric[],
                         $3::uuid[], $9::text[], $10::timestamptz[])
               AS e (id, user_id, number, amount, balance_after, order_id, reference, created_at)
             RETURNING 1
           ), moved AS (
             UPDATE wallets w
             SET balance = n.balance, entry_count = n.entry_count, updated_at = $18
             FROM unnest($14::uuid[], $15::numeric[], $16::bigint[], $17::bigint[])
               AS n (user_id, balance, entry_count, entry_count_before)
             WHERE w.user_id = n.user_id AND w.entry_count = n.entry_count_before
             RETURNING 1
           ), sold AS (
             UPDATE sales SET stock = $19, order_count = $20, sold_out_at = $21
             WHERE id = $1 AND order_count = $22
             RETURNING 1
           )
           SELECT (SELECT count(*) FROM new_orders) AS "orders!",
                  (SELECT count(*) FROM new_entries) AS "entries!",
                  (SELECT count(*) FROM moved) AS "wallets!",
                  (SELECT count(*) FROM sold) AS "sales!""#,
        sale.id.uuid(),
        sale.unit_price.decimal(),
        &columns.ids,
        &columns.users,
        &columns.sequences,
        &columns.quantities,
        &columns.totals,
        &columns.balances_after,
        &columns.references as _,
        &columns.created,
        &columns.entry_ids,
        &columns.entry_numbers,
        &columns.debits,
        &columns.wallet_users,
        &columns.wallet_balances,
        &columns.wallet_counts,
        &columns.wallet_counts_before,
        decided_at,
        sale.stock.cast_signed(),
        sale.order_count,
        sale.sold_out_at,
        before,
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    expect_rows("orders", winners.orders.len(), touched.orders)?;
    expect_rows("debits", winners.entries.len(), touched.entries)?;
    expect_rows("wallets", winners.wallets.len(), touched.wallets)?;
    expect_rows("the sale", 1, touched.sales)
}
