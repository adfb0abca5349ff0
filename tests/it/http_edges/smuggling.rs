//! Requests that a proxy and we could read differently: whatever one of them calls a body must
//! never become a request of its own here. And connections that ask to become something else.

use super::wire::Wire;
use crate::support::Service;

/// What an attacker hides behind an ambiguous request.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// Heads (after the request line and `Host`) with a body in front of the hidden request. All of
/// them are refused, or are the last request of their connection.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\n"),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "1c\r\n{}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
    ("Transfer-Encoding : chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
    ("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
    ("X: y\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
    ("Content-Length: 0\r\nContent-Length: 5", ""),
    ("Content-Length: 5\r\nContent-Length: 0", "hello"),
    ("Content-Length: 0, 0", ""),
    ("Content-Length: +0", ""),
    ("Content-Length: 0x0", ""),
    ("Content-Length: 0 0", ""),
    ("Content-Length:", ""),
    ("Content-Length : 0", ""),
    ("Content-Length: 99999999999999999999", ""),
    ("Content-Length: 0\r\nX: \rContent-Length: 9", ""),
    ("Transfer-Encoding: chunked", "0x0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "-1\r\n\r\n"),
    ("Transfer-Encoding: chunked", "fffffffffffffffff\r\n\r\n"),
    ("Transfer-Encoding: chunked", "2\r\n{}XX0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "2 \x01\r\n{}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "\r\n0\r\n\r\n"),
];

#[tokio::test]
async fn an_ambiguous_request_is_the_last_of_its_connection() {
    let service = Service::start().await;
    let mut answered = Vec::new();
    for (head, body) in AMBIGUOUS {
        for target in ["POST /api/orders", "POST /livez", "GET /livez"] {
            let mut wire = Wire::open(&service.api).await;
            let kind = "Content-Type: application/json";
            wire.send(format!(
                "{target} HTTP/1.1\r\nHost: x\r\n{kind}\r\n{head}\r\n\r\n{body}{HIDDEN}"
            ))
            .await;
            let first = wire.answer().await;
            if let Some(first) = &first {
                assert!(first.status < 500, "{target} {head:?}: {first:?}");
                assert!(!first.body.contains("smuggled"), "{target} {head:?}: {first:?}");
            }
            if let Some(second) = wire.answer().await {
                answered.push(format!("{target} {head:?} {body:?}: {first:?}, then {second:?}"));
            }
        }
    }
    assert!(answered.is_empty(), "the hidden request was answered:\n{}", answered.join("\n"));
    service.finish().await;
}

/// HTTP/1.1 it is and stays: no upgrade is agreed to, and the request is answered as it stands.
#[tokio::test]
async fn nobody_talks_the_connection_into_another_protocol() {
    let service = Service::start().await;
    for upgrade in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket, flashdeal/2",
    ] {
        let mut wire = Wire::open(&service.api).await;
        wire.send(format!("GET /livez HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n\r\n")).await;
        let answer = wire.answer().await.expect("an answer");
        assert_eq!(answer.status, 200, "{upgrade}: {answer:?}");
        assert!(!answer.head.contains("upgrade:"), "{upgrade}: {answer:?}");
        // And it still speaks what it spoke.
        wire.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await;
        wire.answer().await.expect("an answer").problem(404, "route_not_found");
    }
    // HTTP/2 by prior knowledge: the preface is no request.
    let mut wire = Wire::open(&service.api).await;
    wire.send(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..]).await;
    if let Some(answer) = wire.answer().await {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert!(wire.ends().await);
    service.finish().await;
}

/// A body that was not asked for yet is not asked for when the answer is already no.
#[tokio::test]
async fn a_refusal_does_not_invite_the_body() {
    let service = Service::start_jwt().await;
    let mut wire = Wire::open(&service.api).await;
    let head = "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Idempotency-Key: k\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n";
    wire.send(head).await;
    let answer = wire.answer().await.expect("an answer");
    answer.problem(401, "unauthenticated");
    service.finish().await;
}
