//! The operator's commands, through the real binary against a real PostgreSQL: what they print,
//! what they leave behind, and that the books balance afterwards.

mod beside;
pub(crate) mod export;
mod import;
mod import_again;
mod rehearse;
mod report;

use std::path::{Path, PathBuf};

use crate::support::locks::{execute, number};
use crate::support::postgres::TestDatabase;
use crate::support::process::{run, stderr, stdout};

/// The environment of a command on a test's database. The log is as it is shipped: silence must
/// come from the command.
fn on(database: &TestDatabase) -> Vec<(&str, &str)> {
    vec![("DATABASE_URL", database.url.as_str())]
}

/// Runs a command that must end with this code; returns what it printed on both outputs.
async fn ended(arguments: &[&str], environment: &[(&str, &str)], code: i32) -> (String, String) {
    let output = run(arguments, environment).await;
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    (stdout(&output), stderr(&output))
}

/// Runs a command that must be refused with one sentence; returns it.
async fn refused(arguments: &[&str], environment: &[(&str, &str)], code: i32) -> String {
    let (out, said) = ended(arguments, environment, code).await;
    assert_eq!(out, "", "standard output belongs to results");
    assert!(said.starts_with("flashdeal: ") && said.lines().count() == 1, "{said}");
    said
}

async fn count(database: &TestDatabase, table: &str) -> i64 {
    number(&mut database.session().await, format!("SELECT count(*) FROM {table}")).await
}

/// The id of user `number`, in ascending order.
fn user_id(number: u32) -> String {
    format!("0190d000-0000-7000-8000-{number:012}")
}

/// Writes a file of users; returns where.
fn file(place: &Path, rows: &[String]) -> PathBuf {
    let path = place.join("users.csv");
    let text = format!("id,external_id,name,balance\n{}\n", rows.join("\n"));
    std::fs::write(&path, text).expect("a file");
    path
}
