//! Many users at once, for `flashdeal import`. Unlike `seed_repo`, nothing has to be new: each
//! statement leaves what is there alone and says what it did, and the caller decides.
//!
//! Locks in the house's order: keys, then (no sale) wallets by ascending id. Rows are written in
//! ascending order of id too, so that two imports of one file wait for one another in peace.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{expect_rows, store_error};
use super::order_repo::{money, short_text};
use crate::domain::id::{EntryId, UserId};
use crate::domain::key::{Fingerprint, IdempotencyKey, KeyRef, Operation};
use crate::domain::money::Money;
use crate::domain::text::ShortText;
use crate::ports::store::StoreError;

/// A user as a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The user's id.
    pub id: UserId,
    /// The shop's own id.
    pub external_id: Option<ShortText>,
    /// A display name.
    pub name: Option<ShortText>,
    /// What the wallet begins with.
    pub balance: Money,
}

/// A deposit to be made under a key.
#[derive(Debug, Clone)]
pub struct OpeningDeposit {
    /// Into whose wallet.
    pub user_id: UserId,
    /// How much, more than nothing.
    pub amount: Money,
    /// The entry it becomes.
    pub entry_id: EntryId,
    /// Its key.
    pub key: KeyRef,
    /// What the key stands for.
    pub fingerprint: Fingerprint,
}

/// What the database has under a user's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUser {
    /// The user's id.
    pub id: UserId,
    /// The stored external id.
    pub external_id: Option<ShortText>,
    /// The stored name.
    pub name: Option<ShortText>,
    /// Entries of the wallet.
    pub entry_count: i64,
    /// The deposit that was made under the key, if there is one.
    pub opened_with: Option<Money>,
}

/// Claims the keys of deposits; returns whose were free. Waits for a twin that is being decided.
///
/// # Errors
/// [`StoreError`]
pub async fn claim(
    connection: &mut PgConnection,
    deposits: &[OpeningDeposit],
) -> Result<Vec<UserId>, StoreError> {
    let mut sorted: Vec<&OpeningDeposit> = deposits.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    let column = |text: fn(&OpeningDeposit) -> String| -> Vec<String> {
        sorted.iter().map(|deposit| text(deposit)).collect()
    };
    let users: Vec<Uuid> = sorted.iter().map(|deposit| deposit.user_id.uuid()).collect();
    let entries: Vec<Uuid> = sorted.iter().map(|deposit| deposit.entry_id.uuid()).collect();
    let prints: Vec<Vec<u8>> =
        sorted.iter().map(|deposit| deposit.fingerprint.as_bytes().to_vec()).collect();
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[], $5::uuid[])
         ON CONFLICT DO NOTHING
         RETURNING user_id",
    )
    .bind(column(|deposit| deposit.key.key.as_str().to_owned()))
    .bind(users)
    .bind(column(|deposit| deposit.key.operation.name().to_owned()))
    .bind(prints)
    .bind(entries)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    Ok(claimed.into_iter().map(UserId::new).collect())
}

/// Writes the users whose id and external id are free, each with an empty wallet; returns who was
/// made.
///
/// # Errors
/// [`StoreError`]
pub async fn insert(
    connection: &mut PgConnection,
    users: &[NewUser],
) -> Result<Vec<UserId>, StoreError> {
    let mut sorted: Vec<&NewUser> = users.iter().collect();
    sorted.sort_by_key(|user| user.id);
    let text = |text: &Option<ShortText>| text.as_ref().map(ToString::to_string);
    let made: Vec<Uuid> = sqlx::query_scalar(
        "WITH made AS (
           INSERT INTO users (id, external_id, name, created_at)
           SELECT id, external_id, name, (SELECT clock_timestamp())
           FROM unnest($1::uuid[], $2::text[], $3::text[]) AS input (id, external_id, name)
           ON CONFLICT DO NOTHING
           RETURNING id, created_at
         )
         INSERT INTO wallets (user_id, balance, updated_at) SELECT id, 0, created_at FROM made
         RETURNING user_id",
    )
    .bind(sorted.iter().map(|user| user.id.uuid()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|user| text(&user.external_id)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|user| text(&user.name)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    Ok(made.into_iter().map(UserId::new).collect())
}

/// Locks the wallets of these users, as far as they have some.
///
/// # Errors
/// [`StoreError`]
pub async fn lock_wallets(
    connection: &mut PgConnection,
    users: &[UserId],
) -> Result<(), StoreError> {
    sqlx::query("SELECT FROM wallets WHERE user_id = ANY ($1) ORDER BY user_id FOR NO KEY UPDATE")
        .bind(users.iter().map(UserId::uuid).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

/// What is there now: users, their wallets, and the deposits that were made under `key`.
///
/// Look-ups and no joins: the statistics of tables that grow under an import are always old, and
/// joins planned by them made each batch slower than the one before.
///
/// # Errors
/// [`StoreError`]
pub async fn find(
    connection: &mut PgConnection,
    users: &[UserId],
    key: &IdempotencyKey,
    operation: Operation,
) -> Result<Vec<FoundUser>, StoreError> {
    type Found = (Uuid, Option<String>, Option<String>, i64, Option<Decimal>);
    let rows: Vec<Found> = sqlx::query_as(
        "SELECT u.id, u.external_id, u.name,
                (SELECT w.entry_count FROM wallets w WHERE w.user_id = u.id),
                (SELECT e.amount FROM ledger_entries e
                 WHERE e.order_id IS NULL AND e.id =
                   (SELECT k.resource_id FROM idempotency_keys k
                    WHERE k.key = $2 AND k.user_id = u.id AND k.operation = $3))
         FROM users u WHERE u.id = ANY ($1)",
    )
    .bind(users.iter().map(UserId::uuid).collect::<Vec<_>>())
    .bind(key.as_str())
    .bind(operation.name())
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let found = rows.into_iter().map(|(id, external_id, name, entry_count, amount)| {
        Ok(FoundUser {
            id: UserId::new(id),
            external_id: short_text(external_id)?,
            name: short_text(name)?,
            entry_count,
            opened_with: amount.map(money).transpose()?,
        })
    });
    found.collect()
}

/// Who has these external ids.
///
/// # Errors
/// [`StoreError`]
pub async fn owners(
    connection: &mut PgConnection,
    external_ids: &[String],
) -> Result<Vec<(String, UserId)>, StoreError> {
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT external_id, id FROM users WHERE external_id = ANY ($1)")
            .bind(external_ids)
            .fetch_all(connection)
            .await
            .map_err(store_error)?;
    Ok(rows.into_iter().map(|(external_id, id)| (external_id, UserId::new(id))).collect())
}

/// Writes the first entry of each of these wallets, which must be empty.
///
/// # Errors
/// [`StoreError`]
pub async fn open_wallets(
    connection: &mut PgConnection,
    deposits: &[&OpeningDeposit],
    reference: &str,
) -> Result<(), StoreError> {
    let written: i64 = sqlx::query_scalar(
        "WITH input AS (
           SELECT entry_id, user_id, amount, (SELECT clock_timestamp()) AS at
           FROM unnest($1::uuid[], $2::uuid[], $3::numeric[]) AS input (entry_id, user_id, amount)
         ), entry AS (
           INSERT INTO ledger_entries
             (id, user_id, number, type, amount, balance_after, reference, created_at)
           SELECT entry_id, user_id, 1, 'deposit', amount, amount, $4, at FROM input
           RETURNING 1
         ), moved AS (
           UPDATE wallets SET balance = amount, entry_count = 1, updated_at = at
           FROM input
           WHERE wallets.user_id = input.user_id AND entry_count = 0 AND balance = 0
           RETURNING 1
         )
         SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM moved)",
    )
    .bind(deposits.iter().map(|deposit| deposit.entry_id.uuid()).collect::<Vec<_>>())
    .bind(deposits.iter().map(|deposit| deposit.user_id.uuid()).collect::<Vec<_>>())
    .bind(deposits.iter().map(|deposit| deposit.amount.decimal()).collect::<Vec<_>>())
    .bind(reference)
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    expect_rows("opening balances", deposits.len() * 2, written)
}
