//! Rows held by a session of the test's own, and bounded waits on what the server shows.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::Instant;

use super::postgres::TestDatabase;

/// How long anything that must come may take, on a crowded machine.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// An open transaction that holds what its first statement took.
pub(crate) struct Held {
    /// The session.
    pub(crate) session: PgConnection,
}

impl Held {
    /// Begins, and runs one statement that takes the lock.
    pub(crate) async fn by(database: &TestDatabase, statement: String) -> Held {
        let mut held = Held { session: database.session().await };
        run(&mut held.session, "BEGIN ISOLATION LEVEL READ COMMITTED").await;
        run(&mut held.session, statement).await;
        held
    }

    /// The sale's row, against everyone.
    pub(crate) async fn sale(database: &TestDatabase, sale: &str) -> Held {
        Held::by(database, format!("SELECT 1 FROM sales WHERE id = '{sale}' FOR UPDATE")).await
    }

    /// A user's key for an order, claimed and not committed.
    pub(crate) async fn key(database: &TestDatabase, user: &str, key: &str) -> Held {
        let claim = format!(
            "INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
             VALUES ('{key}', '{user}', 'order', decode(repeat('00', 32), 'hex'),
                     gen_random_uuid())"
        );
        Held::by(database, claim).await
    }

    /// Lets go.
    pub(crate) async fn release(mut self) {
        run(&mut self.session, "ROLLBACK").await;
    }
}

/// Runs statements that need no answer.
pub(crate) async fn run(session: &mut PgConnection, statement: impl Into<String>) {
    let statement = statement.into();
    let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(session).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Runs statements that need no answer on a session of their own.
pub(crate) async fn execute(database: &TestDatabase, statements: &str) {
    run(&mut database.session().await, statements).await;
}

/// The one number that a statement answers.
pub(crate) async fn number(session: &mut PgConnection, statement: impl Into<String>) -> i64 {
    let statement = statement.into();
    let found = sqlx::query_scalar(AssertSqlSafe(statement.clone())).fetch_one(session).await;
    found.unwrap_or_else(|error| panic!("{statement}: {error}"))
}

/// Counts the service's sessions in this database that fulfil a condition on `pg_stat_activity`.
pub(crate) async fn sessions(session: &mut PgConnection, condition: &str) -> i64 {
    let statement = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'flashdeal' AND ({condition})"
    );
    number(session, statement).await
}

/// Sessions that wait for a lock.
pub(crate) const WAITS: &str = "wait_event_type = 'Lock'";
/// Sessions that have an open transaction and do nothing.
pub(crate) const IDLE_IN_TRANSACTION: &str = "state LIKE 'idle in transaction%'";

/// Waits until at least one of the service's sessions waits for a lock.
pub(crate) async fn until_someone_waits(database: &TestDatabase) {
    let mut session = database.session().await;
    until("a session waits for a lock", async || sessions(&mut session, WAITS).await > 0).await;
}

/// Waits until a session in this database waits for a lock, whoever's it is.
pub(crate) async fn until_anyone_waits(database: &TestDatabase) {
    let mut session = database.session().await;
    let waiters = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {WAITS}"
    );
    until("somebody waits for a lock", async || number(&mut session, &*waiters).await > 0).await;
}

/// Asks until the answer is yes, within a bound.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + EVENTUALLY;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {EVENTUALLY:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
