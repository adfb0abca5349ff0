//! What the log says of a request that went wrong: enough to find it by what its caller holds. And
//! what becomes of everybody else when nobody reads the log: nothing.

use std::process::Stdio;
use std::time::{Duration, Instant};

use http::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::time::timeout;

use crate::support::ENGINES;
use crate::support::api::{Api, new_key};
use crate::support::postgres::TestDatabase;
use crate::support::process::{ServeProcess, flashdeal};
use crate::support::service::assert_balanced;

/// A defect, made by a trigger that nobody foresaw.
const TRAP: &str = "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'a trap was sprung'; END $$;
                    CREATE TRIGGER trap BEFORE INSERT ON orders EXECUTE FUNCTION trap()";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn buy(api: &Api, request_id: &str, user: &str, sale: &str) -> u16 {
    let body = json!({ "user_id": user, "sale_id": sale }).to_string();
    let request = api
        .request(Method::POST, "/api/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", new_key())
        .header("x-request-id", request_id)
        .header("traceparent", TRACE);
    api.send(request.body(body.into()).unwrap()).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn a_defect_is_logged_under_the_id_of_its_request_whatever_the_engine() {
    for engine in ENGINES {
        let database = TestDatabase::create().await;
        let environment = [("DATABASE_URL", &*database.url), ("FLASHDEAL_ENGINE", engine)];
        let (process, log) = ServeProcess::logged(&format!("logs-{engine}"), &environment).await;
        let (user, sale) = (process.api.user("9.00").await, process.api.sale("1.00", 9).await);
        assert_eq!(buy(&process.api, "went-well", &user, &sale).await, 201);
        let mut session = database.session().await;
        sqlx::raw_sql(AssertSqlSafe(TRAP)).execute(&mut session).await.unwrap();
        assert_eq!(buy(&process.api, "went-wrong", &user, &sale).await, 500);
        let all = process.end_of_log(&log).await;
        let told: Vec<&Value> = all.iter().filter(|line| line["message"] == "answered").collect();
        let [line] = told.as_slice() else { panic!("one line for one fault: {all:?}") };
        let wanted = json!({
            "level": "WARN", "method": "POST", "route": "/api/orders", "request_id": "went-wrong",
            "client": "127.0.0.1", "traceparent": TRACE, "status": 500, "code": "internal",
        });
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(line.get(name), Some(value), "{name} of {line}");
        }
        let reason = line["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("a trap was sprung"), "{line}");
        assert_balanced(&database).await;
    }
}

/// A pool that its server cannot fill would show in the rush only.
#[tokio::test]
async fn a_pool_that_is_too_large_for_its_server_is_warned_of_at_the_start() {
    let database = TestDatabase::create().await;
    for (connections, warned) in [("1000", true), ("10", false)] {
        let room = [("DATABASE_URL", &*database.url), ("FLASHDEAL_DB_CONNECTIONS", connections)];
        let (process, log) = ServeProcess::logged(&format!("room-{connections}"), &room).await;
        let all = process.end_of_log(&log).await;
        let told: Vec<&Value> = all.iter().filter(|line| line.get("wanted").is_some()).collect();
        assert_eq!(told.len(), usize::from(warned), "{all:?}");
        if let Some(line) = told.first() {
            assert_eq!((&line["level"], &line["wanted"]), (&json!("WARN"), &json!(1002)));
            assert!(line["most"].as_u64().is_some_and(|most| (1..1_000).contains(&most)), "{line}");
        }
    }
}

/// What an operator sees of a group who looks closely: its sale and its size.
#[tokio::test]
async fn a_group_says_how_large_it_is_to_who_looks_closely() {
    let database = TestDatabase::create().await;
    let closely = [
        ("DATABASE_URL", &*database.url),
        ("FLASHDEAL_ENGINE", "grouped"),
        ("FLASHDEAL_LOG", "flashdeal=debug"),
    ];
    let (process, log) = ServeProcess::logged("logs-group", &closely).await;
    let (user, sale) = (process.api.user("9.00").await, process.api.sale("1.00", 9).await);
    assert_eq!(buy(&process.api, "alone", &user, &sale).await, 201);
    let all = process.end_of_log(&log).await;
    let told = all.iter().filter(|line| line["message"] == "a group was taken to the database");
    let told: Vec<&Value> = told.map(|line| &line["span"]).collect();
    assert_eq!(told, [&json!({ "name": "group", "sale": sale, "size": 1 })], "{all:?}");
    assert_balanced(&database).await;
}

/// Longer than any answer takes on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// What the stop may take beyond the grace: the last lines, closing the pool, a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// A service that logs everything it does into a pipe, from which nobody has read.
async fn unread(database: &TestDatabase) -> (ServeProcess, ChildStderr) {
    let environment = [
        ("DATABASE_URL", &*database.url),
        ("FLASHDEAL_LOG", "trace"),
        ("FLASHDEAL_LOG_FORMAT", "json"),
        ("FLASHDEAL_SHUTDOWN_GRACE", "5s"),
    ];
    let mut command = flashdeal(&["serve", "--listen", "127.0.0.1:0"], &environment);
    command.stderr(Stdio::piped());
    let mut process = ServeProcess::of(command).await;
    let pipe = process.log_pipe();
    (process, pipe)
}

async fn lines_dropped(api: &Api) -> u64 {
    let page = timeout(ANSWER_MAX, api.get("/metrics")).await.expect("metrics in time").expect(200);
    let page = String::from_utf8_lossy(&page.bytes).into_owned();
    let line = page.lines().find_map(|line| line.strip_prefix("log_lines_dropped_total "));
    line.expect("a counter from the start").parse().expect("a number")
}

/// Buys and asks until pipe and buffer are full and lines were dropped, and some more.
async fn buy_until_lines_are_dropped(api: &Api) {
    let (user, sale) = (api.user("9000.00").await, api.sale("1.00", 9_000).await);
    let (mut asked, mut full) = (0, 0);
    while full < 3 {
        for _ in 0..20 {
            let bought = timeout(ANSWER_MAX, buy(api, "unread", &user, &sale)).await;
            assert_eq!(bought.expect("an order is answered"), 201, "after {asked} requests");
            let alive = timeout(ANSWER_MAX, api.get("/livez")).await;
            alive.expect("the service lives").expect(200);
            asked += 2;
        }
        full += u32::from(lines_dropped(api).await > 0);
        assert!(asked < 8_000, "the pipe is never full");
    }
    println!("{asked} requests, {} lines dropped", lines_dropped(api).await);
}

#[tokio::test]
async fn nobody_waits_for_a_log_that_nobody_reads() {
    let database = TestDatabase::create().await;
    let (process, pipe) = unread(&database).await;
    buy_until_lines_are_dropped(&process.api).await;
    process.signal(Signal::SIGTERM);
    let began = Instant::now();
    assert_eq!(process.exit().await, Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5) + SLACK, "{took:?}");
    drop(pipe);
    assert_balanced(&database).await;
}

#[tokio::test]
async fn a_log_that_is_read_again_says_what_it_misses_and_goes_on_to_the_end() {
    let database = TestDatabase::create().await;
    let (process, pipe) = unread(&database).await;
    buy_until_lines_are_dropped(&process.api).await;
    let dropped = lines_dropped(&process.api).await;
    let (mut lines, mut missed) = (BufReader::new(pipe).lines(), 0);
    let mut next = async || -> Option<Value> {
        let line = timeout(ANSWER_MAX, lines.next_line()).await.expect("a line in time");
        let line: Value = serde_json::from_str(&line.expect("text")?).expect("whole lines of JSON");
        if line["message"] == "the log was not read in time: lines were dropped" {
            missed += line["lines"].as_u64().expect("a number");
        }
        Some(line)
    };
    while next().await.expect("a word on what is missing").get("lines").is_none() {}
    process.signal(Signal::SIGTERM);
    let mut stopped = false;
    while let Some(line) = next().await {
        stopped |= line["message"] == "stopped";
    }
    assert!(stopped, "the log goes on to the end");
    assert!(missed >= dropped, "{missed} of {dropped}");
    assert_eq!(process.exit().await, Some(0));
    assert_balanced(&database).await;
}
