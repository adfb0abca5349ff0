//! Bodies by every road: how typed, how long, how slow.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::wire::Wire;
use crate::support::Service;
use crate::support::api::new_key;

/// The largest body, in bytes.
const BODY_MAX: usize = 16 * 1024;

fn head(rest: &str) -> String {
    let key = new_key();
    format!(
        "POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {key}\r\n{rest}\r\n\r\n"
    )
}

/// Bytes in chunks of this size, with the end.
fn chunked(body: &str, size: usize) -> String {
    let mut text = String::new();
    for chunk in body.as_bytes().chunks(size) {
        text.push_str(&format!("{:x}\r\n", chunk.len()));
        text.push_str(&String::from_utf8_lossy(chunk));
        text.push_str("\r\n");
    }
    text + "0\r\n\r\n"
}

#[tokio::test]
async fn a_body_says_once_that_it_is_json() {
    let service = Service::start().await;
    let api = &service.api;
    let bad: [&[&str]; 9] = [
        &[],
        &[""],
        &["text/plain"],
        &["application/jsonp"],
        &["application/problem+json"],
        &["application/x-www-form-urlencoded"],
        &["text/plain, application/json"],
        &["application/json", "application/json"],
        &["application/json", "text/plain"],
    ];
    let path = format!("/api/users/{}", crate::orders::NOBODY);
    for (method, path) in [(Method::POST, "/api/users"), (Method::PUT, path.as_str())] {
        for types in bad {
            let mut builder =
                api.request(method.clone(), path).header("idempotency-key", new_key());
            for line in types {
                builder = builder.header("content-type", *line);
            }
            let reply = api.send(builder.body(Bytes::from("{}")).expect("a request")).await;
            let reply = reply.expect("an answer").expect(415);
            assert_eq!(reply.code(), "unsupported_media_type", "{types:?}");
            assert_eq!(reply.body["charged"] == "no", method == Method::POST, "{types:?}");
        }
    }
    for (coding, status) in [("gzip", 415), ("identity, gzip", 415), ("identity", 201)] {
        let builder = api.request(Method::POST, "/api/users").header("content-encoding", coding);
        let builder = builder.header("content-type", "application/json");
        let reply = api.send(builder.body(Bytes::from("{}")).expect("a request")).await;
        reply.expect("an answer").expect(status);
    }
    for good in ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"] {
        let builder = api.request(Method::POST, "/api/users").header("content-type", good);
        let reply = api.send(builder.body(Bytes::from("{}")).expect("a request")).await;
        reply.expect("an answer").expect(201);
    }
    service.finish().await;
}

/// 16 KiB are taken, one byte more is not, whether it is announced, sent or comes in chunks.
#[tokio::test]
async fn a_body_has_a_largest_size_on_every_road() {
    let service = Service::start().await;
    let fitting = format!("{}{{}}", " ".repeat(BODY_MAX - 2));
    let large = format!("{fitting} ");
    let length = |bytes: usize| format!("Content-Length: {bytes}");
    let chunks = "Transfer-Encoding: chunked";
    for (what, bytes, status) in [
        ("at the limit", head(&length(BODY_MAX)) + &fitting, 201),
        ("at the limit, in chunks", head(chunks) + &chunked(&fitting, 1_000), 201),
        ("at the limit, in small chunks", head(chunks) + &chunked(&fitting, 7), 201),
        ("beyond it, announced only", head(&length(BODY_MAX + 1)), 413),
        ("a gigabyte, announced only", head(&length(1 << 30)), 413),
        ("beyond it, sent", head(&length(BODY_MAX + 1)) + &large, 413),
        ("beyond it, in chunks", head(chunks) + &chunked(&large, 1_000), 413),
        ("beyond it, in one chunk", head(chunks) + &chunked(&large, 20_000), 413),
        ("no body", head(&length(0)), 400),
        ("no chunk", head(chunks) + "0\r\n\r\n", 400),
        ("a chunk that is none", head(chunks) + "zz\r\n{}\r\n0\r\n\r\n", 400),
    ] {
        let mut wire = Wire::open(&service.api).await;
        wire.send(&bytes).await;
        let answer = wire.answer().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if status == 413 {
            let answer = answer.problem(413, "body_too_large");
            assert!(answer.head.contains("connection: close"), "{what}: {answer:?}");
            assert!(answer.body.contains(r#""charged":"no""#), "{what}: {answer:?}");
            assert!(wire.ends().await, "{what}: what is still to come is not read");
        }
    }
    service.finish().await;
}

/// The one test here that takes its time: the real ten seconds, for all slow bodies side by side.
#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_after_ten_seconds() {
    let service = Service::start().await;
    let api = &service.api;
    let path = format!("PUT /api/users/{} HTTP/1.1", crate::orders::NOBODY);
    let put = head("Content-Length: 2").replace("POST /api/users HTTP/1.1", &path);
    let slow = async |bytes: String, drip: &str| {
        let (mut wire, begun) = (Wire::open(api).await, Instant::now());
        wire.send(&bytes).await;
        for byte in drip.chars() {
            tokio::time::sleep(Duration::from_millis(900)).await;
            wire.send(byte.to_string()).await;
        }
        let answer = wire.answer().await.expect("an answer");
        let answer = answer.problem(408, "request_timeout");
        assert!(answer.head.contains("connection: close"), "{answer:?}");
        let is_post = bytes.starts_with("POST");
        assert_eq!(answer.body.contains(r#""charged":"no""#), is_post, "{answer:?}");
        let waited = begun.elapsed().as_secs_f64();
        assert!((9.9..20.0).contains(&waited), "{waited} s");
        assert!(wire.ends().await);
    };
    tokio::join!(
        slow(head("Content-Length: 2"), ""),
        slow(head("Content-Length: 20"), "{\"name\":\""),
        slow(head("Transfer-Encoding: chunked"), ""),
        slow(head("Transfer-Encoding: chunked") + "1\r\n{\r\n", ""),
        slow(head("Content-Length: 20"), "{\"name\":\"A"),
        slow(put, ""),
    );
    assert_eq!(api.get("/api/users").await.expect(200).body, json!({ "items": [] }));
    service.finish().await;
}
