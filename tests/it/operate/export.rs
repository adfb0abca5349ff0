//! `flashdeal export`: every row once, exact, of one moment, in constant memory, for a reader who
//! may leave at any time.

use std::process::Stdio;
use std::time::Duration;

use flashdeal::domain::money::Money;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use super::{count, ended, execute, on, refused};
use crate::support::Service;
use crate::support::api::new_key;
use crate::support::postgres::TestDatabase;
use crate::support::process::flashdeal;
use crate::support::service::assert_balanced;

/// The sale of the large table.
pub(crate) const SALE: &str = "0190e000-0000-7000-8000-000000000001";
/// Rows of the large table.
const MANY: i64 = 200_000;
/// What an export of it may take of memory, in KiB: the program itself and a few buffers. The rows
/// as text are three times as much.
const MEMORY_MAX: u64 = 48 * 1024;

/// The lines of an export as objects, whichever format.
async fn rows(database: &TestDatabase, arguments: &[&str]) -> (Vec<Value>, Vec<Value>) {
    let with = |format| [&["export"], arguments, &["--format", format]].concat();
    let (text, said) = ended(&with("ndjson"), &on(database), 0).await;
    assert_eq!(said, "", "nothing but rows");
    let json = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (text, _) = ended(&with("csv"), &on(database), 0).await;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().expect("a header").clone();
    let records = reader.records().map(|record| {
        let record = record.expect("a row");
        let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        cells.map(|(name, cell)| (name.to_owned(), json!(cell))).collect()
    });
    (json, records.collect())
}

/// Numbers as text, as CSV has them.
fn flat(row: &Value) -> Value {
    let members = row.as_object().expect("an object").iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        (name.clone(), json!(text))
    });
    members.collect()
}

#[tokio::test]
async fn both_formats_hold_the_books_exactly_and_no_cell_is_a_formula() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("99999999999.99").await;
    let sale = api
        .sale_with(
            json!({ "name": "=HYPERLINK(\"x\")", "sku": "'+1", "unit_price": "0.10", "stock": 9 }),
        )
        .await;
    let mut orders = Vec::new();
    for reference in ["@cmd", "plain, with \"quotes\" and ö"] {
        let body =
            json!({ "user_id": user, "sale_id": sale, "quantity": 3, "reference": reference });
        orders.push(api.post("/api/orders", &new_key(), &body).await.expect(201).body);
    }
    let second = api.sale("1.00", 1).await;
    api.buy(&new_key(), &user, &second).await.expect(201);
    let database = &service.database;

    let (json, csv) = rows(database, &["orders", "--sale", &sale]).await;
    assert_eq!(json.len(), 2, "{json:?}");
    for ((found, order), sequence) in json.iter().zip(&orders).zip(1..) {
        let mut expected = order.clone();
        expected["sequence"] = sequence.into();
        assert_eq!(found, &expected);
    }
    assert_eq!((&csv[0]["reference"], &csv[1]), (&json!("'@cmd"), &flat(&json[1])));
    assert_eq!(rows(database, &["orders"]).await.0.len(), 3);

    let (json, csv) = rows(database, &["sales", "--sale", &sale]).await;
    assert_eq!((&json[0]["name"], &json[0]["sku"]), (&json!("=HYPERLINK(\"x\")"), &json!("'+1")));
    assert_eq!((&csv[0]["name"], &csv[0]["sku"]), (&json!("'=HYPERLINK(\"x\")"), &json!("''+1")));
    assert_eq!((&json[0]["stock"], &csv[0]["unit_price"]), (&json!(3), &json!("0.10")));

    let (json, csv) = rows(database, &["ledger"]).await;
    assert_eq!(csv, json.iter().map(flat).map(guarded).collect::<Vec<_>>());
    let amounts: Vec<&str> = json.iter().map(|row| row["amount"].as_str().expect("text")).collect();
    assert_eq!(amounts, ["99999999999.99", "-0.30", "-0.30", "-1.00"]);
    let last = json[3]["balance_after"].as_str().expect("text");
    assert_eq!(Money::parse(last), Ok(Money::parse("99999999998.39").expect("money")));
    assert_eq!(rows(database, &["ledger", "--sale", &sale]).await.0, json[1..3]);
    service.finish().await;
}

/// A text as CSV has it.
fn guarded(mut row: Value) -> Value {
    if row["reference"] == "@cmd" {
        row["reference"] = json!("'@cmd");
    }
    row
}

/// The sale [`SALE`] with so many orders of a thousand users and ten units left, by the books.
pub(crate) async fn sell_many(database: &TestDatabase, many: i64) {
    let statements = format!(
        "CREATE TEMP TABLE o AS
         SELECT n, 1 + n % 1000 AS u, 1 + n / 1000 AS k, gen_random_uuid() AS id,
                ('0190d000-0000-7000-8000-' || lpad((1 + n % 1000)::text, 12, '0'))::uuid
                  AS user_id,
                timestamptz '2026-01-01 00:00:00Z' + n * interval '1 ms' AS at
         FROM generate_series(0, {many} - 1) AS n;
         INSERT INTO users (id, created_at) SELECT user_id, min(at) FROM o GROUP BY user_id;
         INSERT INTO wallets (user_id, balance, entry_count)
         SELECT user_id, 1000 - count(*), 1 + count(*) FROM o GROUP BY user_id;
         INSERT INTO sales (id, name, unit_price, stock, stock_initial, starts_at, order_count)
         VALUES ('{SALE}', 'Many', 1.00, 10, {many} + 10,
                 '2026-01-01 00:00:00Z', {many});
         INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                             balance_after, created_at, entry_number)
         SELECT id, user_id, '{SALE}', n + 1, 1, 1.00, 1.00,
                1000 - k, at, k + 1 FROM o;
         INSERT INTO ledger_entries (user_id, number, id, type, amount, balance_after, order_id,
                                     created_at)
         SELECT user_id, 1, gen_random_uuid(), 'deposit', 1000, 1000, NULL::uuid, min(at)
         FROM o GROUP BY user_id
         UNION ALL
         SELECT user_id, k + 1, gen_random_uuid(), 'order', -1, 1000 - k, id, at FROM o;
         INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
         SELECT 'key-' || n, user_id, 'order', decode(repeat('00', 32), 'hex'), id FROM o;"
    );
    execute(database, &statements).await;
}

fn export_of_many(database: &TestDatabase) -> Child {
    let mut command = flashdeal(&["export", "orders"], &on(database));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child")
}

/// The most memory that a process ever had, in KiB; 0 where `/proc` does not tell.
fn memory_peak(child: &Child) -> u64 {
    let path = format!("/proc/{}/status", child.id().expect("a running child"));
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |number| number.parse().expect("KiB"))
}

#[tokio::test]
async fn a_large_export_is_of_one_moment_and_in_constant_memory() {
    let database = TestDatabase::create().await;
    ended(&["migrate"], &on(&database), 0).await;
    sell_many(&database, MANY).await;
    let service = Service::start_on(database, |_| {}).await;
    let mut child = export_of_many(&service.database);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let header = lines.next_line().await.expect("a line").expect("a header");
    assert!(header.starts_with("id,user_id,sale_id,sequence,"), "{header}");

    // Whatever happens now, the pipe being full, is after the moment of the export.
    let later = service.api.buy("later", &super::user_id(1), SALE).await.expect(201).id();
    let (mut found, mut peak) = (0, 0);
    while let Some(line) = lines.next_line().await.expect("UTF-8") {
        found += 1;
        assert!(!line.starts_with(&later), "an order of a later moment");
        if found == MANY * 9 / 10 {
            // The rest still waits in the pipe, so the process lives.
            peak = memory_peak(&child);
        }
        if found == MANY - 1_000 {
            // The server has sent all; its session must wait longer than a forgotten one may.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
    assert_eq!((found, child.wait().await.expect("an end").code()), (MANY, Some(0)));
    println!("{MANY} rows, at most {peak} KiB resident");
    assert!(peak < MEMORY_MAX, "{peak} KiB");
    assert_eq!(count(&service.database, "orders").await, MANY + 1);

    // A reader who leaves after a line ends the export without a word.
    let mut child = export_of_many(&service.database);
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    output.read_line(&mut String::new()).await.expect("a line");
    drop(output);
    let mut said = String::new();
    child.stderr.take().expect("its errors").read_to_string(&mut said).await.expect("UTF-8");
    let ended = timeout(Duration::from_secs(20), child.wait()).await.expect("an end in time");
    assert_eq!((ended.expect("an end").code(), said.as_str()), (Some(0), ""));
    service.finish().await;
}

#[tokio::test]
async fn an_empty_table_has_a_header_and_an_unknown_sale_is_refused() {
    let database = TestDatabase::create().await;
    ended(&["migrate"], &on(&database), 0).await;
    let (text, _) = ended(&["export", "orders"], &on(&database), 0).await;
    assert!(text.starts_with("id,user_id,") && text.lines().count() == 1, "{text}");
    let (text, _) = ended(&["export", "orders", "--format", "ndjson"], &on(&database), 0).await;
    assert_eq!(text, "");
    let nobody = super::user_id(1);
    for table in ["orders", "ledger", "sales"] {
        let said = refused(&["export", table, "--sale", &nobody], &on(&database), 1).await;
        assert!(said.contains(&format!("no sale has the id {nobody}")), "{said}");
        refused(&["export", table, "--sale", "seven"], &on(&database), 2).await;
    }
    for wrong in [&["export"][..], &["export", "keys"], &["export", "orders", "--format", "xls"]] {
        ended(wrong, &on(&database), 2).await;
    }
    assert_balanced(&database).await;
}
