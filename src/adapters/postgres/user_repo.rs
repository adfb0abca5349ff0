//! `users`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::store_error;
use super::order_repo::short_text;
use crate::domain::id::{Id, UserId};
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::ports::store::StoreError;

/// A row of `users`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct UserRecord {
    pub(super) id: Uuid,
    pub(super) external_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<UserRecord> for User {
    type Error = StoreError;

    fn try_from(record: UserRecord) -> Result<User, StoreError> {
        Ok(User {
            id: Id::new(record.id),
            external_id: short_text(record.external_id)?,
            name: short_text(record.name)?,
            created_at: record.created_at,
        })
    }
}

/// Writes a user and an empty wallet; `false` when the id or the external id is taken. By either:
/// who writes the same user at the same moment may meet the other's external id first.
pub(super) async fn insert(connection: &mut PgConnection, user: &User) -> Result<bool, StoreError> {
    let made = sqlx::query_scalar!(
        r#"WITH made AS (
             INSERT INTO users (id, external_id, name, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING
             RETURNING id
           ), wallet AS (
             INSERT INTO wallets (user_id, balance, updated_at) SELECT id, 0, $4 FROM made
             RETURNING 1
           )
           SELECT count(*) AS "made!" FROM wallet"#,
        user.id.uuid(),
        user.external_id.as_ref().map(ShortText::as_str),
        user.name.as_ref().map(ShortText::as_str),
        user.created_at,
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(made == 1)
}

/// The committed user.
pub(super) async fn find(
    connection: &mut PgConnection,
    id: UserId,
) -> Result<Option<User>, StoreError> {
    sqlx::query_as!(
        UserRecord,
        "SELECT id, external_id, name, created_at FROM users WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?
    .map(User::try_from)
    .transpose()
}
