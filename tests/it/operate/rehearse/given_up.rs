//! A rehearsal that is interrupted: whatever it is doing, and whatever the database does, it ends
//! soon, and what it cannot clear away it names.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::AsyncReadExt;
use tokio::process::Child;

use super::{assert_passed, databases_named, place};
use crate::operate::{count, execute, on};
use crate::support::data_dir::until;
use crate::support::locks::number;
use crate::support::postgres::TestDatabase;
use crate::support::process::flashdeal;
use crate::support::relay::{Break, Relay};

/// Ten buyers, one unit: what matters comes before and after them.
const FEW: [&str; 7] = ["rehearse", "--buyers", "10", "--stock", "1", "--connections", "2"];
/// Asked by a rehearsal only, and when the buyers have left.
const BOOKS: &str = "SELECT id FROM orders WHERE sale_id";
/// What an interrupted rehearsal may take here, much more than its own limits: five seconds for
/// what is being made, five for a session.
const END_MAX: Duration = Duration::from_secs(30);

/// A rehearsal as a child process.
struct Rehearsal(Child);

impl Rehearsal {
    fn begin(arguments: &[&str], environment: &[(&str, &str)]) -> Rehearsal {
        let mut command = flashdeal(arguments, environment);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Rehearsal(child.expect("a child"))
    }

    /// One whose statements go by wire.
    fn by(relay: &Relay) -> Rehearsal {
        Rehearsal::begin(&FEW, &[("DATABASE_URL", &relay.url())])
    }

    /// One that has asked for its books and is never answered, and its wire.
    async fn at_its_books(shop: &TestDatabase) -> (Relay, Rehearsal) {
        let relay = Relay::to(shop).await;
        relay.break_next(BOOKS, &[Break::SilentUp]);
        let rehearsal = Rehearsal::by(&relay);
        until("the books are asked for", async || relay.broken() == 1).await;
        (relay, rehearsal)
    }

    fn interrupt(&self) {
        let pid = Pid::from_raw(self.0.id().expect("a child").cast_signed());
        kill(pid, Signal::SIGINT).expect("a signal");
    }

    /// Waits until it has said `text`; returns all that it said.
    async fn says(&mut self, text: &str) -> String {
        let mut said = String::new();
        let stderr = self.0.stderr.as_mut().expect("its standard error");
        let read = async {
            while !said.contains(text) {
                let byte = stderr.read_u8().await.unwrap_or_else(|_| panic!("no {text} in {said}"));
                said.push(char::from(byte));
            }
        };
        tokio::time::timeout(END_MAX, read).await.expect("a word in time");
        said
    }

    /// Waits for its end, which must be a failure; returns what it said meanwhile.
    async fn fails(self) -> String {
        let ended = tokio::time::timeout(END_MAX, self.0.wait_with_output()).await;
        let output = ended.expect("an end in time").expect("a child");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "no verdict: {said}");
        said
    }
}

/// The database that it says it left, which is there; it is dropped as it says.
async fn assert_left_and_dropped_as_said(shop: &TestDatabase, said: &str) {
    let name = place(said);
    let (_, by_hand) = said.split_once("by hand with DATABASE_URL: ").expect("a statement");
    let statement = by_hand.lines().next().expect("a line");
    assert_eq!(statement, format!("DROP DATABASE {name} WITH (FORCE)"), "{said}");
    assert_eq!(databases_named(shop, &name).await, 1, "{said}");
    execute(shop, statement).await;
}

#[tokio::test]
async fn while_buyers_press_it_clears_up() {
    let shop = TestDatabase::create().await;
    let arguments = ["rehearse", "--buyers", "50000", "--stock", "50000", "--connections", "1"];
    let mut rehearsal = Rehearsal::begin(&arguments, &on(&shop));
    let name = place(&rehearsal.says("\n").await);
    let at_work = format!("pg_stat_activity WHERE datname = '{name}'");
    until("the rehearsal is at work", async || count(&shop, &at_work).await > 1).await;
    rehearsal.interrupt();
    let said = rehearsal.fails().await;
    assert!(said.contains("flashdeal: SIGINT: stopping and clearing up; once more"), "{said}");
    assert!(said.ends_with("flashdeal: SIGINT: rehearsal given up\n"), "{said}");
    assert_eq!(databases_named(&shop, &name).await, 0, "it was dropped");
}

#[tokio::test]
async fn while_buyers_press_and_nobody_answers_it_says_what_is_left() {
    let shop = TestDatabase::create().await;
    let relay = Relay::to(&shop).await;
    let arguments = ["rehearse", "--buyers", "20000", "--stock", "20000", "--connections", "1"];
    let (url, grace) = (relay.url(), "1s");
    let environment = [("DATABASE_URL", url.as_str()), ("FLASHDEAL_SHUTDOWN_GRACE", grace)];
    let mut rehearsal = Rehearsal::begin(&arguments, &environment);
    rehearsal.says("presses answered").await;
    relay.silence_all_wires();
    rehearsal.interrupt();
    let said = rehearsal.fails().await;
    assert!(said.contains("no answer within 5s; "), "{said}");
    assert!(said.ends_with("flashdeal: SIGINT: rehearsal given up\n"), "{said}");
    assert_left_and_dropped_as_said(&shop, &said).await;
}

#[tokio::test]
async fn where_the_books_are_never_read_it_clears_up() {
    let shop = TestDatabase::create().await;
    let relay = Relay::to(&shop).await;
    relay.break_next(BOOKS, &[Break::SilentUp]);
    let mut rehearsal = Rehearsal::by(&relay);
    let name = place(&rehearsal.says("\n").await);
    until("the books are asked for", async || relay.broken() == 1).await;
    rehearsal.interrupt();
    let said = rehearsal.fails().await;
    assert!(said.ends_with("flashdeal: SIGINT: rehearsal given up\n"), "{said}");
    assert_eq!(databases_named(&shop, &name).await, 0, "it was dropped");
}

#[tokio::test]
async fn where_its_database_may_have_been_made_it_clears_up() {
    let shop = TestDatabase::create().await;
    let relay = Relay::to(&shop).await;
    relay.break_next("CREATE DATABASE", &[Break::SilentDown]);
    let rehearsal = Rehearsal::by(&relay);
    until("its database is asked for", async || relay.broken() == 1).await;
    rehearsal.interrupt();
    let said = rehearsal.fails().await;
    assert!(said.ends_with("flashdeal: SIGINT: rehearsal given up\n"), "{said}");
    assert!(!said.contains("may be left"), "{said}");
}

#[tokio::test]
async fn where_nobody_answers_any_more_it_says_what_is_left() {
    let shop = TestDatabase::create().await;
    let (relay, rehearsal) = Rehearsal::at_its_books(&shop).await;
    relay.silence_all_wires();
    rehearsal.interrupt();
    let said = rehearsal.fails().await;
    assert!(said.contains("what the rehearsal made was not removed: "), "{said}");
    assert!(said.contains("no answer within 5s; "), "{said}");
    assert!(said.ends_with("flashdeal: SIGINT: rehearsal given up\n"), "{said}");
    assert_left_and_dropped_as_said(&shop, &said).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_it_says_what_is_left() {
    let shop = TestDatabase::create().await;
    let (relay, mut rehearsal) = Rehearsal::at_its_books(&shop).await;
    relay.break_always("DROP DATABASE", Break::SilentUp);
    rehearsal.interrupt();
    rehearsal.says("SIGINT: stopping").await;
    until("its database is dropped", async || relay.broken() == 2).await;
    rehearsal.interrupt();
    let said = rehearsal.fails().await;
    assert!(said.contains("flashdeal: SIGINT again: leaving at once; "), "{said}");
    assert_left_and_dropped_as_said(&shop, &said).await;
}

#[tokio::test]
async fn where_nobody_hears_it_it_still_plays_and_clears_up() {
    let shop = TestDatabase::create().await;
    let (role, url) = role_that_makes_databases(&shop, "unheard").await;
    let Rehearsal(mut child) =
        Rehearsal::begin(&super::REHEARSE, &[("DATABASE_URL", url.as_str())]);
    drop(child.stderr.take());
    let output = child.wait_with_output().await.expect("an end");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_passed(&String::from_utf8(output.stdout).expect("UTF-8"));
    // A role that owns a database cannot be dropped.
    execute(&shop, &format!("DROP ROLE {role}")).await;
}

/// As PostgreSQL's autovacuum may be in it at that moment, whom only a superuser may send away.
#[tokio::test]
async fn where_somebody_is_in_its_database_whom_it_may_not_send_away_it_waits() {
    let shop = TestDatabase::create().await;
    let (role, url) = role_that_makes_databases(&shop, "patient").await;
    let Rehearsal(child) = Rehearsal::begin(&FEW, &[("DATABASE_URL", url.as_str())]);
    let mut admin = shop.session().await;
    let theirs = format!("SELECT datname FROM pg_database WHERE datdba = '{role}'::regrole");
    let mut name = None;
    until("its database is made", async || {
        let asked = sqlx::query_scalar::<_, String>(AssertSqlSafe(theirs.clone()));
        name = asked.fetch_optional(&mut admin).await.expect("an answer");
        name.is_some()
    })
    .await;
    let name = name.expect("a name");
    let guest = PgConnection::connect_with(&shop.options().database(&name)).await.expect("a guest");
    let asked_for = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE query = 'DROP DATABASE {name}' AND state = 'active'"
    );
    until("it is to be dropped", async || number(&mut admin, asked_for.clone()).await == 1).await;
    guest.close().await.expect("a goodbye");
    let output = child.wait_with_output().await.expect("an end");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("not removed"), "{said}");
    // A role that owns a database cannot be dropped.
    execute(&shop, &format!("DROP ROLE {role}")).await;
}

/// Its name, and the way to the server as this role.
async fn role_that_makes_databases(shop: &TestDatabase, name: &str) -> (String, String) {
    let role = format!("{name}_{}", std::process::id());
    execute(shop, &format!("CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")).await;
    let (_, rest) = shop.url.split_once('@').expect("a URL with a user");
    let url = format!("postgres://{role}:secret@{rest}");
    (role, url)
}
