//! Least privilege (`deploy/postgres/roles.sql`): the service sells under a role that may neither
//! change the schema nor rewrite what happened; PostgreSQL itself says no.

mod tls;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::Mutex;

use crate::support::api::new_key;
use crate::support::crowd::{Wish, crowd, seed_buyers};
use crate::support::postgres::TestDatabase;
use crate::support::process::run;
use crate::support::{ENGINES, Service};

const ROLES: &str = include_str!("../../deploy/postgres/roles.sql");
/// Roles belong to the whole server: one test at a time makes them.
static MAKING: Mutex<()> = Mutex::const_new(());

/// Runs the script as it stands, and gives the roles a password.
async fn make_roles(database: &TestDatabase) {
    let _turn = MAKING.lock().await;
    let mut session = database.session().await;
    session.execute(sqlx::raw_sql(ROLES)).await.expect("the script runs");
    for role in ["flashdeal_migrator", "flashdeal_service"] {
        let password = format!("ALTER ROLE {role} PASSWORD 'of-{role}'");
        session.execute(sqlx::raw_sql(AssertSqlSafe(password))).await.expect("a password");
    }
    session.close().await.expect("an orderly end");
}

/// The same database in the name of a role.
fn in_the_name_of(role: &str, database: &TestDatabase) -> TestDatabase {
    let (_, rest) = database.url.split_once('@').expect("a URL with a user");
    TestDatabase { url: format!("postgres://{role}:of-{role}@{rest}") }
}

async fn execute(database: &TestDatabase, statement: &str) -> Result<u64, sqlx::Error> {
    let mut session = database.session().await;
    let sql = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    Ok(session.execute(sql).await?.rows_affected())
}

/// Everything that a service does in its life, once with each engine.
#[tokio::test]
async fn the_service_sells_under_the_small_role() {
    for engine in ENGINES {
        let database = TestDatabase::create().await;
        make_roles(&database).await;
        let small = in_the_name_of("flashdeal_service", &database);
        let service = Service::start_on(small.clone(), |raw| {
            raw.migrate = Some("off".to_owned());
            raw.engine = Some(engine.to_owned());
        })
        .await;
        let api = &service.api;
        let (user, sale) = (api.user("20.00").await, api.sale("10.00", 1).await);
        let order = api.buy("k", &user, &sale).await.expect(201);
        assert!(api.buy("k", &user, &sale).await.expect(201).replayed());
        let other = json!({ "user_id": user, "sale_id": sale, "quantity": 2 });
        api.post("/api/orders", "k", &other).await.expect(422);
        assert_eq!(api.buy(&new_key(), &user, &sale).await.code(), "out_of_stock");
        let deposits = format!("/api/users/{user}/wallet/deposits");
        api.post(&deposits, "d", &json!({ "amount": "5.00" })).await.expect(201);
        assert!(api.post(&deposits, "d", &json!({ "amount": "5.00" })).await.replayed());
        let put = format!("/api/users/{}", crate::orders::NOBODY);
        api.put(&put, &json!({ "name": "Ada" })).await.expect(201);
        for path in ["/api/orders", "/api/users", "/api/sales", "/api/audit", "/metrics"] {
            api.get(path).await.expect(200);
        }
        api.get(&format!("/api/orders/{}", order.id())).await.expect(200);
        api.get(&format!("/api/users/{user}/wallet/entries")).await.expect(200);
        // A rush: some win, some give their claims back.
        let buyers = seed_buyers(&database, 40, "10.00").await;
        let rush = api.sale("10.00", 10).await;
        let wishes = buyers.iter().map(|buyer| Wish::unit(buyer, &rush)).collect();
        let replies = crowd(service.running.address, 20, wishes).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 10, "{engine}");
        service.finish().await;
        let environment = [("DATABASE_URL", small.url.as_str()), ("FLASHDEAL_MIGRATE", "off")];
        for command in [&["verify"][..], &["export", "ledger"], &["report", "--sale", &rush]] {
            let output = run(command, &environment).await;
            assert_eq!(output.status.code(), Some(0), "{engine} {command:?}: {output:?}");
        }
    }
}

/// What is refused, in SQL. Whoever takes the service over can say all of this.
const REFUSED: &[&str] = &[
    // the ledger, the orders and the keys are written once
    "UPDATE ledger_entries SET amount = 1000000",
    "DELETE FROM ledger_entries",
    "TRUNCATE ledger_entries",
    "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
    "DROP TRIGGER ledger_rows_stay ON ledger_entries",
    "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql
     AS $$ BEGIN RETURN NEW; END $$",
    "SET session_replication_role = replica",
    "UPDATE orders SET total = 0",
    "DELETE FROM orders",
    "TRUNCATE orders CASCADE",
    "UPDATE idempotency_keys SET resource_id = gen_random_uuid()",
    "TRUNCATE idempotency_keys",
    "ALTER TABLE idempotency_keys DISABLE ROW LEVEL SECURITY",
    "DROP POLICY keys_stay ON idempotency_keys",
    // what a sale and a wallet are does not change
    "UPDATE sales SET unit_price = 0",
    "UPDATE sales SET stock_initial = 1000",
    "UPDATE sales SET starts_at = clock_timestamp()",
    "DELETE FROM sales",
    "UPDATE wallets SET user_id = gen_random_uuid()",
    "DELETE FROM wallets",
    "UPDATE users SET name = 'x'",
    "DELETE FROM users",
    "UPDATE installation SET currency = 'EUR'",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
     VALUES (9999, 'x', true, '', 0)",
    // no schema of its own making
    "CREATE TABLE loot (id int)",
    "CREATE SCHEMA loot",
    "CREATE VIEW loot AS SELECT 1",
    "CREATE FUNCTION loot() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP TABLE orders CASCADE",
    "ALTER TABLE wallets DROP CONSTRAINT wallets_balance_check",
    "ALTER TABLE orders OWNER TO CURRENT_USER",
    "CREATE INDEX loot ON orders (total)",
    "COMMENT ON TABLE orders IS 'x'",
    // no other role, no file, no program
    "SET ROLE flashdeal_migrator",
    "CREATE ROLE loot",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT flashdeal_migrator TO CURRENT_USER",
    "SELECT pg_read_file('postgresql.conf')",
    "COPY orders TO PROGRAM 'cat'",
    "COPY orders FROM '/dev/null'",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
    "ALTER SYSTEM SET fsync = off",
];

#[tokio::test]
async fn what_the_service_must_not_do_is_refused_by_postgresql_itself() {
    let database = TestDatabase::create().await;
    make_roles(&database).await;
    let small = in_the_name_of("flashdeal_service", &database);
    let service = Service::start_on(small.clone(), |raw| raw.migrate = Some("off".into())).await;
    let api = &service.api;
    let (user, sale) = (api.user("20.00").await, api.sale("10.00", 5).await);
    let bought = api.buy("k", &user, &sale).await.expect(201);
    let mut allowed = Vec::new();
    for statement in REFUSED {
        match execute(&small, statement).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {}
            other => allowed.push(format!("{statement}: {other:?}")),
        }
    }
    assert!(allowed.is_empty(), "not refused as insufficient_privilege:\n{}", allowed.join("\n"));
    // A key that bought cannot be deleted: there is no such row for this role, not even for one
    // transaction that began before.
    assert_eq!(execute(&small, "DELETE FROM idempotency_keys").await.expect("no error"), 0);
    let again = api.buy("k", &user, &sale).await.expect(201);
    assert!(again.replayed() && again.bytes == bought.bytes);
    // What the role may write, the constraints still bound.
    for statement in [
        "UPDATE wallets SET balance = -1",
        "UPDATE sales SET stock = stock_initial + 1",
        "INSERT INTO orders SELECT * FROM orders",
        "INSERT INTO installation (currency, only_row) VALUES ('EUR', false)",
    ] {
        let error = execute(&small, statement).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code().map(String::from));
        assert!(
            code.as_deref().is_some_and(|code| code.starts_with("23")),
            "{statement}: {code:?}"
        );
    }
    service.finish().await;
}

/// The order of things in the script's head, in an empty database.
#[tokio::test]
async fn the_migrator_makes_the_tables_and_the_service_cannot() {
    let database = TestDatabase::create().await;
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    execute(&database, empty).await.expect("an empty database");
    make_roles(&database).await;
    let small = in_the_name_of("flashdeal_service", &database);
    let migrator = in_the_name_of("flashdeal_migrator", &database);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for command in [&["migrate"][..], &serve] {
        let output = run(command, &[("DATABASE_URL", &small.url)]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("permission denied"), "{said}");
    }
    let output = run(&["migrate"], &[("DATABASE_URL", &migrator.url)]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Twice: the second run changes nothing.
    make_roles(&database).await;
    make_roles(&database).await;
    let service = Service::start_on(small, |raw| raw.migrate = Some("off".into())).await;
    let (user, sale) = (service.api.user("1.00").await, service.api.sale("1.00", 1).await);
    service.api.buy("k", &user, &sale).await.expect(201);
    service.finish().await;
}
