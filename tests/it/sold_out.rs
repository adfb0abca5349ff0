//! Sold out, and everyone still presses Buy: answered from memory, but never to one who has won.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

mod buyers;

use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::app::cli::RawSettings;
use flashdeal::domain::id::{SaleId, UserId};
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::group::{Group, Locking};
use flashdeal::logic::orders::sold_out::BELIEVED;
use flashdeal::logic::transact::transact;
use serde_json::json;
use sqlx::PgPool;

use crate::store_contract::worlds::wish;
use crate::support::Service;
use crate::support::api::{Reply, new_key};
use crate::support::crowd::seed_buyers;
use crate::support::locks::{Held, execute, run, until};
use crate::support::relay::Break;

/// A sale whose three units are gone, known to be so, with its row held against everyone: whatever
/// is answered now is answered without it.
struct SoldOut {
    service: Service,
    sale: String,
    winners: Vec<(String, Reply)>,
    others: Vec<String>,
    held: Held,
}

/// With an engine that locks, so that a held row is felt, and soon.
fn felt(raw: &mut RawSettings) {
    raw.engine = Some("grouped".to_owned());
    raw.lock_timeout = Some("300ms".to_owned());
}

impl SoldOut {
    async fn start() -> SoldOut {
        let service = Service::start_with(felt).await;
        let buyers = seed_buyers(&service.database, 40, "100.00").await;
        let sale = json!({ "unit_price": "10.00", "stock": 3, "per_user_limit": 2 });
        let sale = service.api.sale_with(sale).await;
        let mut winners = Vec::new();
        for buyer in &buyers[..3] {
            let made = service.api.buy(&format!("won-{buyer}"), buyer, &sale).await.expect(201);
            winners.push((buyer.clone(), made));
        }
        let others = buyers[3..].to_vec();
        let held = sold_out_by_heart(&service, &others[0], &sale).await;
        SoldOut { service, sale, winners, others, held }
    }

    async fn press(&self, user: &str) -> Reply {
        self.service.api.buy(&new_key(), user, &self.sale).await
    }
}

/// Waits until the sale is known to be sold out: until this buyer hears so although its row, which
/// is returned, is held. Until then the engine says so in between, and the sale is looked at.
async fn sold_out_by_heart(service: &Service, buyer: &str, sale: &str) -> Held {
    let mut found = None;
    let known = async || {
        let held = Held::sale(&service.database, sale).await;
        if service.api.buy(&new_key(), buyer, sale).await.code() == "out_of_stock" {
            found = Some(held);
            return true;
        }
        held.release().await;
        service.api.buy(&new_key(), buyer, sale).await.refused(
            400,
            "out_of_stock",
            "no",
            "same_key",
        );
        false
    };
    until("sold out is answered from memory", known).await;
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_bought_is_told_from_memory_and_a_winner_never_is() {
    let shop = SoldOut::start().await;
    let (api, sale) = (&shop.service.api, &shop.sale);
    for user in &shop.others {
        let reply = shop.press(user).await;
        reply.clone().refused(400, "out_of_stock", "no", "same_key");
        assert_eq!(reply.body["stock"], 0);
    }
    // The limit comes before the stock.
    let many = json!({ "user_id": shop.others[2], "sale_id": sale, "quantity": 3 });
    let many = api.post("/api/orders", &new_key(), &many).await;
    many.refused(400, "purchase_limit_reached", "no", "same_key");
    // A winner's retry is looked up and replayed, although the sale's row is held.
    for (user, made) in &shop.winners {
        let again = api.buy(&format!("won-{user}"), user, sale).await.expect(201);
        assert!(again.replayed());
        assert_eq!(again.bytes, made.bytes);
    }
    // A winner with a new key goes the long way, and waits for the row that is held.
    assert_eq!(shop.press(&shop.winners[0].0).await.code(), "concurrent_conflict");
    // A client that follows the rule names a moment; as long as it is far, nothing hangs on it.
    let order = json!({ "user_id": shop.others[4], "sale_id": sale,
                        "valid_until": "9999-01-01T00:00:00Z" });
    let reply = api.post("/api/orders", &new_key(), &order).await;
    reply.refused(400, "out_of_stock", "no", "same_key");
    // Where it may have passed, only the database's clock can judge.
    let order = json!({ "user_id": shop.others[3], "sale_id": sale,
                        "valid_until": "2020-01-01T00:00:00Z" });
    let reply = api.post("/api/orders", &new_key(), &order).await;
    assert_eq!(reply.code(), "concurrent_conflict");
    shop.held.release().await;
    shop.service.finish().await;
}

/// A row that nobody can read ends the watch by a defect of ours. When it is repaired, the next who
/// asks begins another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ends_by_a_defect_is_begun_again() {
    let shop = SoldOut::start().await;
    shop.held.release().await;
    let (service, sale) = (&shop.service, &shop.sale);
    execute(&service.database, "ALTER TABLE sales DISABLE TRIGGER USER").await;
    let until_when = |end: &str| format!("UPDATE sales SET ends_at = {end} WHERE id = '{sale}'");
    execute(&service.database, &until_when("'infinity'")).await;
    let order = async || service.api.buy(&new_key(), &shop.others[7], sale).await;
    until("nobody can read the sale", async || order().await.code() == "internal").await;
    execute(&service.database, &until_when("NULL")).await;
    until("it is sold out again", async || order().await.code() == "out_of_stock").await;
    sold_out_by_heart(service, &shop.others[7], sale).await.release().await;
    shop.service.finish().await;
}

/// A key that made an order elsewhere is no key for this sale, sold out or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_spent_elsewhere_is_reused_and_not_sold_out() {
    let shop = SoldOut::start().await;
    let api = &shop.service.api;
    let other = api.sale("1.00", 9).await;
    let user = &shop.others[5];
    api.buy("spent", user, &other).await.expect(201);
    let reply = api.buy("spent", user, &shop.sale).await;
    reply.refused(422, "idempotency_key_reused", "yes", "new_key");
    shop.held.release().await;
    shop.service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_that_returns_is_sold_again_within_a_moment() {
    let SoldOut { service, sale, others, held, .. } = SoldOut::start().await;
    held.release().await;
    let mut session = service.database.session().await;
    let restock = format!(
        "UPDATE sales SET stock = stock + 2, stock_initial = stock_initial + 2,
         sold_out_at = NULL WHERE id = '{sale}'"
    );
    run(&mut session, restock).await;
    // What was last seen before this moment is believed for a second. However slow the machine is,
    // nobody who asks later hears of it.
    let (back, key, mut refused) = (Instant::now(), new_key(), 0);
    let bought = async || {
        let asked = back.elapsed();
        let reply = service.api.buy(&key, &others[6], &sale).await;
        refused += usize::from(reply.status != 201);
        assert!(reply.status == 201 || asked <= BELIEVED, "{asked:?} behind: {reply:?}");
        reply.status == 201
    };
    until("somebody buys again", bought).await;
    println!("sold again after {:?}, {refused} were told no before", back.elapsed());
    service.api.buy(&new_key(), &others[7], &sale).await.expect(201);
    service.api.buy(&new_key(), &others[8], &sale).await.expect(400);
    service.finish().await;
}

/// The session that reads who has bought falls silent, as behind a firewall that has forgotten it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_hears_nothing_is_given_up_and_the_shortcut_opens() {
    let (service, relay) = Service::behind_a_wire(felt).await;
    let buyers = seed_buyers(&service.database, 3, "100.00").await;
    let sale = service.api.sale("10.00", 1).await;
    service.api.buy(&new_key(), &buyers[0], &sale).await.expect(201);
    relay.break_next("SELECT o.sale_id", &[Break::SilentDown]);
    let asked = async || {
        service.api.buy(&new_key(), &buyers[1], &sale).await.expect(400);
        relay.broken() == 1
    };
    until("a reader hears nothing", asked).await;

    sold_out_by_heart(&service, &buyers[2], &sale).await.release().await;
    service.finish().await;
}

/// The database loses a commit, as in a failover to a standby that lagged, and the unit is sold
/// again under the same sequence where this instance does not see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winner_behind_a_lost_commit_is_not_told_that_it_is_sold_out() {
    let SoldOut { service, sale, winners, others, held } = SoldOut::start().await;
    held.release().await;
    let database = &service.database;
    let mut session = database.session().await;
    let (loser, made) = &winners[2];
    let lost = format!(
        "BEGIN; SET LOCAL session_replication_role = replica;
         DELETE FROM idempotency_keys WHERE user_id = '{loser}';
         DELETE FROM ledger_entries WHERE order_id = '{order}';
         DELETE FROM orders WHERE id = '{order}';
         UPDATE wallets SET balance = 100, entry_count = entry_count - 1 WHERE user_id = '{loser}';
         UPDATE sales SET stock = 1, order_count = 2, sold_out_at = NULL WHERE id = '{sale}';
         COMMIT",
        order = made.id(),
    );
    run(&mut session, lost).await;
    let held = Held::sale(database, &sale).await;
    let press = async || service.api.buy(&new_key(), &others[10], &sale).await;
    until("the unit is back", async || press().await.code() == "concurrent_conflict").await;
    held.release().await;
    let pool = database.pool().await;
    let key = new_key();
    sell_elsewhere(&pool, &others[9], &sale, &key).await;
    pool.close().await;
    let held = sold_out_by_heart(&service, &others[10], &sale).await;
    let again = service.api.buy(&key, &others[9], &sale).await.expect(201);
    assert!(again.replayed());
    held.release().await;
    service.finish().await;
}

/// Another instance decides an order.
async fn sell_elsewhere(pool: &PgPool, user: &str, sale: &str, key: &str) {
    let (user, sale) = (UserId::parse(user).unwrap(), SaleId::parse(sale).unwrap());
    let order = wish(1, user, sale, key);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut group = Group::of_one(order, Locking::First);
    let answers = transact(&PgStore::admitted(pool.clone()), deadline, &mut group).await.unwrap();
    assert!(matches!(answers[..], [Answer::Made(_)]), "{answers:?}");
}
