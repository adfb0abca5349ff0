//! Lists of orders: one statement for each way in, so that each has a plan of its own. Filters that
//! are not the way in are applied on the way.

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::store_error;
use super::order_repo::OrderRecord;
use crate::domain::id::Id;
use crate::domain::key::Operation;
use crate::domain::text::ShortText;
use crate::ports::read::OrderFilter;
use crate::ports::store::StoreError;

/// The order of a key.
pub(super) async fn orders_of_key(
    connection: &mut PgConnection,
    filter: &OrderFilter,
) -> Result<Vec<OrderRecord>, StoreError> {
    sqlx::query_as!(
        OrderRecord,
        "SELECT o.id, o.user_id, o.sale_id, o.sequence, o.quantity, o.unit_price, o.total,
                o.balance_after, o.reference, o.created_at
         FROM idempotency_keys k JOIN orders o ON o.id = k.resource_id
         WHERE k.key = $1 AND k.user_id = $2 AND k.operation = $3
           AND ($4::uuid IS NULL OR o.sale_id = $4)
           AND ($5::text IS NULL OR o.reference = $5)",
        filter.key.as_ref().map(|key| key.as_str()),
        filter.user_id.as_ref().map(Id::uuid),
        Operation::PlaceOrder.name(),
        filter.sale_id.as_ref().map(Id::uuid),
        filter.reference.as_ref().map(ShortText::as_str),
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// A sale's orders, in the order of decision, newest first.
pub(super) async fn orders_of_sale(
    connection: &mut PgConnection,
    filter: &OrderFilter,
    before: i64,
    rows: i64,
) -> Result<Vec<OrderRecord>, StoreError> {
    sqlx::query_as!(
        OrderRecord,
        "SELECT id, user_id, sale_id, sequence, quantity, unit_price, total, balance_after,
                reference, created_at
         FROM orders WHERE sale_id = $1 AND sequence < $2
         ORDER BY sequence DESC LIMIT $3",
        filter.sale_id.as_ref().map(Id::uuid),
        before,
        rows,
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// A user's orders, newest first: along the wallet's ledger, in the order of decision. Each order
/// is looked up by its primary key, whatever a plan from when there were none would prefer.
pub(super) async fn orders_of_user(
    connection: &mut PgConnection,
    filter: &OrderFilter,
    before: Option<Uuid>,
    rows: i64,
) -> Result<Vec<OrderRecord>, StoreError> {
    sqlx::query_as!(
        OrderRecord,
        r#"SELECT o.id AS "id!", o.user_id AS "user_id!", o.sale_id AS "sale_id!",
                  o.sequence AS "sequence!", o.quantity AS "quantity!",
                  o.unit_price AS "unit_price!", o.total AS "total!",
                  o.balance_after AS "balance_after!", o.reference AS "reference?",
                  o.created_at AS "created_at!"
           FROM ledger_entries e
           CROSS JOIN LATERAL (SELECT * FROM orders WHERE id = e.order_id OFFSET 0) o
           WHERE e.user_id = $1 AND e.order_id IS NOT NULL
             AND e.number < CASE WHEN $2::uuid IS NULL THEN 9223372036854775807 ELSE coalesce(
                   (SELECT b.entry_number FROM orders b WHERE b.id = $2 AND b.user_id = $1),
                   (SELECT b.number FROM ledger_entries b
                    WHERE b.user_id = $1 AND b.order_id = $2)) END
             AND ($3::uuid IS NULL OR o.sale_id = $3)
             AND ($4::text IS NULL OR o.reference = $4)
           ORDER BY e.number DESC LIMIT $5"#,
        filter.user_id.as_ref().map(Id::uuid),
        before,
        filter.sale_id.as_ref().map(Id::uuid),
        filter.reference.as_ref().map(ShortText::as_str),
        rows,
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// Orders with a reference, newest first.
pub(super) async fn orders_by_reference(
    connection: &mut PgConnection,
    filter: &OrderFilter,
    before: Option<Uuid>,
    rows: i64,
) -> Result<Vec<OrderRecord>, StoreError> {
    sqlx::query_as!(
        OrderRecord,
        "SELECT id, user_id, sale_id, sequence, quantity, unit_price, total, balance_after,
                reference, created_at
         FROM orders WHERE reference = $1 AND id < $2
           AND ($3::uuid IS NULL OR sale_id = $3)
         ORDER BY id DESC LIMIT $4",
        filter.reference.as_ref().map(ShortText::as_str),
        before.unwrap_or(Uuid::max()),
        filter.sale_id.as_ref().map(Id::uuid),
        rows,
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// All orders, newest first.
pub(super) async fn orders_of_all(
    connection: &mut PgConnection,
    before: Option<Uuid>,
    rows: i64,
) -> Result<Vec<OrderRecord>, StoreError> {
    sqlx::query_as!(
        OrderRecord,
        "SELECT id, user_id, sale_id, sequence, quantity, unit_price, total, balance_after,
                reference, created_at
         FROM orders WHERE id < $1
         ORDER BY id DESC LIMIT $2",
        before.unwrap_or(Uuid::max()),
        rows,
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}
