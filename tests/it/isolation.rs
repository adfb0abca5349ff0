//! Whatever isolation a database defaults to: what is promised holds, because each transaction that
//! writes says READ COMMITTED itself; and it would hold without that.
//!
//! `TEST_ISOLATION=serializable cargo test --test it orders::` runs other tests on such databases.

use flashdeal::adapters::postgres::connect::BEGIN;
use sqlx::AssertSqlSafe;

use crate::support::api::{Reply, new_key};
use crate::support::crowd::{Wish, crowd, seed_buyers};
use crate::support::locks::{Held, WAITS, execute, number, sessions, until};
use crate::support::postgres::TestDatabase;
use crate::support::relay::Relay;
use crate::support::{ENGINES, Service};
use crate::tidy::{none, sources};

const TABLES: [&str; 6] =
    ["users", "wallets", "sales", "orders", "ledger_entries", "idempotency_keys"];

/// Makes the database refuse every write of the service at another isolation than this.
async fn insist(database: &TestDatabase, isolation: &str) {
    let trap = format!(
        "CREATE FUNCTION insist() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF current_setting('application_name') = 'flashdeal'
                AND current_setting('transaction_isolation') <> '{isolation}' THEN
                 RAISE EXCEPTION 'written at %', current_setting('transaction_isolation');
             END IF;
             RETURN NULL;
         END $$"
    );
    execute(database, &trap).await;
    for table in TABLES {
        let trigger = format!(
            "CREATE TRIGGER insist BEFORE INSERT OR UPDATE ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION insist()"
        );
        execute(database, &trigger).await;
    }
}

async fn database(isolation: &str) -> TestDatabase {
    let database = TestDatabase::create().await;
    database.default_isolation(isolation).await;
    let mut session = database.session().await;
    let shown = sqlx::query_scalar("SHOW default_transaction_isolation");
    let shown: String = shown.fetch_one(&mut session).await.expect("a word");
    assert_eq!(shown, isolation);
    database
}

fn fresh(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status == 201 && !reply.replayed()).count()
}

/// Fifty buyers for ten units, and fifty times the same click.
pub(crate) async fn rush(service: &Service) {
    let buyers = seed_buyers(&service.database, 50, "10.00").await;
    let sale = service.api.sale("10.00", 10).await;
    let wishes = buyers.iter().map(|buyer| Wish::unit(buyer, &sale)).collect();
    let replies = crowd(service.api.address(), 50, wishes).await;
    assert_eq!(fresh(&replies), 10, "exactly what was there is sold");
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(reply.code(), "out_of_stock", "{reply:?}");
    }
    twins(service, 0).await;
}

/// Fifty times the same click, of which so many meet in the database: the sale's row is held until
/// as many sessions wait, one of them for the row and the others for its key.
async fn twins(service: &Service, meeting: i64) {
    let user = service.api.user("100.00").await;
    let sale = service.api.sale("10.00", 5).await;
    let held = Held::sale(&service.database, &sale).await;
    let mut watch = service.database.session().await;
    let (replies, ()) =
        tokio::join!(crowd(service.api.address(), 50, vec![Wish::unit(&user, &sale); 50]), async {
            until("twins meet", async || sessions(&mut watch, WAITS).await >= meeting).await;
            held.release().await;
        });
    assert_eq!(fresh(&replies), 1, "one of them did the work");
    for reply in &replies {
        assert_eq!((reply.status.as_u16(), &reply.bytes), (201, &replies[0].bytes));
    }
    let orders = format!("SELECT count(*) FROM orders WHERE sale_id = '{sale}'");
    assert_eq!(number(&mut service.database.session().await, orders).await, 1);
    let deposits = format!("/api/users/{user}/wallet/deposits");
    let amount = serde_json::json!({ "amount": "1.00" });
    service.api.post(&deposits, &new_key(), &amount).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stampede_and_twins_do_not_notice_what_a_database_defaults_to() {
    for isolation in ["serializable", "repeatable read"] {
        for engine in ENGINES {
            let database = database(isolation).await;
            insist(&database, "read committed").await;
            let engine = Some(engine.to_owned());
            let service = Service::start_on(database, |raw| raw.engine = engine).await;
            rush(&service).await;
            service.finish().await;
        }
    }
}

/// The service says READ COMMITTED; the wire keeps it from the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_own_word_fifty_twins_are_still_one_order_after_serialization_failures() {
    for isolation in ["serializable", "repeatable read"] {
        let database = database(isolation).await;
        insist(&database, isolation).await;
        let wire = Relay::to(&database).await;
        wire.say_instead(BEGIN, "BEGIN READ WRITE");
        let url = wire.url();
        let service = Service::start_on(database, |raw| {
            raw.database_url = Some(url);
            // One transaction for each order: only then do twins meet in the database.
            raw.engine = Some("pessimistic".to_owned());
        })
        .await;
        twins(&service, 3).await;
        let failures = wire.serialization_failures();
        assert!(failures > 0, "{isolation}: no twin was told 40001");
        println!("{isolation}: {failures} serialization failures");
        service.finish().await;
    }
}

#[test]
fn every_begin_says_its_isolation() {
    let mut findings = Vec::new();
    for source in sources(&["src"], ".rs") {
        for (at, line) in source.code() {
            let is_plain = line.contains(".begin()") && !line.contains("store.begin()");
            let is_short = line.contains("\"BEGIN") && !line.contains("\"BEGIN ISOLATION LEVEL ");
            if is_plain || is_short {
                findings.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    none(findings, "a transaction at the isolation that a database happens to have");
}

/// What a database says of a setting, for those who look at this file's traps.
#[tokio::test]
async fn the_trap_springs() {
    let database = database("serializable").await;
    insist(&database, "read committed").await;
    let mut session = database.session().await;
    let write =
        "SET application_name = 'flashdeal'; INSERT INTO users (id) SELECT gen_random_uuid()";
    let refused = sqlx::raw_sql(AssertSqlSafe(write)).execute(&mut session).await;
    assert!(refused.unwrap_err().to_string().contains("written at serializable"));
}
