//! `flashdeal rehearse`: it sells what it says, judges it, and leaves nothing behind.

mod given_up;

use super::{count, ended, execute, on, refused};
use crate::support::postgres::TestDatabase;
use crate::support::service::{assert_balanced, scratch};

/// Three hundred buyers, a third of them with a double click, forty units.
const REHEARSE: [&str; 9] =
    ["rehearse", "--buyers", "300", "--stock", "40", "--connections", "16", "--duplicates", "100"];

/// The name of the place that the command said it made.
fn place(said: &str) -> String {
    let from = said.find("flashdeal_rehearsal_").unwrap_or_else(|| panic!("no place in {said}"));
    said[from..].split_whitespace().next().expect("a name").to_owned()
}

async fn databases_named(database: &TestDatabase, name: &str) -> i64 {
    count(database, &format!("pg_database WHERE datname = '{name}'")).await
}

/// The number in front of a word in a line of the report.
fn number(report: &str, line: &str) -> u64 {
    let line = report.lines().find_map(|found| found.strip_prefix(line));
    let line = line.unwrap_or_else(|| panic!("no such line in {report}"));
    let word = line.split_whitespace().next().expect("a number");
    word.parse().unwrap_or_else(|_| panic!("no number in {line}"))
}

fn assert_passed(report: &str) {
    assert!(report.ends_with("verdict: passed\n"), "{report}");
    // With `optimistic` some come second too often, hear so and ask again.
    let again =
        if report.contains("tried again   none") { 0 } else { number(report, "tried again") };
    assert_eq!(number(report, "answers"), 400 + again, "{report}");
    assert_eq!(number(report, "orders  "), 40, "{report}");
    let (replays, refused) = (number(report, "replays"), number(report, "refused"));
    assert_eq!(replays + refused, 360, "{report}");
    assert!(replays <= 40 && report.contains("out_of_stock"), "{report}");
    assert!(report.contains("books         40 orders, 400.00, balanced"), "{report}");
    for line in ["  orders ", "  others "] {
        let line = report.lines().find(|found| found.starts_with(line)).expect("percentiles");
        let times: Vec<f64> =
            line.split_whitespace().skip(1).map(|time| time.parse().expect("ms")).collect();
        assert!(times.len() == 4 && times.is_sorted() && times[0] > 0.0, "{line}");
    }
}

#[tokio::test]
async fn a_rehearsal_on_the_shops_server_has_a_database_of_its_own() {
    let shop = TestDatabase::create().await;
    let (report, said) = ended(&REHEARSE, &on(&shop), 0).await;
    assert_passed(&report);
    assert!(report.starts_with("300 buyers, 100 of them with a double click, 40 units"));
    assert!(said.contains(" 400 of 400 presses answered, "), "{said}");
    assert!(!said.contains('\r') && !said.contains("INFO"), "plain lines: {said}");
    for table in ["users", "sales", "orders", "installation"] {
        assert_eq!(count(&shop, table).await, 0, "{table} of the shop");
    }
    assert_eq!(databases_named(&shop, &place(&said)).await, 0, "it was dropped");
    assert_balanced(&shop).await;
}

#[tokio::test]
async fn a_role_that_may_not_make_databases_has_a_schema() {
    let shop = TestDatabase::create().await;
    let role = format!("rehearser_{}", std::process::id());
    let mut session = shop.session().await;
    let own: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut session)
        .await
        .expect("a name");
    execute(&shop, &format!("CREATE ROLE {role} LOGIN PASSWORD 'rehearser'")).await;
    let (_, rest) = shop.url.split_once("://").expect("a URL");
    let (_, rest) = rest.split_once('@').expect("a role");
    // A schema that the URL names is left alone too.
    let url = format!("postgres://{role}:rehearser@{rest}&search_path=public");
    let environment = [("DATABASE_URL", url.as_str())];

    let said = refused(&REHEARSE, &environment, 1).await;
    assert!(said.contains("the role needs CREATEDB") && said.contains("42501"), "{said}");

    execute(&shop, &format!("GRANT CREATE ON DATABASE {own} TO {role}")).await;
    let (report, said) = ended(&REHEARSE, &environment, 0).await;
    assert_passed(&report);
    let schema = place(&said);
    assert_eq!(count(&shop, &format!("pg_namespace WHERE nspname = '{schema}'")).await, 0);
    assert_eq!(count(&shop, "users").await, 0);
    execute(&shop, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert_balanced(&shop).await;
}

#[tokio::test]
async fn without_a_database_it_has_a_server_for_as_long_as_it_lasts() {
    let home = scratch("operate-rehearse");
    let data_dir = home.join("data").to_str().expect("UTF-8").to_owned();
    let tmp = home.join("tmp");
    std::fs::create_dir(&tmp).expect("a directory");
    let environment = [
        ("FLASHDEAL_DATA_DIR", data_dir.as_str()),
        ("FLASHDEAL_WAL_FILES", "0"),
        ("TMPDIR", tmp.to_str().expect("UTF-8")),
        // Nobody but its own buyers may come to a rehearsal, whatever the shop's service says.
        ("FLASHDEAL_AUTH", "jwt"),
        ("FLASHDEAL_JWT_SECRET", crate::support::service::SECRET),
        ("FLASHDEAL_DB_CONNECTIONS", "4"),
        // What one address of a shop's strangers may do, its whole crowd must not be held to.
        ("FLASHDEAL_RATE_PER_ADDRESS", "1"),
        ("FLASHDEAL_MAX_CONNECTIONS_PER_ADDRESS", "1"),
    ];
    let (report, said) = ended(&REHEARSE, &environment, 0).await;
    assert_passed(&report);
    assert!(said.contains("an embedded server in "), "{said}");
    assert_eq!(std::fs::read_dir(&tmp).expect("a directory").count(), 0, "nothing is left");
    assert!(!home.join("data").exists(), "the shop's own data are not touched");
}

#[tokio::test]
async fn presses_that_come_too_late_fail_the_rehearsal() {
    let shop = TestDatabase::create().await;
    // Orders and not refusals: none is made without a flush.
    let arguments = ["rehearse", "--buyers", "20000", "--stock", "20000", "--duplicates", "0"];
    let limits = ["--connections", "1", "--time-limit", "1s"];
    let (report, said) = ended(&[&arguments[..], &limits].concat(), &on(&shop), 1).await;
    let late = "presses were not sent within 1.0 s\n";
    let finding = report.lines().find(|line| line.starts_with("wrong: "));
    assert!(finding.is_some_and(|line| format!("{line}\n").ends_with(late)), "{report}");
    assert!(report.ends_with("verdict: failed\n"), "{report}");
    let made = number(&report, "orders  ");
    assert!(made >= 1, "{report}");
    assert!(report.contains(&format!("{made} orders, {made}0.00, balanced")), "{report}");
    assert_eq!(databases_named(&shop, &place(&said)).await, 0, "it was dropped");
}

#[tokio::test]
async fn limits_are_kept_and_named() {
    let shop = TestDatabase::create().await;
    let environment = on(&shop);
    let three = ["rehearse", "--buyers", "3", "--stock", "3"];
    for (more, said) in [
        (["--duplicates", "4"], "--duplicates 4: accepted is at most the number of buyers, 3"),
        (["--time-limit", "11m"], "--time-limit 11m: accepted is a time from 1s to 10m"),
    ] {
        let arguments: Vec<&str> = three.iter().chain(&more).copied().collect();
        assert!(refused(&arguments, &environment, 2).await.contains(said), "{said}");
    }
    for more in [["--buyers", "100001"], ["--stock", "-1"], ["--connections", "0"]] {
        let arguments: Vec<&str> = ["rehearse"].iter().chain(&more).copied().collect();
        let (_, said) = ended(&arguments, &environment, 2).await;
        assert!(said.contains("error: "), "{said}");
    }
    let engine = ["--engine", "hope"];
    let arguments: Vec<&str> = three.iter().chain(&engine).copied().collect();
    assert!(refused(&arguments, &environment, 2).await.contains("FLASHDEAL_ENGINE=hope"));
}
