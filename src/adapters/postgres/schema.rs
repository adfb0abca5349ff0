//! Migrations, and whether the schema and this binary belong together.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection, PgPool};

use super::connect::answered;
use super::error::{DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, words};

/// The migrations in this binary; the same files and table as `sqlx migrate run`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// One migration that was applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: i64,
    /// Its name.
    pub description: String,
}

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database was migrated by a newer or older binary, or not at all.
    #[error("the schema is at version {found}, this binary expects {expected}: {advice}")]
    Version {
        /// What is there; 0 for nothing.
        found: i64,
        /// What this binary carries.
        expected: i64,
        /// What to do.
        advice: &'static str,
    },
    /// The database serves an installation with another currency.
    #[error(
        "this database was set up for {found}, FLASHDEAL_CURRENCY says {configured}: one \
         installation has one currency for its whole life"
    )]
    Currency {
        /// What is stored.
        found: String,
        /// What is configured.
        configured: String,
    },
    /// A migration failed.
    #[error("migration: {0}")]
    Migrate(#[from] MigrateError),
    /// The database did not answer.
    #[error("database: {}", words(.0))]
    Database(#[from] sqlx::Error),
}

/// The newest version in this binary.
pub fn version_expected() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Looked for in our own schema only: a shop's own table of that name, in another schema on the
/// path, is not ours.
const OWN_TABLE: &str =
    "SELECT to_regclass(quote_ident(current_schema()) || '._sqlx_migrations')::text";

/// The newest version in the database; 0 when it was never migrated.
///
/// # Errors
/// When the database does not answer.
pub async fn version_found(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let table: Option<String> = sqlx::query_scalar(OWN_TABLE).fetch_one(&mut *connection).await?;
    if table.is_none() {
        return Ok(0);
    }
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await?;
    Ok(newest.unwrap_or(0))
}

/// How long a small answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long it may take to find that nothing is missing: another instance may be at it.
const COMPARED_MAX: Duration = Duration::from_secs(120);
/// How long what is missing may take, with the largest shop in mind.
const MIGRATED_MAX: Duration = Duration::from_secs(3_600);

/// How often a migration may give way to people who buy: it waits a second for a lock, so that
/// they never wait longer for it.
const TRIES: u32 = 30;
/// The shortest pause between two tries; the longest is three times that.
const PAUSE: Duration = Duration::from_millis(200);

/// Applies what is missing and says what it applied. Two instances that start together are kept
/// apart by sqlx's migration lock. A migration that does not get its locks among orders, or is
/// chosen to end a deadlock, is undone by PostgreSQL as a whole and tried again.
///
/// # Errors
/// [`SchemaError`] when the schema is newer than this binary or a migration fails.
pub async fn migrate(pool: &PgPool) -> Result<Vec<Applied>, SchemaError> {
    // The session's limits are lifted below: it does not go back to the pool.
    let mut connection = pool.acquire().await?.detach();
    let found = answered(ANSWER_MAX, version_found(&mut connection)).await?;
    let expected = version_expected();
    if found > expected {
        let advice = "start the newer binary";
        return Err(SchemaError::Version { found, expected, advice });
    }
    // A migration may take longer than an order may, waits for another instance's, and is not lost
    // because a crowded machine lets us rest between two of its statements.
    for limit in [
        "SET statement_timeout = 0",
        "SET lock_timeout = '60s'",
        "SET idle_in_transaction_session_timeout = '10s'",
    ] {
        answered(ANSWER_MAX, sqlx::query(limit).execute(&mut connection)).await?;
    }
    let (mut tries, limit) = (1, if found < expected { MIGRATED_MAX } else { COMPARED_MAX });
    while let Err(error) = answered(limit, MIGRATIONS.run(&mut connection)).await {
        if tries == TRIES || !gave_way(&error) {
            return Err(error.into());
        }
        tracing::warn!(%error, tries, "a migration gave way to those who buy; again");
        tokio::time::sleep(PAUSE.mul_f64(1.0 + 2.0 * fastrand::f64())).await;
        tries += 1;
    }
    answered(ANSWER_MAX, connection.close()).await?;
    let fresh = MIGRATIONS.iter().filter(|migration| migration.version > found);
    Ok(fresh
        .map(|migration| Applied {
            version: migration.version,
            description: migration.description.to_string(),
        })
        .collect())
}

/// Whether a migration ended on a lock or a deadlock, with nothing left of it. One
/// that runs outside of a transaction may leave something, and a person has to look.
fn gave_way(error: &MigrateError) -> bool {
    let MigrateError::ExecuteMigration(cause, version) = error else { return false };
    let whole = MIGRATIONS.iter().any(|one| one.version == *version && !one.no_tx);
    let code = cause.as_database_error().and_then(|error| error.code());
    whole && matches!(code.as_deref(), Some(LOCK_NOT_AVAILABLE | DEADLOCK_DETECTED))
}

/// Refuses a schema that this binary was not built for.
///
/// # Errors
/// [`SchemaError::Version`] names both versions.
pub async fn check_version(pool: &PgPool) -> Result<(), SchemaError> {
    let mut connection = pool.acquire().await?;
    let found = answered(ANSWER_MAX, version_found(&mut connection)).await?;
    let expected = version_expected();
    let advice =
        if found < expected { "run `flashdeal migrate`" } else { "start the newer binary" };
    if found == expected {
        return Ok(());
    }
    Err(SchemaError::Version { found, expected, advice })
}

/// Settles the installation's currency at the first start and holds every later one to it.
///
/// # Errors
/// [`SchemaError::Currency`] names both.
pub async fn settle_currency(pool: &PgPool, configured: &str) -> Result<(), SchemaError> {
    sqlx::query!(
        "INSERT INTO installation (currency) VALUES ($1) ON CONFLICT DO NOTHING",
        configured
    )
    .execute(pool)
    .await?;
    // A statement of its own: who has waited for another's insert sees it only in a later one.
    let found = sqlx::query_scalar!("SELECT currency FROM installation").fetch_one(pool).await?;
    if found == configured {
        return Ok(());
    }
    Err(SchemaError::Currency { found, configured: configured.to_owned() })
}
