//! Beside a running `serve` the commands find its embedded database, and leave its server alone.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{ended, file, user_id};
use crate::support::data_dir::DataDir;
use crate::support::process::ServeProcess;

const SALE: &str = "0190b000-0000-7000-8000-000000000003";

#[tokio::test]
async fn commands_find_the_database_of_the_service_that_runs() {
    let data_dir = DataDir::fresh("operate-beside");
    let environment = data_dir.environment(&[]);
    let process = ServeProcess::start(&environment).await;
    let server = data_dir.postmaster();

    let path = file(&data_dir.path, &[format!("{},ext-1,,30.00", user_id(1))]);
    let import = ["import", "users", path.to_str().expect("UTF-8")];
    let (text, _) = ended(&import, &environment, 0).await;
    assert_eq!(text, "1 users made, 1 opening balances, 0 unchanged\n");
    process.api.buy("key", &user_id(1), SALE).await.expect(201);

    let page = format!("http://{}/metrics", process.api.address());
    let report = ["report", "--sale", SALE, "--json", "--metrics-url", &page];
    let (text, _) = ended(&report, &environment, 0).await;
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&report["orders"], &report["revenue"]), (&19.into(), &"285.00".into()), "{text}");
    assert_eq!(report["refusals"]["known"], true, "{text}");
    let (text, _) = ended(&["export", "orders", "--sale", SALE], &environment, 0).await;
    assert_eq!(text.lines().count(), 20, "a header and the orders");

    assert_eq!(data_dir.postmaster(), server, "the same server");
    process.api.get("/readyz").await.expect(200);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));

    // Without a service a command has a server for as long as it lives.
    let (text, _) = ended(&["export", "ledger"], &environment, 0).await;
    assert_eq!(text.lines().count(), 1 + 1_001 + 19, "{}", text.lines().count());
    ended(&["verify"], &environment, 0).await;
    assert_eq!(data_dir.servers(), Vec::<i32>::new());
}
