//! Migrations behind the first: additive, and without a long lock on a table that orders write.
//! The rules and their reasons are in `migrations/README.md`.

mod readable;
mod rules;

use flashdeal::adapters::postgres::schema::{self, version_expected};

use crate::support::locks::{Held, execute, number, run, until, until_anyone_waits};
use crate::support::postgres::TestDatabase;
use crate::tidy::{none, sources};
use rules::Migration;

/// The first version is where an installation begins: nobody sells yet.
const FOUNDATION: &str = "migrations/0001_";

#[test]
fn every_migration_behind_the_first_can_be_applied_while_people_buy() {
    let mut findings = Vec::new();
    for file in sources(&["migrations"], ".sql") {
        if !file.path.starts_with(FOUNDATION) {
            let faults = Migration::of(&file.text).faults();
            findings.extend(faults.iter().map(|fault| format!("{}: {fault}", file.path)));
        }
    }
    none(findings, "migrations/README.md");
}

/// Each breaks one rule, and what the rule says of it.
const BAD: [(&str, &str); 32] = [
    ("ALTER TABLE orders ADD COLUMN note text", "without SET lock_timeout"),
    ("SET lock_timeout = 0; ALTER TABLE orders ADD COLUMN a text", "without SET lock_timeout"),
    ("SET lock_timeout = '60s'; ALTER TABLE orders ADD COLUMN a text", "without SET lock_timeout"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders ADD a text NOT NULL", "written out"),
    ("CREATE TRIGGER t AFTER INSERT ON orders EXECUTE FUNCTION f()", "without SET lock_timeout"),
    (
        "CREATE OR REPLACE TRIGGER t AFTER INSERT ON orders EXECUTE FUNCTION f()",
        "without SET lock_timeout",
    ),
    ("CREATE INDEX orders_note ON orders (note)", "CONCURRENTLY"),
    ("CREATE UNIQUE INDEX orders_note ON orders (note)", "CONCURRENTLY"),
    ("CREATE INDEX CONCURRENTLY orders_note ON orders (note)", "-- no-transaction"),
    (
        "-- no-transaction\nCREATE INDEX CONCURRENTLY a ON orders (note);
         CREATE INDEX CONCURRENTLY b ON orders (reference)",
        "a file of its own",
    ),
    ("REINDEX TABLE orders", "CONCURRENTLY"),
    ("SET lock_timeout = '1s'; DROP TABLE orders", "drops something"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders DROP COLUMN reference", "drops something"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders RENAME TO bought", "renames"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders RENAME COLUMN total TO sum", "renames"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders ALTER reference SET NOT NULL", "SET NOT NULL"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders ADD COLUMN a text NOT NULL", "without a default"),
    ("SET lock_timeout = '1s'; ALTER TABLE orders ALTER sequence TYPE numeric", "rewrites"),
    (
        "SET lock_timeout = '1s'; ALTER TABLE orders ADD COLUMN a uuid DEFAULT gen_random_uuid()",
        "a default that rewrites",
    ),
    (
        "SET lock_timeout = '1s';
         ALTER TABLE orders ADD COLUMN a int GENERATED ALWAYS AS (quantity * 2) STORED",
        "rewrites",
    ),
    ("SET lock_timeout = '1s'; ALTER TABLE orders SET UNLOGGED", "rewrites"),
    (
        "SET lock_timeout = '1s'; ALTER TABLE orders ADD COLUMN a int CHECK (a > 0)",
        "inside ADD COLUMN",
    ),
    (
        "SET lock_timeout = '1s'; ALTER TABLE orders ADD COLUMN a uuid REFERENCES sales (id)",
        "inside ADD COLUMN",
    ),
    (
        "SET lock_timeout = '1s'; ALTER TABLE orders ADD CONSTRAINT c CHECK (quantity < 50)",
        "without NOT VALID",
    ),
    (
        "SET lock_timeout = '1s';
         ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users (id)",
        "without NOT VALID",
    ),
    (
        "SET lock_timeout = '1s'; ALTER TABLE orders ADD CONSTRAINT u UNIQUE (reference)",
        "USING INDEX",
    ),
    (
        "SET lock_timeout = '1s';
         ALTER TABLE orders ADD CONSTRAINT c CHECK (quantity < 101) NOT VALID;
         ALTER TABLE orders VALIDATE CONSTRAINT c",
        "VALIDATE CONSTRAINT in a file",
    ),
    ("UPDATE orders SET reference = ''", "changes rows"),
    ("DELETE FROM idempotency_keys", "changes rows"),
    ("TRUNCATE orders", "empties"),
    ("CREATE TABLE public.notes (id uuid PRIMARY KEY)", "names a schema"),
    ("CREATE TABLE notes (id bigserial PRIMARY KEY)", "makes a sequence"),
];

/// Each is as the rules want it.
const GOOD: [&str; 8] = [
    "-- A table of its own: DROP and UPDATE are only words here; so is ';'.
     CREATE TABLE notes (id uuid PRIMARY KEY, text text NOT NULL DEFAULT 'rename; drop');
     CREATE INDEX notes_text ON notes (text);
     ALTER TABLE notes ADD COLUMN about uuid NOT NULL REFERENCES orders (id);",
    "SET lock_timeout = '1s';
     ALTER TABLE orders ADD COLUMN note text, ADD COLUMN gift boolean NOT NULL DEFAULT false;",
    "SET LOCAL lock_timeout TO '500ms';
     ALTER TABLE sales ADD COLUMN seen_at timestamptz NOT NULL DEFAULT now();",
    "SET lock_timeout = 1000; /* milliseconds; DROP nothing */
     ALTER TABLE orders ADD CONSTRAINT few CHECK (quantity < 101) NOT VALID;",
    "SET lock_timeout = '1s'; ALTER TABLE orders VALIDATE CONSTRAINT few;",
    "-- no-transaction\nCREATE INDEX CONCURRENTLY orders_note ON orders (note);",
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN DELETE FROM notes; RETURN NULL; END $$;
     SET lock_timeout = '1s';
     CREATE TRIGGER nothing AFTER DELETE ON notes EXECUTE FUNCTION nothing();",
    "-- unused since 0.9.0
     SET lock_timeout = '1s'; ALTER TABLE orders DROP COLUMN gift;",
];

#[test]
fn what_would_stop_a_sale_is_refused() {
    for (text, rule) in BAD {
        let faults = Migration::of(text).faults();
        assert!(faults.iter().any(|fault| fault.contains(rule)), "{text}: {faults:?}, not {rule}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_not_is_allowed_and_postgresql_takes_it() {
    let database = TestDatabase::create().await;
    for text in GOOD {
        assert_eq!(Migration::of(text).faults(), Vec::<String>::new(), "{text}");
        execute(&database, text).await;
    }
}

/// Back to the foundation: what the later migrations made is gone, what they dropped is there.
const BACK_TO_ONE: &str =
    "DROP FUNCTION books_rows_stay, orders_refer, ledger_entries_refer, lock_for_orders,
         sales_readable CASCADE;
     ALTER TABLE orders DROP COLUMN entry_number;
     CREATE INDEX orders_of_user ON orders (user_id, id);
     ALTER TABLE ledger_entries
         ADD CONSTRAINT ledger_entries_order_id_key UNIQUE (order_id);
     ALTER TABLE users DROP CONSTRAINT users_created_at_readable,
         DROP CONSTRAINT users_texts_readable;
     ALTER TABLE orders ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES wallets,
         ADD CONSTRAINT orders_sale_id_fkey FOREIGN KEY (sale_id) REFERENCES sales;
     ALTER TABLE ledger_entries
         ADD CONSTRAINT ledger_entries_user_id_fkey FOREIGN KEY (user_id) REFERENCES wallets,
         ADD CONSTRAINT ledger_entries_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders;
     DELETE FROM _sqlx_migrations WHERE version > 1";

/// As the rolling upgrade met it: somebody writes the table for longer than a migration may wait.
#[tokio::test]
async fn a_migration_gives_way_to_orders_and_comes_again() {
    let database = TestDatabase::create().await;
    execute(&database, BACK_TO_ONE).await;
    let order = "LOCK TABLE sales IN ROW EXCLUSIVE MODE".to_owned();
    let buys = Held::by(&database, order).await;
    let pool = database.pool().await;
    let mut session = database.session().await;
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let (applied, ()) = tokio::join!(schema::migrate(&pool), async {
        until("it waits", async || number(&mut session, waiting).await > 0).await;
        until("it gives way", async || number(&mut session, waiting).await == 0).await;
        buys.release().await;
    });
    assert_eq!(applied.expect("a second try").len() + 1, version_expected() as usize);
    let found = schema::version_found(&mut session).await.unwrap();
    assert_eq!(found, version_expected());
}

/// Two instances begin with a new database at the same moment. Who waits for the other's currency
/// must see it.
#[tokio::test]
async fn an_instance_that_waits_for_anothers_currency_takes_it() {
    let database = TestDatabase::create().await;
    execute(&database, "DELETE FROM installation").await;
    let settled = "INSERT INTO installation (currency) VALUES ('EUR')".to_owned();
    let mut other = Held::by(&database, settled).await;
    let pool = database.pool().await;
    let ours = tokio::spawn({
        let pool = pool.clone();
        async move { schema::settle_currency(&pool, "EUR").await }
    });
    until_anyone_waits(&database).await;
    run(&mut other.session, "COMMIT").await;
    ours.await.expect("no panic").expect("the same currency");
    let usd = schema::settle_currency(&pool, "USD").await.expect_err("another currency");
    assert!(usd.to_string().contains("EUR"), "{usd}");
    pool.close().await;
}
