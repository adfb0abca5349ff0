//! What a decision under locks rests on: sale, buyers and clock, locked and read in one call of
//! `lock_for_orders` (migrations 4 and 5), which goes with the claim of the keys.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use sqlx::postgres::PgDatabaseError;
use uuid::Uuid;

use super::error::store_error;
use super::key_repo::{ClaimColumns, are_ours};
use super::sale_repo::SaleRecord;
use super::wallet_repo::buyer;
use crate::domain::decision::Buyer;
use crate::domain::id::{Id, SaleId, UserId};
use crate::domain::sale::Sale;
use crate::ports::store::{Buyers, Claim, Locked, NotReached, Reached, StoreError, Waited};

/// What keys and function returned. Columns of the sale are NULL when there is none.
struct LockedRecord {
    claimed: Option<Vec<Uuid>>,
    id: Option<Uuid>,
    name: Option<String>,
    sku: Option<String>,
    unit_price: Option<Decimal>,
    stock: Option<i32>,
    stock_initial: Option<i32>,
    per_user_limit: Option<i32>,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    sold_out_at: Option<DateTime<Utc>>,
    order_count: Option<i64>,
    created_at: Option<DateTime<Utc>>,
    ids: Vec<Uuid>,
    balances: Vec<Decimal>,
    entry_counts: Vec<i64>,
    units_bought: Vec<i64>,
    asked_at: DateTime<Utc>,
    sale_locked_at: DateTime<Utc>,
    locked_at: DateTime<Utc>,
}

impl LockedRecord {
    fn sale(&mut self) -> Option<SaleRecord> {
        Some(SaleRecord {
            id: self.id?,
            name: self.name.take()?,
            sku: self.sku.take(),
            unit_price: self.unit_price?,
            stock: self.stock?,
            stock_initial: self.stock_initial?,
            per_user_limit: self.per_user_limit,
            starts_at: self.starts_at?,
            ends_at: self.ends_at,
            sold_out_at: self.sold_out_at,
            order_count: self.order_count?,
            created_at: self.created_at?,
        })
    }
}

/// Locks the sale, then the wallets of `users`, ascending, and reads what the locks protect.
pub(super) async fn lock(
    connection: &mut PgConnection,
    sale: SaleId,
    users: &[UserId],
) -> Result<Locked, StoreError> {
    match claim_and_lock(connection, &[], sale, users).await {
        Ok(Reached::Locks(locked)) => Ok(locked),
        Ok(Reached::Keys(_)) => Err(StoreError::Invariant("no key, and taken".to_owned())),
        Err(NotReached::Keys(error) | NotReached::Locks(error)) => Err(error),
    }
}

/// Claims keys in the order given, and where all are ours, locks the sale, then the wallets of
/// `users`, ascending, and reads what the locks protect. One row with arrays costs both sides less
/// than a row for each buyer; the ids of claims come back only where some are not ours.
///
/// The function is called when the claims are written, and each lock in it is followed by a
/// snapshot of its own. The clock is read behind the last lock. Units bought are counted only where
/// the sale has a limit; the lock on the sale keeps them still.
pub(super) async fn claim_and_lock(
    connection: &mut PgConnection,
    claims: &[Claim],
    sale: SaleId,
    users: &[UserId],
) -> Result<Reached, NotReached> {
    let columns = ClaimColumns::of(claims);
    let ids: Vec<Uuid> = users.iter().map(UserId::uuid).collect();
    let row = sqlx::query_as!(
        LockedRecord,
        r#"WITH ours AS (
             INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
             SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[], $5::uuid[])
             ON CONFLICT DO NOTHING
             RETURNING resource_id
           ), claimed AS MATERIALIZED (
             SELECT CASE WHEN count(*) < cardinality($5)
                         THEN coalesce(array_agg(resource_id), '{}') END AS ids
             FROM ours
           )
           SELECT c.ids AS claimed,
                  (l.sale).id, (l.sale).name, (l.sale).sku, (l.sale).unit_price, (l.sale).stock,
                  (l.sale).stock_initial, (l.sale).per_user_limit, (l.sale).starts_at,
                  (l.sale).ends_at, (l.sale).sold_out_at, (l.sale).order_count,
                  (l.sale).created_at, coalesce(l.ids, '{}') AS "ids!",
                  coalesce(l.balances, '{}') AS "balances!: Vec<Decimal>",
                  coalesce(l.entry_counts, '{}') AS "entry_counts!",
                  coalesce(l.units_bought, '{}') AS "units_bought!", l.asked_at AS "asked_at!",
                  l.sale_locked_at AS "sale_locked_at!", l.locked_at AS "locked_at!"
           FROM claimed c
           CROSS JOIN LATERAL lock_for_orders(CASE WHEN c.ids IS NULL THEN $6::uuid END,
                                              CASE WHEN c.ids IS NULL THEN $7::uuid[] END) AS l"#,
        &columns.keys as _,
        &columns.users,
        &columns.operations as _,
        &columns.fingerprints as _,
        &columns.resources,
        sale.uuid(),
        &ids,
    )
    .fetch_one(connection)
    .await
    .map_err(not_reached)?;
    match &row.claimed {
        Some(ours) => Ok(Reached::Keys(are_ours(claims, ours))),
        None => locked(row, users).map(Reached::Locks).map_err(NotReached::Locks),
    }
}

fn locked(mut row: LockedRecord, users: &[UserId]) -> Result<Locked, StoreError> {
    let sale = row.sale().map(Sale::try_from).transpose()?;
    let columns = row.ids.into_iter().zip(row.balances).zip(row.entry_counts).zip(row.units_bought);
    // A user without a wallet has no row.
    let mut by_user: HashMap<_, _> = users.iter().map(|user| (*user, Buyer::default())).collect();
    for (((id, balance), entry_count), units) in columns {
        by_user.insert(Id::new(id), buyer(Id::new(id), Some(balance), Some(entry_count), units)?);
    }
    let between = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).to_std().unwrap_or_default();
    Ok(Locked {
        sale,
        waited: Waited {
            sale: between(row.asked_at, row.sale_locked_at),
            wallets: between(row.sale_locked_at, row.locked_at),
        },
        buyers: Buyers { now: row.locked_at, by_user },
    })
}

/// The function's two statements, as an error's context has them. They are ours, and so the same in
/// every language; no key has spaces, so none can pretend, even where the server shows parameters
/// in its contexts. (The relation's name stands there only for the first who waits: who comes
/// behind him waits for his place in the line, and PostgreSQL gives no reason.)
const OF_SALE: &str = "FROM sales s WHERE";
const OF_WALLETS: &str = "FROM wallets w";

/// Whether keys or locks failed, and of a wait in vain, for which lock.
fn not_reached(error: sqlx::Error) -> NotReached {
    let database = error.as_database_error();
    let postgres = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    let context = postgres.and_then(PgDatabaseError::r#where).unwrap_or_default();
    let (of_sale, of_wallet) = (context.contains(OF_SALE), context.contains(OF_WALLETS));
    match store_error(error) {
        StoreError::LockTimeout { .. } if of_wallet => NotReached::Locks(StoreError::WalletHeld),
        error if of_sale || of_wallet => NotReached::Locks(error),
        error => NotReached::Keys(error),
    }
}

/// Those of `users` whose wallets other transactions hold at this moment. Waits for nobody, and
/// takes the others until the end of the transaction.
pub(super) async fn held_wallets(
    connection: &mut PgConnection,
    users: &[UserId],
) -> Result<HashSet<UserId>, StoreError> {
    let ids: Vec<Uuid> = users.iter().map(UserId::uuid).collect();
    let held = sqlx::query_scalar!(
        r#"WITH free AS MATERIALIZED (
             SELECT w.user_id FROM wallets w WHERE w.user_id = ANY ($1)
             ORDER BY w.user_id FOR NO KEY UPDATE SKIP LOCKED
           )
           SELECT w.user_id FROM wallets w
           WHERE w.user_id = ANY ($1) AND w.user_id NOT IN (SELECT f.user_id FROM free f)"#,
        &ids,
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    Ok(held.into_iter().map(Id::new).collect())
}
