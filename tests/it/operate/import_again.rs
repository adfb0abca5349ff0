//! The same file, many times and at once: each user and each opening balance comes once.

use super::{count, ended, file, on, user_id};
use crate::support::postgres::TestDatabase;
use crate::support::service::{assert_balanced, scratch};

/// Rows of the file: twenty batches.
const ROWS: u32 = 20_000;

/// The numbers of "N users made, N opening balances, N unchanged".
fn numbers(text: &str) -> [u32; 3] {
    let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn imports_that_run_at_once_make_each_user_and_each_deposit_once() {
    let database = TestDatabase::create().await;
    ended(&["migrate"], &on(&database), 0).await;
    let place = scratch("operate-import-again");
    let (up, down) = (place.join("up"), place.join("down"));
    std::fs::create_dir(&up).expect("a directory");
    std::fs::create_dir(&down).expect("a directory");
    let mut rows: Vec<String> = (1..=ROWS)
        .map(|number| format!("{},ext-{number},,{}.50", user_id(number), number % 7))
        .collect();
    let up = file(&up, &rows);
    rows.reverse();
    let down = file(&down, &rows);
    let (up, down) = (up.to_str().expect("UTF-8"), down.to_str().expect("UTF-8"));
    let environment = on(&database);
    let import = async |path: &str| {
        let (text, _) = ended(&["import", "users", path], &environment, 0).await;
        numbers(&text)
    };
    let (one, two, three) = tokio::join!(import(up), import(down), import(up));
    let sum = |at: usize| one[at] + two[at] + three[at];
    assert_eq!([sum(0), sum(1), sum(2)], [ROWS, ROWS, 2 * ROWS], "{one:?} {two:?} {three:?}");
    assert_eq!(import(up).await, [0, 0, ROWS]);
    assert_eq!(count(&database, "ledger_entries").await, i64::from(ROWS));
    assert_balanced(&database).await;
}
