//! The books, checked with set-based SQL in one snapshot. What each law means is said in
//! `domain::books`; here each is one query that returns only what breaks it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::error::store_error;
use super::servers::Servers;
use crate::domain::books::{Audit, Discrepancy, Law};
use crate::ports::store::StoreError;

/// Each law's query: subject, expected, actual, all text. `$1` is the longest list wanted.
const LAWS: &[(Law, &str)] = &[
    (
        Law::StockConserved,
        "SELECT 'sale ' || coalesce(s.id, o.sale_id),
                coalesce((s.stock_initial - coalesce(o.sold, 0))::text, 'a sale'),
                coalesce(s.stock::text, 'none, with ' || o.sold || ' units sold')
         FROM sales s
         FULL JOIN (SELECT sale_id, sum(quantity) AS sold FROM orders GROUP BY sale_id) o
           ON o.sale_id = s.id
         WHERE s.id IS NULL OR s.stock <> s.stock_initial - coalesce(o.sold, 0) OR s.stock < 0
         LIMIT $1",
    ),
    (
        Law::SequenceUnbroken,
        "SELECT 'sale ' || s.id, s.order_count || ' orders numbered 1 to ' || s.order_count,
                coalesce(o.n, 0) || ' orders numbered to ' || coalesce(o.newest, 0)
         FROM sales s
         LEFT JOIN (SELECT sale_id, count(*) AS n, max(sequence) AS newest FROM orders
                    GROUP BY sale_id) o
           ON o.sale_id = s.id
         WHERE coalesce(o.n, 0) <> s.order_count OR coalesce(o.newest, 0) <> s.order_count
         LIMIT $1",
    ),
    (
        Law::BalanceIsLedger,
        "SELECT 'wallet ' || coalesce(w.user_id, e.user_id),
                coalesce(e.sum, 0) || ' from ' || coalesce(e.n, 0) || ' entries',
                coalesce(w.balance || ' from ' || w.entry_count || ' entries', 'no wallet')
         FROM wallets w
         FULL JOIN (SELECT user_id, sum(amount) AS sum, count(*) AS n FROM ledger_entries
                    GROUP BY user_id) e
           ON e.user_id = w.user_id
         WHERE w.user_id IS NULL OR w.balance <> coalesce(e.sum, 0)
            OR w.entry_count <> coalesce(e.n, 0) OR w.balance < 0
         LIMIT $1",
    ),
    (
        Law::LedgerChained,
        "SELECT 'entry ' || id || ' of wallet ' || user_id,
                'number ' || place || ', balance after ' || due,
                'number ' || number || ', balance after ' || balance_after
         FROM (SELECT id, user_id, number, balance_after,
                      row_number() OVER entries AS place,
                      lag(balance_after, 1, 0.00) OVER entries + amount AS due
               FROM ledger_entries
               WINDOW entries AS (PARTITION BY user_id ORDER BY number)) chained
         WHERE balance_after <> due OR number <> place OR balance_after < 0
         LIMIT $1",
    ),
    (
        Law::OrderPaid,
        "SELECT 'order ' || o.id,
                'one debit of ' || o.unit_price * o.quantity || ' from wallet ' || o.user_id,
                CASE WHEN e.order_id IS NULL THEN 'no debit'
                     ELSE e.n || ' debits of ' || -e.amount || ' from wallet ' || e.user_id
                          || ', total ' || o.total END
         FROM orders o
         LEFT JOIN (SELECT order_id, count(*) AS n, sum(amount) AS amount,
                           min(user_id::text) AS user_id, min(balance_after) AS balance_after
                    FROM ledger_entries WHERE type = 'order' GROUP BY order_id) e
           ON e.order_id = o.id
         WHERE coalesce(e.n, 0) <> 1 OR e.amount <> -(o.unit_price * o.quantity)
            OR e.user_id <> o.user_id::text OR o.total <> o.unit_price * o.quantity
            OR e.balance_after <> o.balance_after
         LIMIT $1",
    ),
    (
        Law::DebitHasOrder,
        "SELECT 'entry ' || e.id, 'an order', 'none'
         FROM ledger_entries e LEFT JOIN orders o ON o.id = e.order_id
         WHERE e.type = 'order' AND o.id IS NULL
         LIMIT $1",
    ),
    (
        Law::OneOrderPerKey,
        "SELECT 'order ' || coalesce(o.id, k.resource_id), 'one key of its buyer',
                CASE WHEN k.resource_id IS NULL THEN 'no key'
                     WHEN o.id IS NULL THEN 'a key without an order'
                     ELSE k.n || ' keys of user ' || k.user_id END
         FROM orders o
         FULL JOIN (SELECT resource_id, count(*) AS n, min(user_id::text) AS user_id
                    FROM idempotency_keys WHERE operation = 'order' GROUP BY resource_id) k
           ON k.resource_id = o.id
         WHERE o.id IS NULL OR coalesce(k.n, 0) <> 1 OR k.user_id <> o.user_id::text
         LIMIT $1",
    ),
    (
        Law::LimitKept,
        "SELECT 'user ' || o.user_id || ' in sale ' || s.id, 'at most ' || s.per_user_limit,
                sum(o.quantity)::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE s.per_user_limit IS NOT NULL
         GROUP BY o.user_id, s.id
         HAVING sum(o.quantity) > s.per_user_limit
         LIMIT $1",
    ),
    (
        Law::WindowKept,
        "SELECT 'order ' || o.id,
                'from ' || s.starts_at || coalesce(' to ' || s.ends_at, ''), o.created_at::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.created_at < s.starts_at OR o.created_at >= s.ends_at
         LIMIT $1",
    ),
    (
        Law::MoneyConserved,
        "SELECT 'the installation', deposits || ' of deposits',
                balances || ' in wallets and ' || totals || ' in orders'
         FROM (SELECT
                 (SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE type = 'deposit')
                   AS deposits,
                 (SELECT coalesce(sum(balance), 0) FROM wallets) AS balances,
                 (SELECT coalesce(sum(total), 0) FROM orders WHERE status = 'confirmed')
                   AS totals) sums
         WHERE deposits <> balances + totals
         LIMIT $1",
    ),
];

/// How long one law may take when a running service asks. `flashdeal verify` has no limit.
const LAW_TIME_MAX: &str = "60s";
/// How long all of them and the counts may take together. The server ends each statement sooner;
/// this is for a session that has gone silent, whose reader would wait for ever.
const AUDIT_TIME_MAX: Duration = Duration::from_secs(11 * 60);

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

    /// Checks the books.
    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        let _turn = self.turn.lock().await;
        let audited = timeout(AUDIT_TIME_MAX, async {
            let mut session = self.servers.connect().await.map_err(store_error)?;
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
async fn audit(connection: &mut PgConnection, law_time_max: &str) -> Result<Audit, StoreError> {
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(store_error)?;
    for (name, value) in [
        ("statement_timeout", law_time_max),
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
    audit(connection, "0").await
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_law_has_one_query() {
        let mut laws: HashMap<Law, usize> = HashMap::new();
        for (law, _) in LAWS {
            *laws.entry(*law).or_default() += 1;
        }
        assert_eq!(laws.len(), 10);
        assert!(laws.values().all(|queries| *queries == 1));
    }
}
