//! `flashdeal verify`: every kind of damage is found and named.

use serde_json::{Value, json};

use super::{ended, execute, on, seed};
use crate::orders::NOBODY;
use crate::support::Service;
use crate::support::postgres::TestDatabase;
use crate::support::process::run;
use crate::support::service::assert_balanced;

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// One damage: how it is done, how it is undone, and which law names what.
pub(super) struct Damage {
    done: String,
    undone: String,
    law: &'static str,
    subject: String,
}

/// Switches the ledger's guard off around a statement.
fn unguarded(statement: &str) -> String {
    format!(
        "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_rows_stay; {statement};
         ALTER TABLE ledger_entries ENABLE TRIGGER ledger_rows_stay"
    )
}

fn damages(user: &str, sale: &str, order: &str) -> Vec<Damage> {
    let balance = |change: &str| {
        format!("UPDATE wallets SET balance = balance {change} WHERE user_id = '{user}'")
    };
    let stock =
        |change: &str| format!("UPDATE sales SET stock = stock {change} WHERE id = '{sale}'");
    let debit = |change: &str| {
        let change = format!("SET amount = amount {change} WHERE order_id = '{order}'");
        unguarded(&format!("UPDATE ledger_entries {change}"))
    };
    let keep = format!(
        "CREATE TABLE kept AS SELECT * FROM idempotency_keys WHERE resource_id = '{order}';
         DELETE FROM idempotency_keys WHERE resource_id = '{order}'"
    );
    vec![
        Damage {
            done: balance("+ 0.01"),
            undone: balance("- 0.01"),
            law: "balance_is_ledger",
            subject: format!("wallet {user}"),
        },
        Damage {
            done: stock("- 1"),
            undone: stock("+ 1"),
            law: "stock_conserved",
            subject: format!("sale {sale}"),
        },
        Damage {
            done: debit("+ 0.01"),
            undone: debit("- 0.01"),
            law: "order_paid",
            subject: format!("order {order}"),
        },
        Damage {
            done: keep,
            undone: "INSERT INTO idempotency_keys SELECT * FROM kept".to_owned(),
            law: "one_order_per_key",
            subject: format!("order {order}"),
        },
    ]
}

/// What was made, and who else is there.
struct Made {
    buyer: String,
    other: String,
    sale: String,
    order: String,
    deposit: String,
}

impl Made {
    /// Keys without what they made, made twice, or somebody else's.
    fn damaged_keys(&self) -> Vec<Damage> {
        let Made { buyer, other, deposit, .. } = self;
        let of = |key: &str| format!("idempotency_keys WHERE key = '{key}'");
        let given = |to: &str| {
            let of_deposit = format!("WHERE resource_id = '{deposit}'");
            format!("UPDATE idempotency_keys SET user_id = '{to}' {of_deposit}")
        };
        let named = format!("deposit {deposit}");
        let mut damages = vec![
            damage(
                &format!("CREATE TABLE lost AS SELECT * FROM {0}; DELETE FROM {0}", of("first")),
                "INSERT INTO idempotency_keys SELECT * FROM lost",
                "keys_kept",
                &named,
            ),
            damage(&given(other), &given(buyer), "keys_kept", &named),
            damage(
                &format!(
                    "INSERT INTO idempotency_keys
                     SELECT 'again', user_id, operation, fingerprint, resource_id FROM {}",
                    of("first")
                ),
                &format!("DELETE FROM {}", of("again")),
                "keys_kept",
                &named,
            ),
        ];
        for operation in ["deposit", "user", "sale"] {
            let of_nothing = format!(
                "INSERT INTO idempotency_keys
                 VALUES ('nothing', '{NIL}', '{operation}', sha256('x'), '{NOBODY}')"
            );
            let subject = format!("{operation} {NOBODY}");
            let undone = format!("DELETE FROM {}", of("nothing"));
            damages.push(damage(&of_nothing, &undone, "keys_kept", &subject));
        }
        damages
    }

    /// An order that is not as its key, its sale and its debit have it; a user without a wallet.
    fn damaged_company(&self) -> Vec<Damage> {
        let Made { buyer, other, sale, order, .. } = self;
        let price =
            |change: &str| format!("UPDATE sales SET unit_price = {change} WHERE id = '{sale}'");
        let debit = |change: &str| {
            let change = format!("UPDATE ledger_entries SET {change} WHERE order_id = '{order}'");
            unguarded(&change)
        };
        let given = |to: &str| {
            format!("UPDATE idempotency_keys SET user_id = '{to}' WHERE resource_id = '{order}'")
        };
        let named = format!("order {order}");
        vec![
            damage(&price("9.89"), &price("9.90"), "price_kept", &named),
            damage(&given(other), &given(buyer), "one_order_per_key", &named),
            damage(&debit("reference = 'x'"), &debit("reference = NULL"), "order_paid", &named),
            damage(
                &debit("created_at = created_at + interval '1us'"),
                &debit("created_at = created_at - interval '1us'"),
                "order_paid",
                &named,
            ),
            damage(
                &format!("INSERT INTO users (id) VALUES ('{NOBODY}')"),
                &format!("DELETE FROM users WHERE id = '{NOBODY}'"),
                "user_has_wallet",
                &format!("user {NOBODY}"),
            ),
        ]
    }
}

pub(super) fn damage(done: &str, undone: &str, law: &'static str, subject: &str) -> Damage {
    Damage { done: done.to_owned(), undone: undone.to_owned(), law, subject: subject.to_owned() }
}

/// Does each damage, reads what `verify` says of it, and undoes it: then the books balance again.
pub(super) async fn each_is_named(database: &TestDatabase, damages: Vec<Damage>) {
    let environment = on(database, &[]);
    for damage in damages {
        execute(database, &damage.done).await;
        let said = ended(&run(&["verify"], &environment).await, 1);
        let named = format!("{}: {}: expected ", damage.law, damage.subject);
        assert!(said.lines().any(|line| line.starts_with(&named)), "{named} is missing in {said}");
        assert!(said.contains("the books do not balance: "), "{said}");
        let said = ended(&run(&["verify", "--json"], &environment).await, 1);
        let report: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(report["balanced"], false, "{report}");
        let found = report["discrepancies"].as_array().expect("a list");
        let named = |entry: &&Value| {
            entry["law"] == damage.law && entry["subject"] == damage.subject.as_str()
        };
        assert!(found.iter().any(|entry| named(&entry)), "{} in {report}", damage.law);
        execute(database, &damage.undone).await;
        ended(&run(&["verify"], &environment).await, 0);
    }
}

#[tokio::test]
async fn verify_finds_and_names_every_damage() {
    let database = TestDatabase::create().await;
    let url = database.clone();
    let environment = on(&url, &[]);
    let (sale, users) = seed(&environment, &[]).await;
    let service = Service::start_on(database, |_| {}).await;
    let order = service.api.buy("key", &users[0], &sale).await.expect(201).id();
    let database = service.finish().await;

    let sound = ended(&run(&["verify"], &environment).await, 0);
    assert_eq!(sound, "the books balance (1 sales, 3 wallets, 1 orders)\n");
    each_is_named(&database, damages(&users[0], &sale, &order)).await;
    let said = ended(&run(&["verify", "--json"], &environment).await, 0);
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&report["balanced"], &report["orders"]), (&true.into(), &1.into()), "{report}");
}

/// Everything that is made with and without a key: users with and without an opening balance, a
/// first and a second deposit, a sale, an order. The first deposit is lost as the second would be.
#[tokio::test]
async fn verify_finds_what_a_key_a_price_a_debit_or_a_user_lacks() {
    let database = TestDatabase::create().await;
    seed(&on(&database, &[]), &[]).await;
    let service = Service::start_on(database, |_| {}).await;
    let api = &service.api;
    let made = api.post("/api/users", "poor", &json!({ "name": "Ada" })).await.expect(201);
    let (buyer, other) = (made.id(), api.user("20.00").await);
    let wallet = format!("/api/users/{buyer}/wallet/deposits");
    let deposit = api.post(&wallet, "first", &json!({ "amount": "20.00" })).await.expect(201).id();
    api.post(&wallet, "second", &json!({ "amount": "1.00" })).await.expect(201);
    let sale = api.sale("9.90", 5).await;
    let order = api.buy("key", &buyer, &sale).await.expect(201).id();
    let database = service.finish().await;

    let made = Made { buyer, other, sale, order, deposit };
    each_is_named(&database, made.damaged_keys()).await;
    each_is_named(&database, made.damaged_company()).await;
    assert_balanced(&database).await;
}

#[tokio::test]
async fn the_ledger_refuses_changes_while_its_guard_stands() {
    let database = TestDatabase::create().await;
    seed(&on(&database, &[]), &[]).await;
    let mut session = database.session().await;
    for statement in [
        "UPDATE ledger_entries SET amount = amount + 1",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
    ] {
        let refused = sqlx::query(statement).execute(&mut session).await;
        let said = refused.expect_err("the guard stands").to_string();
        assert!(said.contains("append-only"), "{statement}: {said}");
    }
    ended(&run(&["verify"], &on(&database, &[])).await, 0);
}
