//! The operator's own address, and what stays off the public one.

use bytes::Bytes;
use flashdeal::adapters::http::HttpReply;
use http::{Method, Request};

use super::{text, unjudged};
use crate::support::Service;
use crate::support::api::Api;
use crate::support::service::SECRET;

async fn start() -> (Service, Api) {
    let service = Service::start_with(|raw| {
        raw.auth = Some("jwt".to_owned());
        raw.jwt_secret = Some(SECRET.to_owned());
        raw.ops_listen = Some("127.0.0.1:0".to_owned());
    })
    .await;
    let operator = Api::at(service.running.ops_address.expect("an address apart"));
    (service, operator)
}

#[tokio::test]
async fn metrics_and_audit_live_on_the_operators_address_only() {
    let (service, operator) = start().await;
    for path in ["/metrics", "/api/audit", "/metrics/", "/livez", "/readyz"] {
        let found = operator.get(path).await.expect(200);
        assert!(!found.bytes.is_empty(), "{path}: no token is asked for here");
    }
    for api in [&service.api, &service.admin(), &service.shop()] {
        for path in ["/metrics", "/api/audit"] {
            let hidden = api.get(path).await.expect(404);
            assert_eq!(hidden.code(), "route_not_found", "{path}");
        }
        api.get("/livez").await.expect(200);
        api.get("/readyz").await.expect(200);
    }
    let audit = operator.get("/api/audit").await.expect(200);
    assert_eq!(audit.body["balanced"], true);
    // Nor by another method, which would tell that there is something.
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/metrics", "/metrics/", "/api/audit", "/api/audit/"] {
            let reply = sent(&service.admin(), method, path).await;
            assert_eq!(reply.status.as_u16(), 404, "{method} {path}: {reply:?}");
            assert_eq!(text(&reply, "allow"), "", "{method} {path}");
        }
        let elsewhere = sent(&service.api, method, "/livez").await;
        let has = ["GET", "HEAD"].contains(&method);
        assert_eq!(elsewhere.status.as_u16(), if has { 200 } else { 405 }, "{method} /livez");
    }
    service.finish().await;
}

async fn sent(api: &Api, method: &str, path: &str) -> HttpReply {
    let request = Request::builder().method(method).uri(path).body(Bytes::new());
    unjudged(api, request.expect("a request")).await
}

/// The page leads to metrics where they are, and nowhere else.
#[tokio::test]
async fn the_page_links_to_metrics_only_where_they_are() {
    let (apart, _operator) = start().await;
    let together = Service::start().await;
    for (service, links) in [(&apart, 0), (&together, 1)] {
        let page = service.api.get("/").await.expect(200);
        let page = String::from_utf8_lossy(&page.bytes).into_owned();
        assert_eq!(page.matches("/metrics").count(), links, "{page}");
        assert!(page.contains("href=\"/docs\"") && page.ends_with("</html>\n"), "{page}");
    }
    apart.finish().await;
    together.finish().await;
}

/// It has four paths and no others: no order, no page, and no word of what the other address has.
#[tokio::test]
async fn the_operators_address_sells_nothing() {
    let (service, operator) = start().await;
    for (method, path) in [
        (Method::GET, "/api/orders"),
        (Method::POST, "/api/orders"),
        (Method::DELETE, "/api/orders"),
        (Method::POST, "/api/users"),
        (Method::GET, "/api/sales"),
        (Method::GET, "/"),
        (Method::GET, "/docs"),
        (Method::GET, "/openapi.yaml"),
        (Method::GET, "/api/purchase"),
        (Method::GET, "/metrics/x"),
    ] {
        let request = Request::builder().method(method.clone()).uri(path).body(Bytes::new());
        let reply = unjudged(&operator, request.expect("a request")).await;
        assert_eq!(reply.status.as_u16(), 404, "{method} {path}: {reply:?}");
        assert_eq!(text(&reply, "content-type"), "application/problem+json");
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(said.contains("/livez, /readyz, /metrics and /api/audit, nothing else"), "{said}");
        assert!(!said.contains("/docs") && !said.contains("/api/orders"), "{said}");
    }
    let request = Request::builder().method(Method::POST).uri("/metrics").body(Bytes::new());
    let reply = unjudged(&operator, request.expect("a request")).await;
    assert_eq!((reply.status.as_u16(), text(&reply, "allow")), (405, "GET, HEAD"));
    service.finish().await;
}

/// Prometheus' text format, with every family named once and only documented names.
#[tokio::test]
async fn metrics_are_in_the_text_format_with_known_names_only() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("9.00").await, api.sale("1.00", 9).await);
    api.buy("k", &user, &sale).await.expect(201);
    let reply = api.get("/metrics").await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4"));
    let page = String::from_utf8_lossy(&reply.bytes).into_owned();
    let names: Vec<&str> =
        flashdeal::ports::signals::ALL.iter().map(|signal| signal.name).collect();
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|family| names.contains(family)))
            .unwrap_or(name);
        // The process's own figures come from a library, by Prometheus' usual names.
        assert!(names.contains(&family) || family.starts_with("process_"), "{line}");
        for secret in [user.as_str(), "key-"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
    for family in
        ["http_requests_duration_seconds", "orders_total", "db_lock_wait_seconds", "build_info"]
    {
        assert!(page.contains(&format!("# TYPE {family} ")), "{family}");
    }
    assert!(page.contains(r#"outcome="confirmed""#), "{page}");
    service.finish().await;
}
