//! One key, one order: in parallel, in sequence, across restarts and instances, and long after the
//! sale is over. Every repeat gets the first answer, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use serde_json::{Value, json};

use crate::support::Service;
use crate::support::api::{Reply, new_key};
use crate::support::crowd::{Wish, crowd, seed_buyers};

/// The one number that a statement answers.
async fn count(service: &Service, what: &'static str) -> i64 {
    let mut session = service.database.session().await;
    sqlx::query_scalar(what).fetch_one(&mut session).await.unwrap()
}

const ORDERS: &str = "SELECT count(*) FROM orders";
const KEYS_OF_ORDERS: &str = "SELECT count(*) FROM idempotency_keys WHERE operation = 'order'";

/// All of them are the same 201; exactly `first` of them did the work.
fn assert_twins(replies: &[Reply], first: usize) {
    for reply in replies {
        assert_eq!((reply.status.as_u16(), &reply.bytes), (201, &replies[0].bytes));
        assert_eq!(reply.header("location"), replies[0].header("location"));
    }
    let fresh = replies.iter().filter(|reply| !reply.replayed()).count();
    assert_eq!(fresh, first, "who did the work is not marked as a replay, the others are");
}

/// A service with a user who has 100.00 and a sale at 10.00.
async fn scene(stock: u32) -> (Service, String, String) {
    let service = Service::start().await;
    let user = service.api.user("100.00").await;
    let sale = service.api.sale("10.00", stock).await;
    (service, user, sale)
}

fn order(user: &str, sale: &str, quantity: u32) -> Value {
    json!({ "user_id": user, "sale_id": sale, "quantity": quantity })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clicks_with_one_key_are_one_order_and_fifty_equal_answers() {
    let (service, user, sale) = scene(5).await;
    let wish = Wish::order(&new_key(), &order(&user, &sale, 1));
    let replies = crowd(service.api.address(), 50, vec![wish; 50]).await;
    assert_twins(&replies, 1);
    assert_eq!((count(&service, ORDERS).await, count(&service, KEYS_OF_ORDERS).await), (1, 1));
    assert_eq!(service.api.stock(&sale).await, 4);
    assert_eq!(service.api.balance(&user).await, "90.00");
    service.finish().await;
}

#[tokio::test]
async fn a_key_answers_the_same_after_a_restart_after_sold_out_and_after_the_end() {
    let (service, user, sale) = scene(3).await;
    let (key, body) = (new_key(), order(&user, &sale, 2));
    let mut replies = vec![service.api.post("/api/orders", &key, &body).await];
    for _ in 0..3 {
        replies.push(service.api.post("/api/orders", &key, &body).await);
    }
    let database = service.finish().await;
    let service = Service::start_on(database, |_| {}).await;
    let api = &service.api;
    replies.push(api.post("/api/orders", &key, &body).await);

    api.buy(&new_key(), &user, &sale).await.expect(201);
    let new = api.buy(&new_key(), &user, &sale).await;
    new.refused(400, "out_of_stock", "no", "same_key");
    replies.push(api.post("/api/orders", &key, &body).await);

    let mut session = service.database.session().await;
    let end = sqlx::query("UPDATE sales SET ends_at = clock_timestamp()");
    end.execute(&mut session).await.unwrap();
    let new = api.buy(&new_key(), &user, &sale).await;
    new.refused(400, "sale_not_open", "no", "same_key");
    replies.push(api.post("/api/orders", &key, &body).await);

    assert_twins(&replies, 1);
    assert_eq!(count(&service, ORDERS).await, 2);
    service.finish().await;
}

#[tokio::test]
async fn an_order_that_has_expired_since_is_still_answered() {
    let (service, user, sale) = scene(5).await;
    let mut session = service.database.session().await;
    // On a crowded machine a second may be too short to be answered in: then a longer one.
    for seconds in [1, 2, 4, 8, 16] {
        let soon = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' + $1 * interval '1 second',
                                   'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let soon = sqlx::query_scalar(soon).bind(seconds);
        let soon: String = soon.fetch_one(&mut session).await.unwrap();
        let body = json!({ "user_id": user, "sale_id": sale, "valid_until": soon });
        let key = new_key();
        let first = service.api.post("/api/orders", &key, &body).await;
        if first.code() == "order_expired" {
            continue;
        }
        // The database waits until its own clock has passed the limit.
        let pass = "SELECT pg_sleep_until($1::text::timestamptz + interval '1 millisecond')";
        let pass = sqlx::query(pass).bind(&soon);
        pass.execute(&mut session).await.unwrap();
        let late = service.api.post("/api/orders", &new_key(), &body).await;
        late.refused(400, "order_expired", "no", "new_key");
        let again = service.api.post("/api/orders", &key, &body).await;
        assert_twins(&[first, again], 1);
        service.finish().await;
        return;
    }
    panic!("no order was answered within sixteen seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_with_two_bodies_in_parallel_has_one_winner() {
    let (service, user, sale) = scene(100).await;
    for _ in 0..5 {
        let key = new_key();
        let wish = |n: u32| Wish::order(&key, &order(&user, &sale, 1 + n % 2));
        let replies = crowd(service.api.address(), 24, (0..24).map(wish).collect()).await;
        let made = replies.iter().find(|reply| reply.status == 201);
        let made = made.expect("a winner").clone();
        let winner = made.body["quantity"].as_u64().unwrap();
        let mut twins = Vec::new();
        for (at, reply) in replies.into_iter().enumerate() {
            if 1 + at as u64 % 2 == winner {
                twins.push(reply);
            } else {
                let reply = reply.refused(422, "idempotency_key_reused", "yes", "new_key");
                assert_eq!(reply.text("order_id"), made.id());
            }
        }
        assert_eq!(twins.len(), 12);
        assert_twins(&twins, 1);
    }
    assert_eq!(count(&service, ORDERS).await, 5);
    service.finish().await;
}

#[tokio::test]
async fn every_meaningful_member_of_the_body_belongs_to_the_key() {
    let (service, user, sale) = scene(5).await;
    let other = service.api.sale("10.00", 5).await;
    let key = new_key();
    let mut body = json!({ "user_id": user, "sale_id": sale, "reference": "a" });
    let made = service.api.post("/api/orders", &key, &body).await;
    for (member, value) in [
        ("quantity", json!(2)),
        ("reference", json!("b")),
        ("sale_id", json!(other)),
        ("valid_until", json!("2999-01-01T00:00:00Z")),
    ] {
        let mut changed = body.clone();
        changed[member] = value;
        let reply = service.api.post("/api/orders", &key, &changed).await;
        let reply = reply.refused(422, "idempotency_key_reused", "yes", "new_key");
        assert_eq!(reply.text("order_id"), made.id(), "{member}");
    }
    body["quantity"] = json!(1);
    let again = service.api.post("/api/orders", &key, &body).await;
    assert_twins(&[made, again], 1);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_of_two_users_is_two_orders() {
    let service = Service::start().await;
    let users = seed_buyers(&service.database, 2, "100.00").await;
    let sale = service.api.sale("10.00", 5).await;
    let key = new_key();
    let wish = |n: usize| Wish::order(&key, &order(&users[n % 2], &sale, 1));
    let replies = crowd(service.api.address(), 20, (0..20).map(wish).collect()).await;
    let (one, two): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.body["user_id"] == json!(users[0]));
    assert_eq!((one.len(), two.len()), (10, 10));
    assert_twins(&one, 1);
    assert_twins(&two, 1);
    assert_eq!(count(&service, ORDERS).await, 2);
    service.finish().await;
}

#[tokio::test]
async fn a_key_means_something_else_in_each_operation() {
    let (service, user, sale) = scene(5).await;
    let (api, key) = (&service.api, new_key());
    let item = json!({ "name": "Test item", "unit_price": "1.00", "stock": 1 });
    let requests = [
        ("/api/orders".to_owned(), order(&user, &sale, 1)),
        (format!("/api/users/{user}/wallet/deposits"), json!({ "amount": "1.00" })),
        ("/api/users".to_owned(), json!({ "opening_balance": "1.00" })),
        ("/api/sales".to_owned(), item),
    ];
    let mut ids = Vec::new();
    for (path, body) in &requests {
        let made = api.post(path, &key, body).await.expect(201);
        ids.push(made.id());
        let again = api.post(path, &key, body).await;
        assert_twins(&[made, again], 1);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quoted_key_is_the_bare_key() {
    let (service, user, sale) = scene(5).await;
    let key = new_key();
    let forms = [key.clone(), format!("\"{key}\"")];
    let wish = |n: usize| Wish::order(&forms[n % 2], &order(&user, &sale, 1));
    let replies = crowd(service.api.address(), 20, (0..20).map(wish).collect()).await;
    assert_twins(&replies, 1);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_free_for_another_body() {
    let (service, user, sale) = scene(50).await;
    let key = new_key();
    let wish = Wish::order(&key, &order(&user, &sale, 11));
    let replies = crowd(service.api.address(), 20, vec![wish; 20]).await;
    for reply in replies {
        reply.refused(400, "insufficient_balance", "no", "same_key");
    }
    assert_eq!(count(&service, KEYS_OF_ORDERS).await, 0);
    let body = order(&user, &sale, 10);
    let made = service.api.post("/api/orders", &key, &body).await;
    assert_twins(&[made], 1);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_users_and_sales_are_made_once_for_a_key() {
    let (service, user, _) = scene(1).await;
    let address = service.api.address();
    let deposit = Wish::deposit(&new_key(), &user, "7.00");
    assert_twins(&crowd(address, 20, vec![deposit; 20]).await, 1);
    assert_eq!(service.api.balance(&user).await, "107.00");

    let sale = json!({ "name": "Test item", "unit_price": "1.00", "stock": 1 });
    let user = json!({ "external_id": "u-1", "opening_balance": "5.00" });
    for (path, body, rows) in [
        ("/api/users", user, "SELECT count(*) FROM users"),
        ("/api/sales", sale, "SELECT count(*) FROM sales"),
    ] {
        let before = count(&service, rows).await;
        let (path, key) = (path.to_owned(), new_key());
        let replies = crowd(address, 20, vec![Wish { path, key, body }; 20]).await;
        assert_twins(&replies, 1);
        assert_eq!(count(&service, rows).await, before + 1);
    }
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_one_database_make_one_order_of_one_key() {
    let (left, user, sale) = scene(5).await;
    let right = Service::start_on(left.database.clone(), |_| {}).await;
    for round in 1..=5 {
        let wish = Wish::order(&new_key(), &order(&user, &sale, 1));
        let (mut replies, others) = tokio::join!(
            crowd(left.api.address(), 20, vec![wish.clone(); 20]),
            crowd(right.api.address(), 20, vec![wish; 20]),
        );
        replies.extend(others);
        assert_twins(&replies, 1);
        assert_eq!(count(&right, ORDERS).await, round);
    }
    assert_eq!(left.api.balance(&user).await, "50.00");
    assert_eq!(right.api.stock(&sale).await, 0);
    right.finish().await;
    left.finish().await;
}
