//! Sales are read once for many readers, and a reader who has the bytes gets none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;
use uuid::Uuid;

use crate::support::Service;
use crate::support::api::{Reply, new_key};
use crate::support::locks::{Held, until};

/// A `GET` as a browser sends it: an answer from memory will do.
async fn look(service: &Service, path: &str, etag: Option<&str>) -> Reply {
    let mut request = Request::builder().method(Method::GET).uri(path);
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    let request = request.body(Bytes::new()).unwrap();
    service.api.send(request).await.unwrap()
}

#[tokio::test]
async fn a_reader_who_has_the_bytes_gets_304_until_they_change() {
    let service = Service::start().await;
    let (user, sale) = (service.api.user("9.00").await, service.api.sale("1.00", 9).await);
    for path in [format!("/api/sales/{sale}"), "/api/sales".to_owned()] {
        let first = look(&service, &path, None).await.expect(200);
        let etag = first.header("etag").unwrap().to_owned();
        assert_eq!(first.header("cache-control"), Some("public, max-age=1"));
        for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
            let again = look(&service, &path, Some(&known)).await.expect(304);
            assert_eq!((again.header("etag"), again.bytes.len()), (Some(&*etag), 0));
        }
        look(&service, &path, Some("\"x\"")).await.expect(200);
        service.api.buy(&new_key(), &user, &sale).await.expect(201);
        let changed = async || look(&service, &path, Some(&etag)).await.status == 200;
        until("the change is seen", changed).await;
    }
    service.finish().await;
}

/// Counted on the wire to the database: two hundred readers, a handful of statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_cost_the_database_next_to_nothing() {
    let (service, relay) = Service::behind_a_wire(|_| {}).await;
    let sale = service.api.sale("1.00", 9).await;
    let began = std::time::Instant::now();
    let before = relay.statements();
    for _ in 0..200 {
        let reply = look(&service, &format!("/api/sales/{sale}"), None).await.expect(200);
        assert_eq!(reply.body["stock"], 9);
    }
    let (asked, seconds) = (relay.statements() - before, began.elapsed().as_secs_f64());
    // Two for each fifth of a second, and what the service asks for itself.
    let allowed = 20.0 + 40.0 * seconds;
    assert!((asked as f64) < allowed, "{asked} statements for 200 readers in {seconds} s");
    service.finish().await;
}

/// Anybody can ask for sales that do not exist. While each such reading takes long, deposits have
/// places of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_invented_sales_leave_deposits_their_connections() {
    let service = Service::start_with(|raw| raw.lock_timeout = Some("200ms".to_owned())).await;
    let user = service.api.user("1.00").await;
    let held = "LOCK TABLE sales IN ACCESS EXCLUSIVE MODE".to_owned();
    let held = Held::by(&service.database, held).await;
    let readers: Vec<_> = (0..80)
        .map(|_| {
            let (api, path) = (service.api.clone(), format!("/api/sales/{}", Uuid::now_v7()));
            tokio::spawn(async move { api.get(&path).await })
        })
        .collect();
    until("the first of them are told to come back", async || {
        readers.iter().any(tokio::task::JoinHandle::is_finished)
    })
    .await;
    let path = format!("/api/users/{user}/wallet/deposits");
    for _ in 0..5 {
        service.api.post(&path, &new_key(), &json!({ "amount": "1.00" })).await.expect(201);
    }
    for reader in readers {
        let reply = reader.await.unwrap().expect(503);
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert!(!reply.text("detail").contains("key"), "a reader has none: {reply:?}");
    }
    held.release().await;
    service.finish().await;
}

#[tokio::test]
async fn who_asks_for_the_present_is_heard_however_it_is_written() {
    let service = Service::start().await;
    let (user, sale) = (service.api.user("9.00").await, service.api.sale("1.00", 9).await);
    let path = format!("/api/sales/{sale}");
    for (left, written) in [(8, "no-cache"), (7, "No-Cache"), (6, "max-age=0, NO-CACHE")] {
        look(&service, &path, None).await.expect(200);
        service.api.buy(&new_key(), &user, &sale).await.expect(201);
        let request = Request::builder().uri(&path).header("cache-control", written);
        let reply = service.api.send(request.body(Bytes::new()).unwrap()).await.unwrap();
        assert_eq!(reply.expect(200).body["stock"], left, "{written}");
    }
    service.finish().await;
}
