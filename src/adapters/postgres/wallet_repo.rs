//! `wallets` and the deposits among `ledger_entries`.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{expect_rows, store_error, unreadable};
use super::order_repo::{money, short_text};
use crate::domain::Instant;
use crate::domain::decision::Buyer;
use crate::domain::id::{EntryId, Id, UserId};
use crate::domain::ledger::{EntryKind, LedgerEntry};
use crate::domain::text::ShortText;
use crate::domain::wallet::Wallet;
use crate::ports::store::StoreError;

/// A row of `ledger_entries`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct EntryRecord {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) number: i64,
    pub(super) amount: Decimal,
    pub(super) balance_after: Decimal,
    pub(super) order_id: Option<Uuid>,
    pub(super) reference: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<EntryRecord> for LedgerEntry {
    type Error = StoreError;

    fn try_from(record: EntryRecord) -> Result<LedgerEntry, StoreError> {
        let kind =
            record.order_id.map_or(EntryKind::Deposit, |order| EntryKind::Order(Id::new(order)));
        Ok(LedgerEntry {
            id: Id::new(record.id),
            user_id: Id::new(record.user_id),
            number: record.number,
            kind,
            amount: money(record.amount.abs())?,
            balance_after: money(record.balance_after)?,
            reference: short_text(record.reference)?,
            created_at: record.created_at,
        })
    }
}

/// What a row says of a buyer; a user without a wallet has neither balance nor entries.
pub(super) fn buyer(
    user_id: UserId,
    balance: Option<Decimal>,
    entry_count: Option<i64>,
    units_bought: i64,
) -> Result<Buyer, StoreError> {
    let wallet = match (balance, entry_count) {
        (Some(balance), Some(entry_count)) => {
            Some(Wallet { user_id, balance: money(balance)?, entry_count })
        }
        _ => None,
    };
    let units_bought =
        u32::try_from(units_bought).map_err(|_| unreadable("units bought", units_bought))?;
    Ok(Buyer { wallet, units_bought })
}

/// Locks one wallet and reads the clock behind the lock.
pub(super) async fn lock(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Option<(Wallet, Instant)>, StoreError> {
    let locked = sqlx::query!(
        "SELECT balance, entry_count FROM wallets WHERE user_id = $1 FOR NO KEY UPDATE",
        user.uuid(),
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    let Some(row) = locked else { return Ok(None) };
    let wallet =
        Wallet { user_id: user, balance: money(row.balance)?, entry_count: row.entry_count };
    Ok(Some((wallet, now(connection).await?)))
}

/// The database's clock.
pub(super) async fn now(connection: &mut PgConnection) -> Result<Instant, StoreError> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

/// Writes a deposit and the wallet behind it.
pub(super) async fn record_deposit(
    connection: &mut PgConnection,
    entry: &LedgerEntry,
    wallet: &Wallet,
) -> Result<(), StoreError> {
    let touched = sqlx::query!(
        r#"WITH entry AS (
             INSERT INTO ledger_entries
               (id, user_id, number, type, amount, balance_after, reference, created_at)
             VALUES ($1, $2, $3, 'deposit', $4, $5, $6, $7)
             RETURNING 1
           ), moved AS (
             UPDATE wallets SET balance = $5, entry_count = $3, updated_at = $7
             WHERE user_id = $2 AND entry_count = $3 - 1
             RETURNING 1
           )
           SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM moved) AS "rows!""#,
        entry.id.uuid(),
        wallet.user_id.uuid(),
        entry.number,
        entry.amount.decimal(),
        entry.balance_after.decimal(),
        entry.reference.as_ref().map(ShortText::as_str),
        entry.created_at,
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    expect_rows("deposit", 2, touched.rows)
}

/// The committed deposit with this id.
pub(super) async fn deposit(
    connection: &mut PgConnection,
    id: EntryId,
) -> Result<Option<LedgerEntry>, StoreError> {
    sqlx::query_as!(
        EntryRecord,
        "SELECT id, user_id, number, amount, balance_after, order_id, reference, created_at
         FROM ledger_entries WHERE id = $1 AND order_id IS NULL",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?
    .map(LedgerEntry::try_from)
    .transpose()
}
