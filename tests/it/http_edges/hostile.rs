//! Sockets that mean harm: what one of them costs is bounded, and an honest client hardly notices a
//! thousand of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use flashdeal::adapters::http::HttpClient;
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::Service;
use crate::support::api::{Api, new_key};

/// It asks for the longest page again and again and reads nothing. The kernel's buffers fill, the
/// answer stands still, and ten seconds later the connection is gone. (Beside the slow bodies the
/// only test that takes its time.)
#[tokio::test]
async fn a_client_that_never_reads_its_answers_loses_its_connection() {
    let service = Service::start().await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut greedy = socket.connect(service.api.address()).await.expect("a connection");
    let asked = "GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
    let begun = Instant::now();
    let lost = async {
        // Writing fails once the other side has thrown the connection away.
        while greedy.write_all(asked.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), lost).await.expect("the connection is ended");
    let held = begun.elapsed().as_secs_f64();
    assert!((9.0..35.0).contains(&held), "{held} s");
    service.api.get("/livez").await.expect(200);
    service.finish().await;
}

/// Thousands of faults in one request are answered with a handful: an answer is no amplifier.
#[tokio::test]
async fn a_refusal_is_shorter_than_what_was_refused() {
    let service = Service::start_jwt().await;
    let api = &service.api;
    // In nobody's name: lists of sales are public.
    let reply = api.get(&format!("/api/sales?{}", "a&".repeat(7_000))).await.expect(400);
    assert_eq!(reply.body["errors"].as_array().map(Vec::len), Some(20));
    assert!(reply.bytes.len() < 8 * 1024, "{} bytes", reply.bytes.len());
    assert!(reply.text("detail").ends_with("and 6980 more"), "{}", reply.text("detail"));
    let members: Vec<String> = (0..1_500).map(|n| format!("\"a{n}\":1")).collect();
    let body = format!("{{{}}}", members.join(","));
    let reply = service.admin().post_raw("/api/sales", &new_key(), &body).await;
    let reply = reply.refused(400, "validation_failed", "no", "never");
    assert!(reply.bytes.len() < 8 * 1024, "{} bytes", reply.bytes.len());
    // Characters that are spelled out, and so grow.
    let members: Vec<String> =
        (0..20).map(|n| format!("\"{}{n}\":1", "\u{10ffff}".repeat(79))).collect();
    let body = format!("{{{}}}", members.join(","));
    let reply = service.admin().post_raw("/api/sales", &new_key(), &body).await;
    let reply = reply.refused(400, "validation_failed", "no", "never");
    assert!(reply.bytes.len() < 2 * body.len(), "{} for {}", reply.bytes.len(), body.len());
    // No object at all, of characters that are spelled out where they are quoted.
    let body = format!("\"{}\"", "\u{7f}".repeat(16_000));
    let reply = service.admin().post_raw("/api/sales", &new_key(), &body).await;
    let reply = reply.refused(400, "validation_failed", "no", "never");
    assert!(reply.bytes.len() < 1024, "{} bytes", reply.bytes.len());
    service.finish().await;
}

/// No head, half a head, a head by the byte, and no second request: thirty seconds, and the place
/// is free. All side by side, since they take their time.
#[tokio::test]
async fn a_head_that_does_not_come_is_given_up_after_thirty_seconds() {
    let service = Service::start().await;
    let slow = async |what: &str, said: &str, drip: bool| {
        let mut socket = TcpStream::connect(service.api.address()).await.expect("a connection");
        socket.write_all(said.as_bytes()).await.expect("bytes are taken");
        let begun = Instant::now();
        let mut answer = Vec::new();
        let ended = async {
            let mut part = [0; 512];
            loop {
                let next = tokio::time::timeout(Duration::from_secs(1), socket.read(&mut part));
                match next.await {
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(count)) => answer.extend_from_slice(&part[..count]),
                    Err(_a_second) if drip => drop(socket.write_all(b"x").await),
                    Err(_a_second) => {}
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(45), ended).await;
        assert!(in_time.is_ok(), "{what}: still open");
        let held = begun.elapsed().as_secs_f64();
        assert!((28.0..45.0).contains(&held), "{what}: {held} s");
        (what.to_owned(), String::from_utf8_lossy(&answer).into_owned())
    };
    let (a, b, c, d) = tokio::join!(
        slow("no byte", "", false),
        slow("half a head", "GET /livez HTTP/1.1\r\nHost: x\r\n", false),
        slow("a byte a second", "GET /livez HTTP/1.1\r\nHost: x\r\nX: ", true),
        slow("no second request", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", false),
    );
    for (what, answer) in [a, b, c] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert!(d.1.starts_with("HTTP/1.1 200"), "{}", d.1);
    service.finish().await;
}

const HOSTILE: usize = 1_000;

/// A quarter each: silent, half a head, half a body, and a drip of headers.
async fn besiege(api: &Api) -> JoinSet<()> {
    let mut sockets = JoinSet::new();
    for number in 0..HOSTILE {
        let mut socket = TcpStream::connect(api.address()).await.expect("a connection");
        let said = match number % 4 {
            0 => String::new(),
            1 => "GET /api/sales HTT".to_owned(),
            2 => "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                  Idempotency-Key: k\r\nContent-Length: 100\r\n\r\n{\"user"
                .to_owned(),
            _ => "GET /api/sales HTTP/1.1\r\nHost: x\r\n".to_owned(),
        };
        sockets.spawn(async move {
            let _ = socket.write_all(said.as_bytes()).await;
            loop {
                tokio::time::sleep(Duration::from_millis(1_000)).await;
                if number % 4 == 3 && socket.write_all(b"x: y\r\n").await.is_err() {
                    return;
                }
            }
        });
    }
    sockets
}

/// The 99th percentile of an honest client's orders and reads, in milliseconds.
async fn honest_p99(api: &Api, user: &str, sale: &str) -> f64 {
    let mut client = HttpClient::connect(api.address()).await.expect("a connection");
    let mut times = Vec::new();
    for number in 0..300 {
        let builder = Request::builder();
        let request = if number % 3 == 0 {
            let body = json!({ "user_id": user, "sale_id": sale }).to_string();
            let builder = builder.method("POST").uri("/api/orders");
            let builder = builder.header("content-type", "application/json");
            builder.header("idempotency-key", new_key()).body(Bytes::from(body))
        } else {
            builder.uri(format!("/api/users/{user}/wallet")).body(Bytes::new())
        };
        let begun = Instant::now();
        let reply = client.send(request.expect("a request")).await.expect("an answer");
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(reply.status.is_success(), "{reply:?}");
    }
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_client_hardly_notices_a_thousand_hostile_sockets() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("9000.00").await, api.sale("1.00", 9_000).await);
    honest_p99(api, &user, &sale).await;
    // The best of three rounds each: neighbours on this machine are no attackers.
    let (mut alone, mut besieged) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        alone = alone.min(honest_p99(api, &user, &sale).await);
    }
    let sockets = besiege(api).await;
    for _ in 0..3 {
        besieged = besieged.min(honest_p99(api, &user, &sale).await);
    }
    assert_eq!(sockets.len(), HOSTILE, "all of them were there all the time");
    println!("honest p99: {alone:.2} ms alone, {besieged:.2} ms beside {HOSTILE} hostile sockets");
    assert!(besieged <= alone * 2.0 + 5.0, "{besieged} ms instead of {alone} ms");
    drop(sockets);
    service.finish().await;
}
