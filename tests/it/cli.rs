//! The command line: what it says of itself, and what each command does to a database.

mod bad_values;
mod books;
mod laws;
mod refusals;

use std::process::Output;

use serde_json::Value;

use crate::support::Service;
use crate::support::api::new_key;
use crate::support::locks::execute;
use crate::support::postgres::TestDatabase;
use crate::support::process::{ServeProcess, run, stderr, stdout};

/// Settings of a process on a test's database.
fn on<'a>(database: &'a TestDatabase, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut environment = vec![("DATABASE_URL", database.url.as_str()), ("FLASHDEAL_LOG", "off")];
    environment.extend_from_slice(more);
    environment
}

/// Panics unless the command ended so; returns what it printed on standard output.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    stdout(output)
}

/// Panics unless the command ended with this code and one sentence; returns it.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    ended(output, code);
    assert_eq!(stdout(output), "", "standard output belongs to results");
    let said = stderr(output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "one sentence: {said}");
    assert!(said.starts_with("flashdeal: "), "{said}");
    assert!(!said.contains("panicked") && !said.contains("Error {"), "{said}");
    said
}

/// Takes everything out of a database, as if it had never been migrated.
async fn emptied() -> TestDatabase {
    let database = TestDatabase::create().await;
    execute(&database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    database
}

/// Runs `seed`; returns the sale and the users.
async fn seed(environment: &[(&str, &str)], more: &[&str]) -> (String, Vec<String>) {
    let mut arguments = vec!["seed", "--users", "3", "--balance", "20.00", "--stock", "5"];
    arguments.extend(["--price", "9.90"]);
    arguments.extend(more);
    let said = ended(&run(&arguments, environment).await, 0);
    assert_eq!(said.lines().count(), 1, "one JSON object: {said}");
    let made: Value = serde_json::from_str(&said).expect("JSON");
    let members: Vec<&String> = made.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["sale_id", "user_ids"]);
    let users = made["user_ids"].as_array().expect("a list").iter();
    let users = users.map(|id| id.as_str().expect("an id").to_owned()).collect();
    (made["sale_id"].as_str().expect("an id").to_owned(), users)
}

#[tokio::test]
async fn help_names_every_command_and_version_prints_one() {
    let help = ended(&run(&["--help"], &[]).await, 0);
    for name in ["serve", "migrate", "seed", "verify", "token"] {
        let listed = help.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
        assert!(listed, "{name} is missing in\n{help}");
    }
    for name in ["DATABASE_URL", "FLASHDEAL_LISTEN", "FLASHDEAL_SHUTDOWN_GRACE", "FLASHDEAL_AUTH"] {
        assert!(help.contains(name), "{name} is missing in\n{help}");
    }
    // What only some commands take stands in a section of its own, with what it means.
    for (flag, meaning) in [
        ("--users <USERS>", "1 to 1000000"),
        ("--json", "JSON"),
        ("--ttl <TTL>", "1s to 24h"),
        ("--time-limit <TIME>", "1s to 10m"),
        ("--metrics-url <URL>", "/metrics"),
        ("--format <FORMAT>", "csv"),
    ] {
        let listed = help.lines().any(|line| line.contains(flag) && line.contains(meaning));
        assert!(listed, "{flag} is missing in\n{help}");
    }
    let version = ended(&run(&["--version"], &[]).await, 0);
    assert_eq!(version, format!("flashdeal {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn migrate_says_what_it_applied_and_then_that_nothing_is_left() {
    let database = emptied().await;
    let environment = on(&database, &[]);
    let first = ended(&run(&["migrate"], &environment).await, 0);
    assert!(first.starts_with("applied 0001 foundation\n"), "{first}");
    let second = ended(&run(&["migrate"], &environment).await, 0);
    assert!(second.starts_with("nothing to apply: the schema is at version "), "{second}");
    assert_eq!(second.lines().count(), 1, "{second}");
    ended(&run(&["verify"], &environment).await, 0);
}

#[tokio::test]
async fn users_of_seed_can_buy_as_often_as_their_money_and_the_limit_allow() {
    let database = TestDatabase::create().await;
    let environment = on(&database, &[]);
    let (sale, users) = seed(&environment, &[]).await;
    let (limited, _) = seed(&environment, &["--limit", "1", "--name", "One each"]).await;
    assert_eq!(users.len(), 3);
    let service = Service::start_on(database, |_| {}).await;
    let api = &service.api;
    let found = api.get(&format!("/api/sales/{limited}")).await.expect(200);
    assert_eq!((found.text("name"), found.text("status")), ("One each".into(), "live".into()));
    let order = api.buy(&new_key(), &users[0], &sale).await.expect(201);
    assert_eq!(order.text("balance_after"), "10.10");
    api.buy(&new_key(), &users[1], &limited).await.expect(201);
    let again = api.buy(&new_key(), &users[1], &limited).await;
    again.refused(400, "purchase_limit_reached", "no", "same_key");
    api.buy(&new_key(), &users[0], &sale).await.expect(201);
    let poor = api.buy(&new_key(), &users[0], &sale).await;
    poor.refused(400, "insufficient_balance", "no", "same_key");
    assert_eq!(api.stock(&sale).await, 3);
    service.finish().await;
}

#[tokio::test]
async fn a_token_of_the_command_opens_the_service() {
    let database = TestDatabase::create().await;
    let file = crate::support::service::scratch("cli-token").join("secret");
    crate::support::service::secret_file(&file, "a file's secret of more than thirty-two bytes\n");
    let file = file.to_str().expect("UTF-8").to_owned();
    let key = [("FLASHDEAL_AUTH", "jwt"), ("FLASHDEAL_JWT_SECRET_FILE", file.as_str())];
    let environment = on(&database, &key);
    let (sale, users) = seed(&environment, &[]).await;
    let process = ServeProcess::start(&environment).await;
    let sign = async |who: &[&str]| {
        let arguments: Vec<&str> = ["token"].iter().chain(who).copied().collect();
        // No database is asked.
        let said = ended(&run(&arguments, &key).await, 0);
        process.api.with_token(said.trim_end())
    };
    process.api.buy("key", &users[0], &sale).await.expect(401);
    let buyer = sign(&["--user", &users[0], "--ttl", "5m"]).await;
    buyer.buy("key", &users[0], &sale).await.expect(201);
    buyer.buy("other", &users[1], &sale).await.expect(403);
    buyer.get("/api/audit").await.expect(403);
    sign(&["--service"]).await.buy("other", &users[1], &sale).await.expect(201);
    sign(&["--admin"]).await.get("/api/audit").await.expect(200);
    process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));
}
