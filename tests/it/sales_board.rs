//! Sales are read once for many readers, and a reader who has the bytes gets none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use bytes::Bytes;
use http::{Method, Request};

use crate::support::Service;
use crate::support::api::{Reply, new_key};
use crate::support::locks::until;

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
