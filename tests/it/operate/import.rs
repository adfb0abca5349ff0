//! `flashdeal import users`: what comes in, what is refused; a batch is whole or not there.

use serde_json::json;

use super::{count, ended, execute, file, on, refused, user_id};
use crate::support::Service;
use crate::support::postgres::TestDatabase;
use crate::support::service::{assert_balanced, scratch};

/// A row with everything.
fn row(number: u32, balance: &str) -> String {
    format!("{},ext-{number},\"Person, {number}\",{balance}", user_id(number))
}

#[tokio::test]
async fn users_and_their_money_come_in_and_can_buy() {
    let database = TestDatabase::create().await;
    let place = scratch("operate-import-in");
    let mut rows: Vec<String> = (1..=2_500).map(|number| row(number, "12.34")).collect();
    rows[0] = format!("{},,,", user_id(1));
    let path = file(&place, &rows);
    let path = path.to_str().expect("UTF-8");
    let (text, said) = ended(&["import", "users", path], &on(&database), 0).await;
    assert_eq!(text, "2500 users made, 2499 opening balances, 0 unchanged\n");
    assert!(said.contains("100 %  2500 of 2500 rows read, "), "{said}");

    let service = Service::start_on(database, |_| {}).await;
    let api = &service.api;
    let found = api.get(&format!("/api/users/{}", user_id(2))).await.expect(200);
    assert_eq!(
        (found.text("external_id"), found.text("name")),
        ("ext-2".into(), "Person, 2".into())
    );
    let bare = api.get(&format!("/api/users/{}", user_id(1))).await.expect(200);
    assert!(bare.body["name"].is_null() && bare.body["external_id"].is_null(), "{bare:?}");
    assert_eq!(api.balance(&user_id(1)).await, "0.00");
    let entries = format!("/api/users/{}/wallet/entries", user_id(2));
    let entries = api.get(&entries).await.expect(200);
    assert_eq!(entries.body["items"].as_array().expect("a list").len(), 1, "{entries:?}");
    let entry = &entries.body["items"][0];
    assert_eq!((&entry["type"], &entry["amount"]), (&json!("deposit"), &json!("12.34")));
    assert_eq!(entry["reference"], "opening balance");

    // The opening balance is the deposit that the API knows under this key.
    let deposits = format!("/api/users/{}/wallet/deposits", user_id(2));
    let deposit = json!({ "amount": "12.34", "reference": "opening balance" });
    let again = api.post(&deposits, "flashdeal-import-opening-balance", &deposit).await;
    assert!(again.replayed() && again.body["id"] == entry["id"], "{again:?}");
    let sale = api.sale("12.34", 1).await;
    api.buy("key", &user_id(2), &sale).await.expect(201);

    // A second run changes nothing, whatever was bought since.
    let (text, _) = ended(&["import", "users", path], &on(&service.database), 0).await;
    assert_eq!(text, "0 users made, 0 opening balances, 2500 unchanged\n");
    assert_eq!(api.balance(&user_id(2)).await, "0.00");
    service.finish().await;
}

#[tokio::test]
async fn a_bad_row_is_named_and_nothing_is_imported() {
    let database = TestDatabase::create().await;
    let place = scratch("operate-import-bad");
    let mut rows: Vec<String> = (1..=1_200).map(|number| row(number, "1.00")).collect();
    rows[1_099] = row(1_100, "1.005");
    rows[1_149] = format!("{},ext-7,,1.00", user_id(1_150));
    let path = file(&place, &rows);
    let import = ["import", "users", path.to_str().expect("UTF-8")];
    let (text, said) = ended(&import, &on(&database), 1).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((text.as_str(), lines.len()), ("", 3), "{said}");
    assert!(
        lines[0].starts_with("flashdeal: line 1101: balance \"1.005\": an amount is"),
        "{said}"
    );
    assert_eq!(lines[1], "flashdeal: line 1151: external_id \"ext-7\" stands on line 8 already");
    assert_eq!(lines[2], "flashdeal: 2 faults: nothing was imported");
    assert_eq!(count(&database, "users").await, 0);

    let missing = place.join("missing.csv");
    let missing = missing.to_str().expect("UTF-8");
    for wrong in [missing, place.to_str().expect("UTF-8")] {
        assert!(refused(&["import", "users", wrong], &on(&database), 2).await.contains(wrong));
    }
    ended(&["import", "users"], &on(&database), 2).await;
    ended(&["import", "sales", missing], &on(&database), 2).await;
    assert_balanced(&database).await;
}

#[tokio::test]
async fn a_batch_with_a_contradiction_is_left_out_whole() {
    let database = TestDatabase::create().await;
    let place = scratch("operate-import-contradiction");
    let path = file(&place, &[row(2_001, "5.00"), row(2_002, "5.00"), row(5_001, "5.00")]);
    let import = ["import", "users", path.to_str().expect("UTF-8")];
    ended(&import, &on(&database), 0).await;

    // Lines 2 to 1001 are one batch, 1002 to 2001 the next, then the rest.
    let mut rows: Vec<String> = (1..=2_000).map(|number| row(number, "1.00")).collect();
    rows[1_499] = format!("{},ext-5001,,1.00", user_id(1_500));
    rows.extend([row(2_001, "6.00"), row(2_002, "5.00"), row(2_003, "5.00")]);
    rows.push(format!(
        "{},ext-other,\"Person, 2002\",0.00",
        user_id(2_002).replace("2002", "2004")
    ));
    file(&place, &rows);
    let (text, said) = ended(&import, &on(&database), 1).await;
    assert_eq!(text, "1000 users made, 1000 opening balances, 0 unchanged\n");
    for sentence in [
        format!("line 1501: external_id \"ext-5001\" belongs to user {}", user_id(5_001)),
        format!("line 2002: user {} was imported with 5.00, the file says 6.00", user_id(2_001)),
        "2 rows contradict the database: 1004 rows in their batches were left out; correct the \
         file and run it again"
            .to_owned(),
    ] {
        let named = said.lines().any(|line| line == format!("flashdeal: {sentence}"));
        assert!(named, "{sentence} is missing in\n{said}");
    }
    assert_eq!(count(&database, "users").await, 1_003, "the first batch, and who was there");
    let keys = "idempotency_keys WHERE operation = 'deposit'";
    assert_eq!(count(&database, keys).await, 1_003, "no key stays claimed");
    assert_balanced(&database).await;

    rows[1_499] = row(1_500, "1.00");
    rows[2_000] = row(2_001, "5.00");
    file(&place, &rows);
    let (text, _) = ended(&import, &on(&database), 0).await;
    assert_eq!(text, "1002 users made, 1001 opening balances, 1002 unchanged\n");
    assert_balanced(&database).await;
}

#[tokio::test]
async fn who_is_there_already_gets_money_only_into_an_unused_wallet() {
    let service = Service::start().await;
    let api = &service.api;
    for number in 1..=3 {
        let body =
            json!({ "external_id": format!("ext-{number}"), "name": format!("Person, {number}") });
        api.put(&format!("/api/users/{}", user_id(number)), &body).await.expect(201);
    }
    let deposits = format!("/api/users/{}/wallet/deposits", user_id(2));
    api.post(&deposits, "own", &json!({ "amount": "7.00" })).await.expect(201);
    let path = file(&scratch("operate-import-there"), &[row(1, "5.00"), row(3, "")]);
    let import = ["import", "users", path.to_str().expect("UTF-8")];
    let (text, _) = ended(&import, &on(&service.database), 0).await;
    assert_eq!(text, "0 users made, 1 opening balances, 1 unchanged\n");
    assert_eq!(api.balance(&user_id(1)).await, "5.00");

    let said = {
        let other = format!("{},ext-3,Someone,0.00", user_id(3));
        file(&scratch("operate-import-there"), &[row(2, "5.00"), other, row(4, "5.00")]);
        ended(&import, &on(&service.database), 1).await.1
    };
    let used = format!("line 2: the wallet of user {} has 1 entries", user_id(2));
    let name =
        format!("line 3: user {} has name \"Person, 3\", the file says \"Someone\"", user_id(3));
    assert!(said.contains(&used) && said.contains(&name), "{said}");
    assert_eq!(api.balance(&user_id(2)).await, "7.00");
    api.get(&format!("/api/users/{}", user_id(4))).await.expect(404);
    service.finish().await;
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_batch_leaves_nothing_of_it() {
    let database = TestDatabase::create().await;
    ended(&["migrate"], &on(&database), 0).await;
    let path = file(
        &scratch("operate-import-failure"),
        &(1..=1_500).map(|number| row(number, "1.00")).collect::<Vec<_>>(),
    );
    let import = ["import", "users", path.to_str().expect("UTF-8")];
    // The schema refuses one entry of the second batch, after keys, users and wallets are written.
    let guard = format!("CHECK (user_id <> '{}')", user_id(1_234));
    execute(&database, &format!("ALTER TABLE ledger_entries ADD CONSTRAINT test {guard}")).await;
    let (_, said) = ended(&import, &on(&database), 1).await;
    assert!(said.contains("flashdeal: lines 1002 to 1501: "), "{said}");
    assert_eq!(count(&database, "users").await, 1_000);
    assert_eq!(count(&database, "idempotency_keys").await, 1_000);
    assert_balanced(&database).await;
    execute(&database, "ALTER TABLE ledger_entries DROP CONSTRAINT test").await;
    let (text, _) = ended(&import, &on(&database), 0).await;
    assert_eq!(text, "500 users made, 500 opening balances, 1000 unchanged\n");
    assert_balanced(&database).await;
}
