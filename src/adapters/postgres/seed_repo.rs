//! Many users at once, for demo data and `flashdeal seed`.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{expect_rows, store_error};
use crate::domain::id::OfEntry;
use crate::domain::money::Money;
use crate::domain::user::User;
use crate::logic::ids::new_id;
use crate::ports::store::StoreError;

/// Writes users with wallets and opening deposits in one statement; ids and external ids must be
/// new.
///
/// # Errors
/// [`StoreError`]; then nothing of this batch was written.
pub async fn insert_users(
    connection: &mut PgConnection,
    users: &[User],
    balance: Money,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = users.iter().map(|user| user.id.uuid()).collect();
    let text =
        |text: &Option<crate::domain::text::ShortText>| text.as_ref().map(ToString::to_string);
    let external_ids: Vec<Option<String>> =
        users.iter().map(|user| text(&user.external_id)).collect();
    let names: Vec<Option<String>> = users.iter().map(|user| text(&user.name)).collect();
    let entries: Vec<Uuid> = users.iter().map(|_| new_id::<OfEntry>().uuid()).collect();
    let created = users.first().map(|user| user.created_at);
    let balance: Decimal = balance.decimal();
    let made = sqlx::query_scalar!(
        r#"WITH input AS (
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[])
               AS input (id, external_id, name, entry_id)
           ), made AS (
             INSERT INTO users (id, external_id, name, created_at)
             SELECT id, external_id, name, $6 FROM input RETURNING id
           ), wallet AS (
             INSERT INTO wallets (user_id, balance, entry_count, updated_at)
             SELECT id, $5::numeric, CASE WHEN $5::numeric > 0 THEN 1 ELSE 0 END, $6
             FROM made RETURNING 1
           ), entry AS (
             INSERT INTO ledger_entries
               (id, user_id, number, type, amount, balance_after, created_at)
             SELECT entry_id, id, 1, 'deposit', $5::numeric, $5::numeric, $6 FROM input
             WHERE $5::numeric > 0
           )
           SELECT count(*) AS "made!" FROM wallet"#,
        &ids,
        &external_ids as _,
        &names as _,
        &entries,
        balance,
        created,
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    expect_rows("new users", users.len(), made)
}
