//! `idempotency_keys`.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{expect_rows, store_error, unreadable};
use super::order_repo::OrderRecord;
use crate::domain::key::{Fingerprint, KeyRef, Operation};
use crate::domain::order::Order;
use crate::ports::store::{Claim, Earlier, StoreError};

/// One column for each field of the claims, as `unnest` wants them.
pub(super) struct ClaimColumns<'a> {
    pub(super) keys: Vec<&'a str>,
    pub(super) users: Vec<Uuid>,
    pub(super) operations: Vec<&'static str>,
    pub(super) fingerprints: Vec<&'a [u8]>,
    pub(super) resources: Vec<Uuid>,
}

impl ClaimColumns<'_> {
    pub(super) fn of(claims: &[Claim]) -> ClaimColumns<'_> {
        ClaimColumns {
            keys: claims.iter().map(|claim| claim.key.key.as_str()).collect(),
            users: claims.iter().map(|claim| claim.key.scope).collect(),
            operations: claims.iter().map(|claim| claim.key.operation.name()).collect(),
            fingerprints: claims.iter().map(|claim| claim.fingerprint.as_bytes()).collect(),
            resources: claims.iter().map(|claim| claim.resource_id).collect(),
        }
    }
}

/// By position, which claims are among those that came back.
pub(super) fn are_ours(claims: &[Claim], ours: &[Uuid]) -> Vec<bool> {
    let ours: HashSet<&Uuid> = ours.iter().collect();
    claims.iter().map(|claim| ours.contains(&claim.resource_id)).collect()
}

/// Claims keys in the order given, and says which are ours now. Their ids come back in one row, and
/// only where some are not ours.
pub(super) async fn claim(
    connection: &mut PgConnection,
    claims: &[Claim],
) -> Result<Vec<bool>, StoreError> {
    let columns = ClaimColumns::of(claims);
    let ours = sqlx::query_scalar!(
        r#"WITH ours AS (
             INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
             SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[], $5::uuid[])
             ON CONFLICT DO NOTHING
             RETURNING resource_id
           )
           SELECT CASE WHEN count(*) < cardinality($5)
                       THEN coalesce(array_agg(resource_id), '{}') END
           FROM ours"#,
        &columns.keys as _,
        &columns.users,
        &columns.operations as _,
        &columns.fingerprints as _,
        &columns.resources,
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(ours.map_or_else(|| vec![true; claims.len()], |ours| are_ours(claims, &ours)))
}

/// What one committed key stands for.
pub(super) async fn earlier(
    connection: &mut PgConnection,
    key: &KeyRef,
) -> Result<Option<Earlier>, StoreError> {
    let found = sqlx::query!(
        "SELECT fingerprint, resource_id FROM idempotency_keys
         WHERE key = $1 AND user_id = $2 AND operation = $3",
        key.key.as_str(),
        key.scope,
        key.operation.name(),
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    found
        .map(|row| {
            let fingerprint = fingerprint(&row.fingerprint)?;
            Ok(Earlier { fingerprint, resource_id: row.resource_id })
        })
        .transpose()
}

/// What committed keys of orders stand for, with their orders.
pub(super) async fn earlier_orders(
    connection: &mut PgConnection,
    keys: &[KeyRef],
) -> Result<HashMap<KeyRef, (Fingerprint, Order)>, StoreError> {
    let texts: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let users: Vec<Uuid> = keys.iter().map(|key| key.scope).collect();
    let rows = sqlx::query!(
        r#"SELECT wanted.place AS "place!", k.fingerprint,
                  o.id, o.user_id, o.sale_id, o.sequence, o.quantity, o.unit_price, o.total,
                  o.balance_after, o.reference, o.created_at
           FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS wanted (key, user_id, place)
           JOIN idempotency_keys k
             ON k.key = wanted.key AND k.user_id = wanted.user_id AND k.operation = $3
           JOIN orders o ON o.id = k.resource_id"#,
        &texts as _,
        &users,
        Operation::PlaceOrder.name(),
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|row| {
            let at = usize::try_from(row.place - 1).map_err(|_| unreadable("place", row.place))?;
            let fingerprint = fingerprint(&row.fingerprint)?;
            let record = OrderRecord {
                id: row.id,
                user_id: row.user_id,
                sale_id: row.sale_id,
                sequence: row.sequence,
                quantity: row.quantity,
                unit_price: row.unit_price,
                total: row.total,
                balance_after: row.balance_after,
                reference: row.reference,
                created_at: row.created_at,
            };
            Ok((keys[at].clone(), (fingerprint, record.try_into()?)))
        })
        .collect()
}

/// Gives back claims.
pub(super) async fn release(
    connection: &mut PgConnection,
    keys: &[KeyRef],
) -> Result<(), StoreError> {
    let texts: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let users: Vec<Uuid> = keys.iter().map(|key| key.scope).collect();
    let operations: Vec<&str> = keys.iter().map(|key| key.operation.name()).collect();
    let done = sqlx::query!(
        "DELETE FROM idempotency_keys k
         USING unnest($1::text[], $2::uuid[], $3::text[]) AS gone (key, user_id, operation)
         WHERE k.key = gone.key AND k.user_id = gone.user_id AND k.operation = gone.operation",
        &texts as _,
        &users,
        &operations as _,
    )
    .execute(connection)
    .await
    .map_err(store_error)?;
    expect_rows("release of keys", keys.len(), done.rows_affected().cast_signed())
}

fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    Fingerprint::from_bytes(bytes).ok_or_else(|| unreadable("fingerprint", bytes.len()))
}
