//! What PostgreSQL says of itself: a handful of figures, cheap enough for every few seconds.

use sqlx::{PgConnection, Row};

use super::error::store_error;
use crate::ports::store::StoreError;

/// The tables that orders write.
pub const BUSY_TABLES: [&str; 5] =
    ["sales", "wallets", "orders", "ledger_entries", "idempotency_keys"];

/// One sample.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Everyone's sessions in the whole server by state.
    pub connections: [(&'static str, i64); 4],
    /// Sessions that the server allows.
    pub connections_max: i64,
    /// Sessions of this database that wait for a lock.
    pub lock_waiters: i64,
    /// Age of the oldest open transaction in this database, in seconds.
    pub oldest_transaction_seconds: f64,
    /// Committed transactions since the server's counters began.
    pub committed: i64,
    /// Rolled back ones.
    pub rolled_back: i64,
    /// Size on disk.
    pub bytes: i64,
    /// Rows by table: live, dead.
    pub rows: Vec<(String, i64, i64)>,
}

/// Of sessions that are not its own a role without `pg_read_all_stats` sees only that they are
/// there: neither kind nor state. They count as other.
const SESSIONS: &str = "
    SELECT count(*) FILTER (WHERE state = 'active'),
           count(*) FILTER (WHERE state = 'idle'),
           count(*) FILTER (WHERE state LIKE 'idle in transaction%'),
           count(*) FILTER (WHERE state IS NULL OR state NOT IN
                            ('active', 'idle', 'idle in transaction',
                             'idle in transaction (aborted)')),
           count(*) FILTER (WHERE wait_event_type = 'Lock' AND datname = current_database()),
           coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)
                            FILTER (WHERE datname = current_database())), 0)::float8,
           current_setting('max_connections')::bigint
    FROM pg_stat_activity
    WHERE datname IS NOT NULL AND usename IS NOT NULL
      AND coalesce(backend_type, 'client backend') = 'client backend'";

const DATABASE: &str = "
    SELECT xact_commit, xact_rollback, pg_database_size(datid)
    FROM pg_stat_database WHERE datname = current_database()";

const TABLES: &str = "
    SELECT relname::text, n_live_tup, n_dead_tup
    FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND relname = ANY ($1)";

/// Rows inserted into this database since its counters began, by whatever instance or program.
/// Sessions say so once a second while they work.
pub(super) async fn rows_inserted(connection: &mut PgConnection) -> Result<i64, StoreError> {
    const INSERTED: &str =
        "SELECT tup_inserted FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar(INSERTED).fetch_one(connection).await.map_err(store_error)
}

/// Takes a sample.
pub(super) async fn sample(connection: &mut PgConnection) -> Result<Sample, StoreError> {
    let sessions = sqlx::query(SESSIONS).fetch_one(&mut *connection).await.map_err(store_error)?;
    let database = sqlx::query(DATABASE).fetch_one(&mut *connection).await.map_err(store_error)?;
    let tables = sqlx::query_as(TABLES)
        .bind(&BUSY_TABLES[..])
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let count = |at: usize| sessions.try_get::<i64, _>(at).map_err(store_error);
    let figure = |at: usize| database.try_get::<i64, _>(at).map_err(store_error);
    Ok(Sample {
        connections: [
            ("active", count(0)?),
            ("idle", count(1)?),
            ("idle_in_transaction", count(2)?),
            ("other", count(3)?),
        ],
        lock_waiters: count(4)?,
        oldest_transaction_seconds: sessions.try_get(5).map_err(store_error)?,
        connections_max: count(6)?,
        committed: figure(0)?,
        rolled_back: figure(1)?,
        bytes: figure(2)?,
        rows: tables,
    })
}
