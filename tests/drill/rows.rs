//! What PostgreSQL holds after a round, as the checker reads it.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::shop::Shop;

/// One order as it is stored.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct OrderRow {
    /// The key that made it.
    pub(crate) key: String,
    id: String,
    /// Who bought.
    pub(crate) user_id: String,
    /// From which sale.
    pub(crate) sale_id: String,
    /// Its place in the sale's order of decisions.
    pub(crate) sequence: i64,
    /// How much.
    pub(crate) quantity: i32,
    unit_price: String,
    total: String,
    /// `total` in cents.
    pub(crate) cents: i64,
    balance_after: String,
    reference: Option<String>,
    /// When it was decided.
    pub(crate) created_at: String,
}

impl OrderRow {
    /// The answer that its buyer must have been given.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "id": self.id,
            "user_id": self.user_id,
            "sale_id": self.sale_id,
            "quantity": self.quantity,
            "unit_price": self.unit_price,
            "total": self.total,
            "currency": "USD",
            "status": "confirmed",
            "balance_after": self.balance_after,
            "created_at": self.created_at,
        });
        if let Some(reference) = &self.reference {
            body["reference"] = json!(reference);
        }
        body
    }
}

/// A round's rows.
pub(crate) struct Rows {
    /// Orders, by sale and sequence.
    pub(crate) orders: Vec<OrderRow>,
    /// Stock and number of orders, by sale.
    pub(crate) sales: HashMap<String, (i64, i64)>,
    /// Cents, by user.
    pub(crate) wallets: HashMap<String, i64>,
    /// Keys of orders of these users.
    pub(crate) keys: i64,
    /// Orders of these users, in any sale.
    pub(crate) orders_of_users: i64,
}

impl Rows {
    /// Reads everything that belongs to a round.
    pub(crate) async fn read(session: &mut PgConnection, shop: &Shop) -> Rows {
        let sales: Vec<&str> = shop.sales.iter().map(|sale| sale.id.as_str()).collect();
        let users: Vec<&str> = shop.users.iter().map(|user| user.id.as_str()).collect();
        let orders: Vec<OrderRow> = sqlx::query_as(
            "SELECT coalesce(k.key, '') AS key, o.id::text, o.user_id::text, o.sale_id::text,
                    o.sequence, o.quantity, o.unit_price::text, o.total::text,
                    (o.total * 100)::bigint AS cents, o.balance_after::text, o.reference,
                    to_char(o.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                      AS created_at
             FROM orders o LEFT JOIN idempotency_keys k
               ON k.resource_id = o.id AND k.user_id = o.user_id AND k.operation = 'order'
             WHERE o.sale_id = ANY ($1::uuid[]) ORDER BY o.sale_id, o.sequence",
        )
        .bind(&sales)
        .fetch_all(&mut *session)
        .await
        .expect("orders");
        let sales: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT id::text, stock::bigint, order_count FROM sales WHERE id = ANY ($1::uuid[])",
        )
        .bind(&sales)
        .fetch_all(&mut *session)
        .await
        .expect("sales");
        let wallets: Vec<(String, i64)> = sqlx::query_as(
            "SELECT user_id::text, (balance * 100)::bigint FROM wallets
             WHERE user_id = ANY ($1::uuid[])",
        )
        .bind(&users)
        .fetch_all(&mut *session)
        .await
        .expect("wallets");
        let (keys, orders_of_users): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM idempotency_keys
                     WHERE user_id = ANY ($1::uuid[]) AND operation = 'order'),
                    (SELECT count(*) FROM orders WHERE user_id = ANY ($1::uuid[]))",
        )
        .bind(&users)
        .fetch_one(session)
        .await
        .expect("numbers");
        Rows {
            orders,
            sales: sales.into_iter().map(|(id, stock, count)| (id, (stock, count))).collect(),
            wallets: wallets.into_iter().collect(),
            keys,
            orders_of_users,
        }
    }
}
