//! Sudden death: of the service and of PostgreSQL, again and again under load. An acknowledged
//! order survives, an unanswered key ends in one order.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgConnection;

use crate::support::data_dir::{DataDir, until};
use crate::support::load::{Acknowledged, Dice, Load, assert_replayed};
use crate::support::locks::number;
use crate::support::process::{ServeProcess, run};

/// How often something is killed.
const DEATHS: usize = 10;
/// Units for sale: more than any machine sells here.
const STOCK: u64 = 1_000_000;

/// A data directory with its sale and users, and the service on it.
struct Shop {
    data_dir: DataDir,
    sale: String,
    users: Vec<String>,
}

impl Shop {
    async fn open(name: &str) -> (Shop, ServeProcess) {
        let data_dir = DataDir::fresh(name);
        let process = ServeProcess::start(&data_dir.environment(&[])).await;
        let stock = STOCK.to_string();
        let arguments = [
            "seed",
            "--users",
            "40",
            "--balance",
            "1000000.00",
            "--stock",
            &stock,
            "--price",
            "0.01",
        ];
        let seeded = run(&arguments, &data_dir.environment(&[])).await;
        let made: Value = serde_json::from_slice(&seeded.stdout)
            .unwrap_or_else(|error| panic!("{error}: {seeded:?}"));
        let users = made["user_ids"].as_array().expect("users").iter();
        let users = users.map(|id| id.as_str().expect("an id").to_owned()).collect();
        let sale = made["sale_id"].as_str().expect("a sale").to_owned();
        (Shop { data_dir, sale, users }, process)
    }

    async fn serve(&self) -> ServeProcess {
        ServeProcess::start(&self.data_dir.environment(&[])).await
    }

    fn load(&self, process: &ServeProcess, name: &str) -> Load {
        Load::start(process.api.address(), name, &self.sale, &self.users)
    }

    /// Every buyer has its answer, so orders and acknowledged keys are the same set.
    async fn settle(&self, process: ServeProcess, orders: &[Acknowledged]) {
        let distinct: HashSet<&str> = orders.iter().map(|order| order.key.as_str()).collect();
        assert_eq!(distinct.len(), orders.len(), "one answer for each key");
        assert_replayed(process.api.address(), orders).await;
        let left = process.api.stock(&self.sale).await;
        assert_eq!(STOCK - left, orders.len() as u64, "each key has one order");
        let stored = answers(&mut self.data_dir.session().await, &self.sale).await;
        for order in orders {
            let answer: Value = serde_json::from_slice(&order.answer).expect("JSON");
            let id = answer["id"].as_str().expect("an id");
            assert!(stored.contains(&(order.key.clone(), id.to_owned())), "{order:?} is lost");
        }
        assert_eq!(stored.len(), orders.len(), "no order without its buyer");
        let together = "SELECT max(n) FROM (SELECT count(*) AS n FROM orders GROUP BY xmin) groups";
        let together = number(&mut self.data_dir.session().await, together).await;
        println!("up to {together} orders in one transaction");
        assert!(together > 1 || !grouped(), "the deaths are to hit groups");
        let verified = run(&["verify"], &self.data_dir.environment(&[])).await;
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        process.signal(Signal::SIGTERM);
        assert_eq!(process.exit().await, Some(0));
    }
}

/// Whether children decide in groups, as they do unless somebody says otherwise.
fn grouped() -> bool {
    std::env::var("TEST_ENGINE").map_or(true, |engine| engine == "grouped")
}

/// Key and id of every order of a sale, as the database has them.
async fn answers(session: &mut PgConnection, sale: &str) -> HashSet<(String, String)> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT k.key, o.id::text
         FROM orders o JOIN idempotency_keys k ON k.resource_id = o.id AND k.operation = 'order'
         WHERE o.sale_id = $1::uuid",
    )
    .bind(sale)
    .fetch_all(session)
    .await
    .expect("orders");
    rows.into_iter().collect()
}

/// A few orders pass, then a moment that nobody chose.
async fn random_moment(load: &mut Load, dice: &mut Dice) {
    load.progress(8).await;
    tokio::time::sleep(Duration::from_millis(dice.below(250))).await;
}

fn retried(orders: &[Acknowledged]) -> usize {
    orders.iter().filter(|order| order.attempts > 1).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_orders_survive_the_sudden_death_of_the_service() {
    let mut dice = Dice::new("crash of the service");
    let (shop, mut process) = Shop::open("crash-service").await;
    let mut load = shop.load(&process, "service");
    let mut checked = 0;
    for _death in 0..DEATHS {
        random_moment(&mut load, &mut dice).await;
        process.kill().await;
        let acknowledged = load.acknowledged();
        process = shop.serve().await;
        load.moved(process.api.address());
        assert_replayed(process.api.address(), &acknowledged[checked..]).await;
        checked = acknowledged.len();
    }
    load.progress(8).await;
    let orders = load.finish().await;
    println!("{} orders, {} sent more than once", orders.len(), retried(&orders));
    assert!(retried(&orders) > 0, "the deaths hit somebody");
    shop.settle(process, &orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_brings_its_database_back_and_loses_no_acknowledged_order() {
    let mut dice = Dice::new("crash of the database");
    let (shop, process) = Shop::open("crash-database").await;
    let mut load = shop.load(&process, "database");
    let mut checked = 0;
    for death in 0..DEATHS {
        random_moment(&mut load, &mut dice).await;
        let killed = shop.data_dir.kill_postmaster();
        let acknowledged = load.acknowledged();
        until("another server takes over", async || {
            let found = shop.data_dir.postmaster();
            found.is_some_and(|pid| pid != killed && shop.data_dir.servers().contains(&pid))
        })
        .await;
        load.progress(1).await;
        until("the service is ready", async || process.api.get("/readyz").await.status == 200)
            .await;
        if death % 3 == 0 {
            assert_replayed_patiently(&process, &acknowledged[checked..]).await;
            checked = acknowledged.len();
        }
    }
    load.progress(8).await;
    let orders = load.finish().await;
    println!("{} orders, {} sent more than once", orders.len(), retried(&orders));
    // The service may have brought a whole group through a death without a word to its buyers.
    let page = process.api.get("/metrics").await.bytes;
    let page = String::from_utf8_lossy(&page);
    let run_again = page.lines().any(|line| {
        let counted = line.strip_prefix("db_retries_total{sqlstate=\"co");
        counted.is_some_and(|counted| !counted.ends_with(" 0"))
    });
    assert!(run_again || retried(&orders) > 0, "the deaths hit somebody");
    shop.settle(process, &orders).await;
}

/// Sessions that died with the server may still be found in the pool once each, but not for long.
async fn assert_replayed_patiently(process: &ServeProcess, orders: &[Acknowledged]) {
    until("the pool is fresh", async || {
        let order = &orders[0];
        process.api.post("/api/orders", &order.key, &order.body).await.status == 201
    })
    .await;
    assert_replayed(process.api.address(), orders).await;
}
