//! Whether a server can be trusted with money: it keeps what it has acknowledged, and its sessions
//! have the house's limits.
//!
//! Asked at the start, of each new session, and of a running server now and then: a server that
//! was right once may come back from a restart with other settings, or be another one behind a
//! failover.

use sqlx::{PgConnection, Row};

use super::connect::SessionLimits;
use super::error::store_error;
use crate::ports::store::StoreError;

/// What is wrong with the limits of a session, as a sentence; `None` when they nest. They travel as
/// start-up options, and a pooler in transaction mode drops those.
///
/// # Errors
/// [`StoreError`] when its server does not answer.
pub async fn limits_missing(
    connection: &mut PgConnection,
    limits: SessionLimits,
) -> Result<Option<String>, StoreError> {
    let question = "SELECT name, setting::bigint FROM pg_settings WHERE name IN
        ('idle_in_transaction_session_timeout', 'lock_timeout', 'statement_timeout')
        ORDER BY name";
    let rows = sqlx::raw_sql(question).fetch_all(connection).await.map_err(store_error)?;
    let found: Result<Vec<(String, i64)>, sqlx::Error> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
    let found = found.map_err(store_error)?;
    let [(_, idle), (_, lock), (_, statement)] = found.as_slice() else {
        return Ok(None);
    };
    if 0 < *idle && idle < lock && lock < statement {
        return Ok(None);
    }
    let wanted = [
        ("idle_in_transaction_session_timeout", limits.idle_in_transaction()),
        ("lock_timeout", limits.lock_timeout),
        ("statement_timeout", limits.statement_timeout),
    ];
    let wanted = wanted.map(|(name, limit)| format!("{name} = '{}ms'", limit.as_millis()));
    Ok(Some(format!(
        "the limits of sessions do not reach this server (idle_in_transaction_session_timeout \
         {idle}, lock_timeout {lock}, statement_timeout {statement} ms), as behind a pooler that \
         drops them; give them to the role with ALTER ROLE … SET: {}",
        wanted.join(", ")
    )))
}

/// What is wrong with a server or with the limits of a session there.
///
/// # Errors
/// [`StoreError`] when it does not answer.
pub async fn unfit(
    connection: &mut PgConnection,
    limits: SessionLimits,
) -> Result<Option<String>, StoreError> {
    match objection_to(connection).await? {
        Some(objection) => Ok(Some(objection)),
        None => limits_missing(connection, limits).await,
    }
}

/// How many sessions this login can have on its server: what is not reserved for others, or less by
/// a limit of the role or the database. Those do not hold for a superuser.
///
/// # Errors
/// [`StoreError`] when it does not answer.
pub async fn sessions_max(connection: &mut PgConnection) -> Result<u32, StoreError> {
    let question = "SELECT least(
            current_setting('max_connections')::bigint
              - CASE WHEN rolsuper THEN 0 ELSE
                  current_setting('superuser_reserved_connections')::bigint
                  + coalesce(current_setting('reserved_connections', true), '0')::bigint END,
            CASE WHEN rolconnlimit >= 0 AND NOT rolsuper THEN rolconnlimit END,
            CASE WHEN datconnlimit >= 0 AND NOT rolsuper THEN datconnlimit END)
        FROM pg_roles, pg_database
        WHERE rolname = current_user AND datname = current_database()";
    let row = sqlx::raw_sql(question).fetch_one(connection).await.map_err(store_error)?;
    let most: i64 = row.try_get(0).map_err(store_error)?;
    Ok(u32::try_from(most.max(0)).unwrap_or(u32::MAX))
}

/// The oldest server that is supported, as `server_version_num`.
pub const SERVER_VERSION_MIN: i32 = 140_000;

/// What is wrong with a server, as a sentence; `None` when it can be trusted with money.
///
/// # Errors
/// [`StoreError`] when it does not answer.
pub async fn objection_to(connection: &mut PgConnection) -> Result<Option<String>, StoreError> {
    let question = "SELECT current_setting('server_version_num')::integer,
                           current_setting('server_version'),
                           current_setting('server_encoding'),
                           current_setting('fsync'),
                           current_setting('full_page_writes'),
                           current_setting('synchronous_commit'),
                           pg_is_in_recovery()";
    let row = sqlx::raw_sql(question).fetch_one(connection).await.map_err(store_error)?;
    let version: i32 = row.try_get(0).map_err(store_error)?;
    let standby: bool = row.try_get(6).map_err(store_error)?;
    let text = |at: usize| row.try_get::<String, _>(at).map_err(store_error);
    let [version_text, encoding, fsync, full_page_writes, synchronous_commit] =
        [text(1)?, text(2)?, text(3)?, text(4)?, text(5)?];
    let off = |name: &str, value: &str| {
        (value == "off")
            .then(|| format!("{name} is off: an acknowledged order could be lost; set {name} = on"))
    };
    Ok((version < SERVER_VERSION_MIN)
        .then(|| format!("PostgreSQL {version_text} is too old: 14 or newer is needed"))
        .or_else(|| standby.then(|| "this server is a standby and cannot write".to_owned()))
        .or_else(|| off("fsync", &fsync))
        .or_else(|| off("full_page_writes", &full_page_writes))
        .or_else(|| off("synchronous_commit", &synchronous_commit))
        .or_else(|| {
            (encoding != "UTF8").then(|| {
                format!(
                    "this database is encoded in {encoding}, which cannot hold every name; make \
                     one with ENCODING 'UTF8'"
                )
            })
        }))
}
