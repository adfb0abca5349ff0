//! The laws that no single statement of an operator breaks by mistake: each is broken behind the
//! guards of the database, and named; by `verify`, and by a service that runs on such books.

use serde_json::json;

use super::books::{Damage, damage, each_is_named};
use crate::orders::NOBODY;
use crate::support::Service;
use crate::support::api::new_key;
use crate::support::locks::{execute, until};
use crate::support::process::ServeProcess;
use crate::support::service::assert_balanced;

/// Without the triggers that would refuse it.
fn unseen(law: &'static str, subject: &str, done: String, undone: String) -> Damage {
    let unseen = |statement: String| format!("SET session_replication_role = replica; {statement}");
    damage(&unseen(done), &unseen(undone), law, subject)
}

fn damages(buyer: &str, sale: &str, order: &str) -> Vec<Damage> {
    let in_sale = |change: &str| format!("UPDATE sales SET {change} WHERE id = '{sale}'");
    let in_order = |change: &str| format!("UPDATE orders SET {change} WHERE id = '{order}'");
    let in_wallet = |change: &str| format!("UPDATE wallets SET {change} WHERE user_id = '{buyer}'");
    let first = |change: &str| {
        format!("UPDATE ledger_entries SET {change} WHERE user_id = '{buyer}' AND type = 'deposit'")
    };
    let stray = format!(
        "INSERT INTO ledger_entries (user_id, number, id, type, amount, balance_after, order_id,
                                     created_at)
         VALUES ('{NOBODY}', 1, '{NOBODY}', 'order', -1, 0, '{NOBODY}', now())"
    );
    let no_stray = format!("DELETE FROM ledger_entries WHERE id = '{NOBODY}'");
    let (of_sale, of_order) = (format!("sale {sale}"), format!("order {order}"));
    let of_both = format!("user {buyer} in sale {sale}");
    let end = format!("ends_at = (SELECT created_at FROM orders WHERE id = '{order}')");
    vec![
        unseen("sequence_unbroken", &of_sale, in_order("sequence = 2"), in_order("sequence = 1")),
        unseen(
            "sequence_unbroken",
            &of_sale,
            in_sale("order_count = 2"),
            in_sale("order_count = 1"),
        ),
        unseen(
            "limit_kept",
            &of_both,
            in_sale("per_user_limit = 1"),
            in_sale("per_user_limit = 2"),
        ),
        unseen(
            "window_kept",
            &of_order,
            in_sale("starts_at = starts_at + interval '1 day'"),
            in_sale("starts_at = starts_at - interval '1 day'"),
        ),
        unseen("window_kept", &of_order, in_sale(&end), in_sale("ends_at = NULL")),
        unseen(
            "money_conserved",
            "the installation",
            in_wallet("balance = balance + 1"),
            in_wallet("balance = balance - 1"),
        ),
        unseen(
            "money_conserved",
            "the installation",
            in_order("unit_price = unit_price + 1, total = total + 2"),
            in_order("unit_price = unit_price - 1, total = total - 2"),
        ),
        unseen(
            "money_conserved",
            "the installation",
            first("amount = amount + 1"),
            first("amount = amount - 1"),
        ),
        unseen("debit_has_order", &format!("entry {NOBODY}"), stray, no_stray),
    ]
}

#[tokio::test]
async fn verify_finds_what_only_a_broken_guard_lets_through() {
    let service = Service::start().await;
    let api = &service.api;
    let buyer = api.user("20.00").await;
    let sale = json!({ "unit_price": "9.00", "stock": 5, "per_user_limit": 2 });
    let sale = api.sale_with(sale).await;
    let two = json!({ "user_id": buyer, "sale_id": sale, "quantity": 2 });
    let order = api.post("/api/orders", &new_key(), &two).await.expect(201).id();
    let entries = api.get(&format!("/api/users/{buyer}/wallet/entries")).await.expect(200);
    let entry = |of: &str| {
        let mut entries = entries.body["items"].as_array().expect("a list").iter();
        let found = entries.find(|entry| entry["type"] == of).expect("an entry");
        found["id"].as_str().expect("an id").to_owned()
    };
    let (deposit, debit) = (entry("deposit"), entry("order"));
    let database = service.finish().await;

    each_is_named(&database, damages(&buyer, &sale, &order)).await;
    for (entry, done, undone) in [
        (&deposit, "balance_after = balance_after + 1", "balance_after = balance_after - 1"),
        // The last one, so that only its number is wrong.
        (&debit, "number = 9", "number = 2"),
    ] {
        let chained = format!("entry {entry} of wallet {buyer}");
        let set = |change| format!("UPDATE ledger_entries SET {change} WHERE id = '{entry}'");
        let damage = unseen("ledger_chained", &chained, set(done), set(undone));
        each_is_named(&database, vec![damage]).await;
    }
    assert_balanced(&database).await;
}

/// A service on books that are off goes on selling, and says so wherever somebody looks.
#[tokio::test]
async fn a_service_on_books_that_are_off_says_so_everywhere() {
    let service = Service::start().await;
    let sale = service.api.sale("1.00", 5).await;
    let database = service.finish().await;
    let stock = |change: &str| format!("UPDATE sales SET stock = stock {change}");
    execute(&database, &stock("- 1")).await;
    let on_them = [("DATABASE_URL", &*database.url)];
    let (process, log) = ServeProcess::logged("books-off", &on_them).await;
    let audit = process.api.get("/api/audit").await.expect(200);
    let found = audit.body["discrepancies"].as_array().expect("a list");
    assert_eq!((&audit.body["balanced"], found.len()), (&json!(false), 1), "{audit:?}");
    assert_eq!(found[0]["subject"], format!("sale {sale}"));
    let shown = async |line: &str| {
        let page = process.api.get("/metrics").await.expect(200).bytes;
        String::from_utf8_lossy(&page).lines().any(|found| found == line)
    };
    until("the gauge says so", async || shown("ledger_discrepancies 1").await).await;
    let told = process.end_of_log(&log).await;
    let alarm = told.iter().any(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && message.starts_with("ALARM: the books do not balance")
    });
    assert!(alarm, "{told:?}");
    execute(&database, &stock("+ 1")).await;
    assert_balanced(&database).await;
}
