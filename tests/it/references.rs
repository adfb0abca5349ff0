//! What the schema promises of references, whoever writes (`migrations/0002`, ADR 14): an order has
//! its wallet and its sale, an entry its wallet and its order, and what is referred to stays, an
//! order in all its columns (`migrations/0006`). And an order has one debit, although no index says
//! so (`migrations/0007`, ADR 16).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::Service;
use crate::support::api::Api;
use crate::support::crowd::seed_buyers;
use crate::support::locks::number;
use crate::support::postgres::TestDatabase;

/// A shop with one order. The ids of its sale, its buyer and the order.
async fn shop() -> (TestDatabase, [String; 3]) {
    let service = Service::start().await;
    let buyer = seed_buyers(&service.database, 1, "10.00").await.remove(0);
    let sale = service.api.sale("1.00", 5).await;
    let order = bought(&service.api, &buyer, &sale).await;
    (service.finish().await, [sale, buyer, order])
}

async fn bought(api: &Api, buyer: &str, sale: &str) -> String {
    api.buy("key", buyer, sale).await.expect(201).id()
}

async fn said(session: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    let mut transaction = session.begin().await?;
    let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await;
    transaction.rollback().await?;
    done.map(|_| ())
}

/// The SQLSTATE of a refusal.
async fn refused(session: &mut PgConnection, statement: &str) -> String {
    sqlstate(&said(session, statement).await.expect_err(statement))
}

fn sqlstate(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

fn an_order(user: &str, sale: &str, sequence: u32) -> String {
    format!(
        "(gen_random_uuid(), '{user}', '{sale}', {sequence}, 1, 1.00, 1.00, 0, clock_timestamp())"
    )
}

fn orders(rows: &[String]) -> String {
    format!(
        "INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                             balance_after, created_at) VALUES {}",
        rows.join(", ")
    )
}

fn an_entry(user: &str, order: &str) -> String {
    format!(
        "INSERT INTO ledger_entries (id, user_id, number, type, amount, balance_after, order_id,
                                     created_at)
         VALUES (gen_random_uuid(), '{user}', 99, 'order', -1, 0, '{order}', clock_timestamp())"
    )
}

const NOBODY: &str = "0190a000-0000-7000-8000-ffffffffffff";
const FOREIGN_KEY_VIOLATION: &str = "23503";
const ROWS_STAY: &str = "23000";

#[tokio::test]
async fn what_refers_to_nothing_is_not_written() {
    let (database, [sale, buyer, _]) = shop().await;
    let mut session = database.session().await;
    let good = an_order(&buyer, &sale, 2);
    assert!(said(&mut session, &orders(std::slice::from_ref(&good))).await.is_ok(), "the control");
    for bad in [an_order(NOBODY, &sale, 3), an_order(&buyer, NOBODY, 3)] {
        let among_good = orders(&[good.clone(), bad, an_order(&buyer, &sale, 4)]);
        assert_eq!(refused(&mut session, &among_good).await, FOREIGN_KEY_VIOLATION);
    }
    for entry in [an_entry(&buyer, NOBODY), an_entry(NOBODY, NOBODY)] {
        assert_eq!(refused(&mut session, &entry).await, FOREIGN_KEY_VIOLATION);
    }
    let unguarded = format!(
        "ALTER TABLE orders DISABLE TRIGGER orders_refer; {}",
        orders(&[an_order(NOBODY, &sale, 2)])
    );
    let mut transaction = session.begin().await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(unguarded)).execute(&mut *transaction).await;
    assert!(done.is_ok(), "the guard is what refuses: {done:?}");
}

#[tokio::test]
async fn an_order_is_paid_for_from_its_own_wallet() {
    let (database, [sale, buyer, _]) = shop().await;
    let mut session = database.session().await;
    let other = seed_buyers(&database, 1, "10.00").await.remove(0);
    let order = an_order(&buyer, &sale, 2).replace("gen_random_uuid()", &format!("'{NOBODY}'"));
    for (user, wanted) in [(&buyer, None), (&other, Some(FOREIGN_KEY_VIOLATION))] {
        let mut transaction = session.begin().await.unwrap();
        let made = sqlx::query(AssertSqlSafe(orders(std::slice::from_ref(&order))));
        made.execute(&mut *transaction).await.unwrap();
        let paid = sqlx::query(AssertSqlSafe(an_entry(user, NOBODY))).execute(&mut *transaction);
        let refused = paid.await.err().map(|error| sqlstate(&error));
        assert_eq!(refused.as_deref(), wanted);
        transaction.rollback().await.unwrap();
    }
}

/// What is said to these statements, one after the other in one transaction that goes nowhere.
async fn answers(session: &mut PgConnection, statements: &[String]) -> Vec<String> {
    let mut transaction = session.begin().await.unwrap();
    let mut answers = Vec::new();
    for statement in statements {
        let mut inner = transaction.begin().await.unwrap();
        let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *inner).await;
        match done {
            Ok(_) => inner.commit().await.unwrap(),
            Err(_) => inner.rollback().await.unwrap(),
        }
        answers.push(done.err().map_or_else(|| "done".to_owned(), |error| sqlstate(&error)));
    }
    transaction.rollback().await.unwrap();
    answers
}

#[tokio::test]
async fn an_order_has_no_second_debit() {
    let (database, [sale, buyer, made]) = shop().await;
    let mut session = database.session().await;
    assert_eq!(refused(&mut session, &an_entry(&buyer, &made)).await, FOREIGN_KEY_VIOLATION);
    let named = "SELECT count(*) FROM orders o JOIN ledger_entries e
                 ON e.order_id = o.id AND e.user_id = o.user_id AND e.number = o.entry_number";
    assert_eq!(number(&mut session, named).await, 1, "the service says which");
    // The service's own order names its debit; one of an older version names none.
    let named = orders(&[an_order(&buyer, &sale, 2)])
        .replace("created_at)", "created_at, entry_number)")
        .replace("clock_timestamp())", "clock_timestamp(), 98)");
    let older = orders(&[an_order(&buyer, &sale, 2)]);
    let entry = |number: u32| an_entry(&buyer, NOBODY).replace(" 99,", &format!(" {number},"));
    let two = format!(
        "{}, (gen_random_uuid(), '{buyer}', 98, 'order', -1, 0, '{NOBODY}', clock_timestamp())",
        entry(99)
    );
    let no = FOREIGN_KEY_VIOLATION;
    for (order, entries, wanted) in [
        (&named, [entry(99), two.clone(), entry(98), entry(99)], [no, no, "done", no]),
        (&older, [two, entry(99), entry(98), entry(100)], [no, "done", no, no]),
    ] {
        let order = order.replacen("gen_random_uuid()", &format!("'{NOBODY}'"), 1);
        let found = answers(&mut session, &[&[order], &entries[..]].concat()).await;
        assert_eq!(found[0], "done", "the order");
        assert_eq!(found[1..], wanted);
    }
}

#[tokio::test]
async fn what_is_referred_to_stays() {
    let (database, _) = shop().await;
    let mut session = database.session().await;
    for statement in [
        "DELETE FROM orders",
        "DELETE FROM sales WHERE stock > 0",
        "DELETE FROM wallets",
        "TRUNCATE orders, ledger_entries, sales, wallets",
        "UPDATE sales SET id = gen_random_uuid()",
        "UPDATE wallets SET user_id = gen_random_uuid()",
        "UPDATE orders SET user_id = gen_random_uuid()",
        "UPDATE orders SET total = total, reference = 'x'",
        "UPDATE orders SET created_at = created_at WHERE false",
    ] {
        assert_eq!(refused(&mut session, statement).await, ROWS_STAY, "{statement}");
    }
}

/// An `orders` that was analysed while it was empty must not be read whole for every group.
#[tokio::test]
async fn references_are_looked_up_by_index_whatever_the_statistics_say() {
    let service = Service::start().await;
    let mut session = service.database.session().await;
    sqlx::query("VACUUM ANALYZE").execute(&mut session).await.unwrap();
    let buyer = seed_buyers(&service.database, 1, "10.00").await.remove(0);
    let sale = service.api.sale("1.00", 5).await;
    bought(&service.api, &buyer, &sale).await;
    let mut transaction = session.begin().await.unwrap();
    let named = an_order(&buyer, &sale, 2).replace("gen_random_uuid()", &format!("'{NOBODY}'"));
    for statement in [orders(&[named, an_order(&buyer, &sale, 3)]), an_entry(&buyer, NOBODY)] {
        let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await;
        done.unwrap();
    }
    let read_whole: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname::text, seq_scan FROM pg_stat_xact_user_tables
         WHERE relname IN ('wallets', 'sales', 'orders') AND seq_scan > 0",
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    assert!(read_whole.is_empty(), "{read_whole:?}");
    transaction.rollback().await.unwrap();
    service.finish().await;
}
