//! `flashdeal verify`: every kind of damage is found and named.

use serde_json::Value;

use super::{ended, execute, on, seed};
use crate::support::Service;
use crate::support::postgres::TestDatabase;
use crate::support::process::run;

/// One damage: how it is done, how it is undone, and which law names what.
struct Damage {
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
    for damage in damages(&users[0], &sale, &order) {
        execute(&database, &damage.done).await;
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
        execute(&database, &damage.undone).await;
        ended(&run(&["verify"], &environment).await, 0);
    }
    let said = ended(&run(&["verify", "--json"], &environment).await, 0);
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&report["balanced"], &report["orders"]), (&true.into(), &1.into()), "{report}");
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
