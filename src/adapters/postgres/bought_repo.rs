//! Who has bought since: what the sold-out shortcut follows.
//!
//! Sales in the order of their index, so that no more is read than is returned. The last known
//! order is the first of those from its id on, an order that only the primary key has: a plan made
//! while there were no orders, and kept, would look among all of a sale (for id and sale), or in
//! the index of buyers (for the id alone).

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::store_error;
use crate::domain::id::{Id, OrderId, SaleId};
use crate::ports::read::Bought;
use crate::ports::store::StoreError;

struct Row {
    sale_id: Uuid,
    id: Uuid,
    user_id: Uuid,
}

impl From<Row> for Bought {
    fn from(row: Row) -> Bought {
        Bought { sale: Id::new(row.sale_id), order: Id::new(row.id), user: Id::new(row.user_id) }
    }
}

/// The orders behind the last known ones of these sales, and with `others` of all others.
pub(super) async fn orders_after(
    connection: &mut PgConnection,
    known: &[(SaleId, Option<OrderId>)],
    others: bool,
    limit: u32,
) -> Result<Vec<Bought>, StoreError> {
    let sales: Vec<Uuid> = known.iter().map(|(sale, _)| sale.uuid()).collect();
    let last: Vec<Option<Uuid>> =
        known.iter().map(|(_, order)| order.as_ref().map(Id::uuid)).collect();
    let rows = match others {
        true => of_all(connection, &sales, &last, limit.into()).await,
        false => of_these(connection, &sales, &last, limit.into()).await,
    };
    Ok(rows.map_err(store_error)?.into_iter().map(Bought::from).collect())
}

async fn of_these(
    connection: &mut PgConnection,
    sales: &[Uuid],
    last: &[Option<Uuid>],
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT o.sale_id AS "sale_id!", o.id AS "id!", o.user_id AS "user_id!"
           FROM unnest($1::uuid[], $2::uuid[]) AS told (sale_id, order_id)
           JOIN sales s ON s.id = told.sale_id
           CROSS JOIN LATERAL (
             SELECT coalesce(max(k.sequence), 0) AS last
             FROM (SELECT id, sale_id, sequence FROM orders WHERE id >= told.order_id
                   ORDER BY id LIMIT 1) k
             WHERE k.id = told.order_id AND k.sale_id = s.id
           ) known
           CROSS JOIN LATERAL (
             SELECT n.sale_id, n.sequence, n.id, n.user_id FROM orders n
             WHERE n.sale_id = s.id AND n.sequence > known.last
             ORDER BY n.sequence LIMIT $3
           ) o
           WHERE s.order_count > known.last
           ORDER BY s.id, o.sequence LIMIT $3"#,
        sales,
        last as _,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// As [`of_these`], but for where the sales come from: a statement for each, so that each has a
/// plan of its own.
async fn of_all(
    connection: &mut PgConnection,
    sales: &[Uuid],
    last: &[Option<Uuid>],
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT o.sale_id AS "sale_id!", o.id AS "id!", o.user_id AS "user_id!"
           FROM sales s
           LEFT JOIN unnest($1::uuid[], $2::uuid[]) AS told (sale_id, order_id)
             ON told.sale_id = s.id
           CROSS JOIN LATERAL (
             SELECT coalesce(max(k.sequence), 0) AS last
             FROM (SELECT id, sale_id, sequence FROM orders WHERE id >= told.order_id
                   ORDER BY id LIMIT 1) k
             WHERE k.id = told.order_id AND k.sale_id = s.id
           ) known
           CROSS JOIN LATERAL (
             SELECT n.sale_id, n.sequence, n.id, n.user_id FROM orders n
             WHERE n.sale_id = s.id AND n.sequence > known.last
             ORDER BY n.sequence LIMIT $3
           ) o
           WHERE s.order_count > known.last
           ORDER BY s.id, o.sequence LIMIT $3"#,
        sales,
        last as _,
        limit,
    )
    .fetch_all(connection)
    .await
}
