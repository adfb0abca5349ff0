//! The books, checked law by law in one snapshot. The laws are in `verify_laws`, what each means in
//! `domain::books`.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connect::notice_vanished;
use super::error::store_error;
use super::servers::Servers;
use super::verify_laws::LAWS;
use crate::domain::books::{Audit, Discrepancy, Law};
use crate::ports::store::StoreError;

/// How long one law may take when a running service asks. `flashdeal verify` has no limit.
const LAW_TIME_MAX: Duration = Duration::from_secs(60);
/// How soon the server ends the check of somebody who has gone.
const GONE_WITHIN: &str = "SET client_connection_check_interval = '1s'";
/// How long all of them may take together: each law and the counts as long as they may, and as
/// much again as one of them to connect, begin and end. The server ends each statement sooner; this
/// is for a session that has gone silent, whose reader would wait for ever.
const AUDIT_TIME_MAX: Duration =
    Duration::from_secs(LAW_TIME_MAX.as_secs() * (LAWS.len() as u64 + 2));

/// Audits for a running service: on a session of its own beside the pool, one at a time, so that
/// books of any size take nothing from orders and reads but a share of one core.
#[derive(Debug, Clone)]
pub(super) struct Auditor {
    servers: Servers,
    turn: Arc<Mutex<()>>,
}

impl Auditor {
    /// An auditor of what is on these servers.
    pub(super) fn new(servers: Servers) -> Auditor {
        Auditor { servers, turn: Arc::default() }
    }

    /// Checks the books. Whoever drops the future ends the check: its session is closed, and the
    /// server notices within a second, whatever statement it is at.
    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        let _turn = self.turn.lock().await;
        let audited = timeout(AUDIT_TIME_MAX, async {
            let mut session = self.servers.connect().await.map_err(store_error)?;
            notice_vanished(&mut session, GONE_WITHIN).await.map_err(store_error)?;
            let audit = audit(&mut session, LAW_TIME_MAX).await?;
            session.close().await.map_err(store_error)?;
            Ok(audit)
        });
        let silent = |_| Err(StoreError::Lost("no answer to an audit".to_owned()));
        audited.await.unwrap_or_else(silent)
    }
}

/// For this transaction only: behind a pooler the session is another's next.
async fn set(session: &mut PgConnection, name: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT set_config($1, $2, true)")
        .bind(name)
        .bind(value)
        .execute(session)
        .await
        .map(drop)
        .map_err(store_error)
}

/// Checks every law in one read-only snapshot, on one core and with hashed joins (a merge or a
/// nested loop over millions of unsorted ids takes many times longer).
async fn audit(connection: &mut PgConnection, law_time_max: Duration) -> Result<Audit, StoreError> {
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(store_error)?;
    // In milliseconds; 0 is no limit.
    let law_time_max = law_time_max.as_millis().to_string();
    for (name, value) in [
        ("statement_timeout", &*law_time_max),
        ("max_parallel_workers_per_gather", "0"),
        ("work_mem", "32MB"),
        ("enable_mergejoin", "off"),
        ("enable_nestloop", "off"),
        ("idle_in_transaction_session_timeout", "60s"),
    ] {
        set(&mut snapshot, name, value).await?;
    }
    let counts = sqlx::query!(
        r#"SELECT now() AS "checked_at!", (SELECT count(*) FROM sales) AS "sales!",
                  (SELECT count(*) FROM wallets) AS "wallets!",
                  (SELECT count(*) FROM orders) AS "orders!""#
    )
    .fetch_one(&mut *snapshot)
    .await
    .map_err(store_error)?;
    let mut discrepancies = Vec::new();
    for (law, query) in LAWS {
        let wanted = Audit::DISCREPANCIES_MAX.saturating_sub(discrepancies.len());
        let rows = sqlx::query_as(*query)
            .bind(i64::try_from(wanted).unwrap_or(0))
            .fetch_all(&mut *snapshot)
            .await
            .map_err(store_error)?;
        discrepancies.extend(broken(*law, rows));
    }
    snapshot.rollback().await.map_err(store_error)?;
    Ok(Audit {
        checked_at: counts.checked_at,
        sales: counts.sales,
        wallets: counts.wallets,
        orders: counts.orders,
        discrepancies,
    })
}

/// What the rows of a law's query say: subject, expected, actual.
pub(super) fn broken(
    law: Law,
    rows: Vec<(String, String, String)>,
) -> impl Iterator<Item = Discrepancy> {
    rows.into_iter().map(move |(subject, expected, actual)| Discrepancy {
        law: law.name().to_owned(),
        subject,
        expected,
        actual,
    })
}

/// The same on a connection of the caller's own, without any time limit.
pub async fn audit_unhurried(connection: &mut PgConnection) -> Result<Audit, StoreError> {
    audit(connection, Duration::ZERO).await
}
