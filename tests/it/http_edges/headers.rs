//! Headers of every answer: ids that come back, security, caches, CORS.

use bytes::Bytes;
use flashdeal::adapters::http::HttpReply;
use http::{HeaderValue, Method, Request};
use serde_json::json;
use uuid::Uuid;

use super::{text, unjudged};
use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};

async fn get_with(api: &Api, path: &str, lines: &[(&str, &[u8])]) -> Reply {
    let mut builder = api.request(Method::GET, path);
    for (name, value) in lines {
        builder = builder.header(*name, HeaderValue::from_bytes(value).expect("a header"));
    }
    api.send(builder.body(Bytes::new()).expect("a request")).await.expect("an answer")
}

/// Answers and problems alike: the judge holds `instance` against the header.
#[tokio::test]
async fn a_request_id_comes_back_or_is_made() {
    let service = Service::start().await;
    let api = &service.api;
    let (longest, too_long) = ([b'r'; 128], [b'r'; 129]);
    for path in ["/livez", "/api/sales", "/nowhere", "/api/orders?x=1", "/", "/docs"] {
        for good in [&b"r-1"[..], b"!", b"a/b?c={\"d\"}~", &longest] {
            let reply = get_with(api, path, &[("x-request-id", good)]).await;
            assert_eq!(reply.header("x-request-id").map(str::as_bytes), Some(good), "{path}");
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"\xc3\xa4", &too_long] {
            let reply = get_with(api, path, &[("x-request-id", bad)]).await;
            let made = reply.header("x-request-id").and_then(|id| Uuid::try_parse(id).ok());
            let version = made.map(|id| id.get_version_num());
            assert_eq!(version, Some(7), "{path} {bad:?}: {reply:?}");
        }
    }
    let ids = [api.get("/livez").await, api.get("/livez").await];
    assert_ne!(ids[0].header("x-request-id"), ids[1].header("x-request-id"));
    service.finish().await;
}

#[tokio::test]
async fn a_trace_comes_back_when_it_is_one() {
    let service = Service::start().await;
    let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for path in ["/livez", "/api/sales", "/nowhere"] {
        let reply = get_with(&service.api, path, &[("traceparent", good)]).await;
        assert_eq!(reply.header("traceparent").map(str::as_bytes), Some(&good[..]), "{path}");
        for bad in [&b"00-0-0-01"[..], &good[..54], b"", b"\xff"] {
            let reply = get_with(&service.api, path, &[("traceparent", bad)]).await;
            assert_eq!(reply.header("traceparent"), None, "{path} {bad:?}");
        }
    }
    service.finish().await;
}

/// One of each kind of answer.
const PATHS: &[&str] = &[
    "/",
    "/docs",
    "/openapi.yaml",
    "/problems/internal",
    "/problems/none",
    "/livez",
    "/readyz",
    "/metrics",
    "/api/audit",
    "/api/sales",
    "/api/sales/7",
    "/api/orders?limit=0",
    "/nowhere",
    "/api/nowhere",
];

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let service = Service::start_with(|raw| {
        raw.cors_origins = Some("https://shop.example".to_owned());
    })
    .await;
    let api = &service.api;
    let made = api.post("/api/users", &new_key(), &json!({})).await.expect(201);
    let refused = api.post("/api/users", "a b", &json!({})).await.expect(400);
    let mut answers = vec![("POST".to_owned(), made), ("POST bad".to_owned(), refused)];
    for path in PATHS {
        answers.push(((*path).to_owned(), api.get(path).await));
        let request = api.request(Method::DELETE, path).body(Bytes::new());
        let reply = api.send(request.expect("a request")).await.expect("an answer");
        answers.push((format!("DELETE {path}"), reply));
    }
    for (what, reply) in &answers {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{what}");
        let policy = reply.header("content-security-policy").unwrap_or_default();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{what}: {policy}");
        }
        let script = policy.split("script-src").nth(1).and_then(|rest| rest.split(';').next());
        assert_eq!(script, Some(" 'self'"), "{what}: no inline script, no foreign one");
        assert!(reply.header("server").is_none(), "{what}");
        if what.contains("/api") || what.contains("nowhere") || what.starts_with("POST") {
            let stored = if what == "/api/sales" { "public, max-age=1" } else { "no-store" };
            assert_eq!(reply.header("cache-control"), Some(stored), "{what}");
        }
    }
    service.finish().await;
}

/// A service that two origins may read.
async fn with_origins() -> Service {
    Service::start_with(|raw| {
        raw.cors_origins = Some("https://shop.example,http://localhost:5173".to_owned());
    })
    .await
}

async fn preflight(api: &Api, origin: &str) -> HttpReply {
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri("/api/orders")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "idempotency-key,content-type");
    unjudged(api, request.body(Bytes::new()).expect("a request")).await
}

#[tokio::test]
async fn a_configured_origin_may_ask_and_read() {
    let service = with_origins().await;
    let api = &service.api;
    for origin in ["https://shop.example", "http://localhost:5173"] {
        let reply = preflight(api, origin).await;
        assert_eq!(reply.status.as_u16(), 200);
        assert_eq!(text(&reply, "access-control-allow-origin"), origin);
        for method in ["GET", "HEAD", "POST", "PUT"] {
            assert!(text(&reply, "access-control-allow-methods").contains(method));
        }
        let headers = text(&reply, "access-control-allow-headers").to_lowercase();
        for name in "authorization content-type idempotency-key x-request-id traceparent".split(' ')
        {
            assert!(headers.contains(name), "{headers}");
        }
        assert_eq!(text(&reply, "x-content-type-options"), "nosniff", "{reply:?}");
        let read = get_with(api, "/api/sales", &[("origin", origin.as_bytes())]).await;
        assert_eq!(read.header("access-control-allow-origin"), Some(origin));
        assert!(read.header("access-control-allow-credentials").is_none());
        let exposed = read.header("access-control-expose-headers").unwrap_or_default();
        let exposed: Vec<String> =
            exposed.split(',').map(|name| name.trim().to_lowercase()).collect();
        let wanted = "etag idempotent-replayed location ratelimit ratelimit-policy retry-after \
                      x-request-id";
        for name in wanted.split(' ') {
            assert!(exposed.iter().any(|one| one == name), "{name}: {exposed:?}");
        }
        let varies = read.header("vary").unwrap_or_default().to_lowercase();
        assert!(varies.contains("origin"), "{varies}");
        // Who asks for the methods of a path is no page that asks for leave.
        let asked = Request::builder().method(Method::OPTIONS).uri("/api/orders");
        let asked = asked.header("origin", origin).body(Bytes::new()).expect("a request");
        let methods = unjudged(api, asked).await;
        assert_eq!((methods.status.as_u16(), text(&methods, "allow")), (405, "GET, HEAD, POST"));
        // A page must be able to read why it was refused.
        let problem = get_with(api, "/nowhere", &[("origin", origin.as_bytes())]).await;
        assert_eq!(problem.header("access-control-allow-origin"), Some(origin));
    }
    service.finish().await;
}

#[tokio::test]
async fn no_other_origin_may_read() {
    let service = with_origins().await;
    let api = &service.api;
    for origin in
        ["https://evil.example", "http://shop.example", "https://shop.example.evil", "null"]
    {
        let reply = preflight(api, origin).await;
        assert_eq!(text(&reply, "access-control-allow-origin"), "", "{origin}");
        let read = get_with(api, "/api/sales", &[("origin", origin.as_bytes())]).await;
        assert_eq!(read.header("access-control-allow-origin"), None, "{origin}");
    }
    service.finish().await;
}

#[tokio::test]
async fn without_configured_origins_there_is_no_cors() {
    let service = Service::start().await;
    let origin: (&str, &[u8]) = ("origin", b"https://shop.example");
    let read = get_with(&service.api, "/api/sales", &[origin]).await.expect(200);
    assert!(read.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    service.finish().await;
}

#[tokio::test]
async fn a_problem_is_problem_json_whatever_is_accepted() {
    let service = Service::start().await;
    for accept in ["text/html", "application/xml", "application/json;q=0", "", "nonsense"] {
        for (path, kind) in [
            ("/nowhere", "application/problem+json"),
            ("/api/sales?limit=0", "application/problem+json"),
            ("/api/sales", "application/json"),
        ] {
            let reply = get_with(&service.api, path, &[("accept", accept.as_bytes())]).await;
            assert_eq!(reply.header("content-type"), Some(kind), "{accept} {path}");
        }
    }
    service.finish().await;
}
