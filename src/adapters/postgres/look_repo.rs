//! What a decision without locks rests on: sale, buyers and clock, as they stood at one moment.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{store_error, unreadable};
use super::sale_repo;
use super::wallet_repo::buyer;
use crate::domain::id::{Id, SaleId, UserId};
use crate::domain::sale::Sale;
use crate::ports::store::{Buyers, StoreError};

/// Reads without a lock. The sale comes first and in a statement of its own; what matters is that
/// nothing is believed without the version check of the write, and that a refusal rests on facts
/// that were all true at one moment: so the second statement reads the sale's version again.
pub(super) async fn look(
    connection: &mut PgConnection,
    sale_id: SaleId,
    users: &[UserId],
) -> Result<(Option<Sale>, Buyers), StoreError> {
    let sale = sale_repo::find(connection, sale_id).await?;
    let ids: Vec<Uuid> = users.iter().map(UserId::uuid).collect();
    let rows = sqlx::query!(
        r#"SELECT wanted.user_id AS "user_id!", w.balance AS "balance?",
                  w.entry_count AS "entry_count?",
                  CASE WHEN s.per_user_limit IS NULL THEN 0
                       ELSE (SELECT coalesce(sum(
                                 (SELECT CASE WHEN o.sale_id = s.id THEN o.quantity END
                                  FROM orders o WHERE o.id = e.order_id)), 0)
                             FROM ledger_entries e
                             WHERE e.user_id = wanted.user_id AND e.order_id IS NOT NULL
                               AND e.created_at >= s.starts_at)
                       END AS "units_bought!",
                  s.order_count AS "order_count?", clock_timestamp() AS "now!"
           FROM unnest($1::uuid[]) AS wanted (user_id)
           LEFT JOIN wallets w ON w.user_id = wanted.user_id
           LEFT JOIN sales s ON s.id = $2"#,
        &ids,
        sale_id.uuid(),
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let version = sale.as_ref().map(|sale| sale.order_count);
    let now = rows.iter().map(|row| row.now).max().ok_or_else(|| unreadable("clock", "no row"))?;
    let mut by_user = HashMap::with_capacity(rows.len());
    for row in rows {
        if row.order_count != version {
            return Err(StoreError::Retry { sqlstate: "stale".to_owned() });
        }
        let user_id = Id::new(row.user_id);
        let buyer = buyer(user_id, row.balance, row.entry_count, row.units_bought)?;
        by_user.insert(user_id, buyer);
    }
    Ok((sale, Buyers { now, by_user }))
}
