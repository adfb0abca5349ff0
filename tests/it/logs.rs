//! What the log says of a request that went wrong: enough to find it by what its caller holds.

use http::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::ENGINES;
use crate::support::api::{Api, new_key};
use crate::support::postgres::TestDatabase;
use crate::support::process::ServeProcess;
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
