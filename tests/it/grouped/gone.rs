//! The database goes away under full lanes and comes back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::data_dir::{DataDir, until};
use crate::support::load::assert_try_again;
use crate::support::process::{ServeProcess, run};

/// What is promised to everyone without a database.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
/// How often all are asked until they are told so soon.
const RUSHES_MAX: usize = 10;

/// One order by each user, all at once; keys `NAME-PLACE`.
fn rush(shop: &ServeProcess, name: &str, sale: &str, users: &[String]) -> JoinSet<Answer> {
    let mut orders = JoinSet::new();
    for (place, user) in users.iter().enumerate() {
        let (api, key) = (shop.api.clone(), format!("{name}-{place}"));
        let body = json!({ "user_id": user, "sale_id": sale });
        orders.spawn(async move {
            let began = Instant::now();
            let reply = api.post("/api/orders", &key, &body).await;
            Answer { reply, took: began.elapsed() }
        });
    }
    orders
}

struct Answer {
    reply: crate::support::api::Reply,
    took: Duration,
}

/// One process owns the database, another one sells on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_everyone_is_told_at_once_and_selling_goes_on_by_itself() {
    let data_dir = DataDir::fresh("gone");
    let owner = ServeProcess::start(&data_dir.environment(&[])).await;
    let arguments = ["seed", "--users", "200", "--balance", "10.00", "--stock", "150"];
    let arguments = [&arguments[..], &["--price", "10.00"]].concat();
    let seeded = run(&arguments, &data_dir.environment(&[])).await;
    let made: Value = serde_json::from_slice(&seeded.stdout).expect("what was seeded");
    let users: Vec<String> = serde_json::from_value(made["user_ids"].clone()).expect("users");
    let sale = made["sale_id"].as_str().expect("a sale").to_owned();
    let url = data_dir.url().await;
    let environment = [("DATABASE_URL", url.as_str()), ("FLASHDEAL_LOG", "off")];
    let shop = ServeProcess::start(&environment).await;

    // Gone in the middle of a rush: every answer is one that asks for another try, or a decision.
    let rushing = rush(&shop, "first", &sale, &users);
    owner.kill().await;
    for answer in rushing.join_all().await {
        if !matches!(answer.reply.status.as_u16(), 201 | 400) {
            assert_try_again(&answer.reply);
        }
    }
    until("the server is gone", async || data_dir.servers().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // the second that the promise allows

    // A machine that is busy with other tests may be slow once; whoever waits for something that is
    // not there is slow each time.
    let mut slowest = Duration::MAX;
    for _rush in 0..RUSHES_MAX {
        let answers = rush(&shop, "gone", &sale, &users).join_all().await;
        for Answer { reply, .. } in &answers {
            assert_eq!((reply.status.as_u16(), &*reply.code()), (503, "database_unavailable"));
        }
        slowest = slowest.min(answers.iter().map(|answer| answer.took).max().expect("answers"));
        if slowest < TOLD_WITHIN {
            break;
        }
    }
    println!("without a database: 200 at once, the slowest told after {slowest:?}");
    assert!(slowest < TOLD_WITHIN, "{slowest:?}");

    let owner = ServeProcess::start(&data_dir.environment(&[])).await;
    until("it sells again", async || shop.api.get("/readyz").await.status == 200).await;
    let mut bought = 0;
    for (place, user) in users.iter().enumerate() {
        let reply = shop.api.buy(&format!("first-{place}"), user, &sale).await;
        bought += usize::from(reply.status == 201);
    }
    assert_eq!(bought, 150, "each key once, and the sale to its end");
    let verified = run(&["verify"], &data_dir.environment(&[])).await;
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    shop.kill().await;
    owner.kill().await;
}
