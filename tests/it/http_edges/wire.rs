//! The wire itself: several requests in a row, old and odd HTTP, and bytes that are none.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Service;
use crate::support::api::Api;

/// No answer takes longer; only the slow bodies come near.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// A connection whose bytes are ours.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, taken apart by hand.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Panics unless it is a problem with this code.
    pub(crate) fn problem(self, status: u16, code: &str) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        assert!(self.body.contains(&format!("\"code\":\"{code}\"")), "{self:?}");
        self
    }
}

impl Wire {
    pub(crate) async fn open(api: &Api) -> Wire {
        let stream = TcpStream::connect(api.address()).await.expect("a connection");
        Wire::over(stream)
    }

    pub(crate) fn over(stream: TcpStream) -> Wire {
        Wire { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("bytes are taken");
    }

    /// The next answer; `None` when the other side has ended.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(WAIT_MAX, self.take_answer()).await.expect("an answer in time")
    }

    async fn take_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_lowercase();
        let status = head[9..12].parse().expect("a status");
        let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
            rest.lines().next().unwrap_or_default().trim().parse().expect("a length")
        });
        while self.read.len() < end + length {
            self.more().await?;
        }
        let body = String::from_utf8_lossy(&self.read[end..end + length]).into_owned();
        self.read.drain(..end + length);
        Some(Answer { status, head, body })
    }

    async fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 4096];
        // A reset is an end, too.
        let count = self.stream.read(&mut chunk).await.unwrap_or(0);
        self.read.extend_from_slice(&chunk[..count]);
        (count > 0).then_some(())
    }

    /// Whether the other side ends the connection without another answer.
    pub(crate) async fn ends(mut self) -> bool {
        self.answer().await.is_none()
    }
}

const GET: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_outlives_problems_and_answers_in_order() {
    let service = Service::start().await;
    let mut wire = Wire::open(&service.api).await;
    let post = |kind: &str, body: &str| {
        format!(
            "POST /api/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // One by one, then all at once.
    for pipelined in [false, true] {
        let requests = [
            ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
            (GET.to_owned(), 200),
            (post("application/json", "{"), 400),
            (post("text/plain", "{}"), 415),
            ("DELETE /livez HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
            ("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_owned(), 404),
            (post("application/json", "[]"), 400),
            (GET.to_owned(), 200),
        ];
        if pipelined {
            let all: String = requests.iter().map(|(bytes, _)| bytes.as_str()).collect();
            wire.send(all).await;
        }
        for (bytes, status) in &requests {
            if !pipelined {
                wire.send(bytes).await;
            }
            let answer = wire.answer().await.unwrap_or_else(|| panic!("no answer to {bytes}"));
            assert_eq!(answer.status, *status, "{bytes}: {answer:?}");
        }
    }
    service.finish().await;
}

#[tokio::test]
async fn old_and_odd_requests_are_answered() {
    let service = Service::start().await;
    for (bytes, statuses) in [
        ("GET /livez HTTP/1.0\r\n\r\n", &[200][..]),
        ("GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200]),
        ("GET /livez HTTP/1.1\r\n\r\n", &[400]),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("GET http://elsewhere/livez HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
        ("GET /livez?a=%zz&&=& HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", &[200]),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &[404, 405]),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 404, 405]),
        ("get /livez HTTP/1.1\r\nHost: x\r\n\r\n", &[405]),
        ("POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", &[400]),
        (
            "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            &[400],
        ),
        ("POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", &[400]),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n", &[400]),
        ("GET /livez HTTP/3.0\r\nHost: x\r\n\r\n", &[400]),
    ] {
        let mut wire = Wire::open(&service.api).await;
        wire.send(bytes).await;
        let answer = wire.answer().await.unwrap_or_else(|| panic!("no answer to {bytes}"));
        assert!(statuses.contains(&answer.status), "{bytes}: {answer:?}");
    }
    service.finish().await;
}

#[tokio::test]
async fn what_is_no_http_ends_its_own_connection_only() {
    let service = Service::start().await;
    let mut neighbour = Wire::open(&service.api).await;
    let garbage: [&[u8]; 9] = [
        b"",
        b"\r\n\r\n\r\n",
        b"\0\0\0\0",
        b"GET",
        b"GET /livez",
        b"hello there\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: \xff\0\r\n\r\n",
    ];
    for bytes in garbage {
        let mut wire = Wire::open(&service.api).await;
        wire.send(bytes).await;
        let _ = wire.stream.shutdown().await;
        if let Some(answer) = wire.answer().await {
            assert_eq!(answer.status, 400, "{bytes:?}: {answer:?}");
        }
        neighbour.send(GET).await;
        assert_eq!(neighbour.answer().await.expect("an answer").status, 200);
    }
    service.finish().await;
}

/// hyper answers these by itself, before there is a request that could carry a problem.
#[tokio::test]
async fn a_head_without_measure_is_a_431() {
    let service = Service::start().await;
    let lines = |count: usize| -> String {
        let lines: String = (0..count).map(|line| format!("x-{line}: y\r\n")).collect();
        format!("GET /livez HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
    };
    let long = |bytes: usize| {
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nx-long: {}\r\n\r\n", "y".repeat(bytes))
    };
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(40_000));
    for (bytes, statuses) in [
        (lines(60), &[200][..]),
        (long(12_000), &[200]),
        (lines(70), &[431]),
        (long(20 * 1_024), &[431]),
        (long(40_000), &[431]),
        (path, &[414, 431]),
    ] {
        let mut wire = Wire::open(&service.api).await;
        wire.send(&bytes).await;
        let answer = wire.answer().await.expect("an answer");
        assert!(statuses.contains(&answer.status), "{}: {answer:?}", bytes.len());
        if answer.status != 200 {
            assert!(wire.ends().await, "the connection is of no more use");
        }
    }
    service.finish().await;
}
