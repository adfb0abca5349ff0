//! Connections by the hundred: of one address, of a proxy, and of more than there are places.

use std::net::{Ipv4Addr, SocketAddr};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::Wire;
use crate::support::Service;
use crate::support::data_dir::until;

const FLOOD: usize = 300;

/// Linux has all of 127.0.0.0/8; elsewhere only its first address is there.
#[cfg(target_os = "linux")]
const PEERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

async fn from(peer: Ipv4Addr, service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((peer, 0))).expect("a loopback address");
    socket.connect(service.api.address()).await.expect("a connection")
}

async fn start(max: &str, per_address: &str) -> Service {
    let (max, per_address) = (Some(max.to_owned()), Some(per_address.to_owned()));
    Service::start_with(|raw| {
        raw.max_connections = max;
        raw.max_connections_per_address = per_address;
        raw.trusted_proxies = Some(PEERS[2].to_string());
        // The test's own questions come by another door.
        raw.ops_listen = Some("127.0.0.1:0".to_owned());
    })
    .await
}

/// A whole request and its answer.
async fn served(stream: TcpStream) -> bool {
    let mut wire = Wire::over(stream);
    wire.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    wire.answer().await.is_some_and(|answer| answer.status == 200)
}

/// What a metric without labels says, as the operator reads it.
async fn metric(service: &Service, name: &str) -> f64 {
    let ops = service.running.ops_address.expect("an operator's address");
    let request = http::Request::builder().method(Method::GET).uri("/metrics");
    let request = request.body(bytes::Bytes::new()).expect("a request");
    let mut client = flashdeal::adapters::http::HttpClient::connect(ops).await.expect("the door");
    let page = client.send(request).await.expect("an answer").body;
    let page = String::from_utf8_lossy(&page).into_owned();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).parse().expect("a number")
}

/// How many of these the service has closed without a word.
async fn closed(flood: &mut [TcpStream]) -> usize {
    let mut count = 0;
    for stream in flood {
        let mut byte = [0];
        let look =
            tokio::time::timeout(std::time::Duration::from_millis(1), stream.read(&mut byte));
        count += usize::from(matches!(look.await, Ok(Ok(0) | Err(_))));
    }
    count
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_address_has_its_share_and_its_neighbours_notice_nothing() {
    let service = start("256", "20").await;
    let before = metric(&service, "http_connections_refused_total").await;
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(from(PEERS[0], &service).await);
    }
    until("all but a share are closed", async || closed(&mut flood).await == FLOOD - 20).await;
    let refused = metric(&service, "http_connections_refused_total").await - before;
    assert!(refused >= (FLOOD - 20) as f64, "{refused}");
    for _ in 0..50 {
        assert!(served(from(PEERS[1], &service).await).await, "a neighbour");
    }
    // Who gives a place back has it again.
    drop(flood);
    until("the address is let in again", async || {
        let mut stream = from(PEERS[0], &service).await;
        closed(std::slice::from_mut(&mut stream)).await == 0 && served(stream).await
    })
    .await;
    service.finish().await;
}

/// Behind a proxy stands everybody: its connections are bounded only by the house.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_trusted_proxy_has_no_share_and_a_full_house_waits() {
    let service = start("64", "8").await;
    let mut proxied = Vec::new();
    for _ in 0..FLOOD {
        proxied.push(from(PEERS[2], &service).await);
    }
    // The kernel takes the call, and nobody answers yet: the house is full.
    let waits = tokio::spawn(served(from(PEERS[1], &service).await));
    let others = proxied.split_off(64);
    for stream in &mut proxied {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a place");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert!(!waits.is_finished(), "there was a place for one more");
    until("the gauge says so", async || metric(&service, "http_connections").await >= 64.0).await;
    assert!(metric(&service, "http_connections_max").await >= 64.0);
    drop((proxied, others));
    assert!(waits.await.expect("a task"), "who waited is served");
    service.finish().await;
}

/// The operator's door has half of the descriptors that the public one leaves free.
#[tokio::test]
async fn who_floods_the_operators_door_takes_nothing_from_buyers() {
    let service = start("4096", "0").await;
    let ops = service.running.ops_address.expect("an operator's address");
    let open = async || TcpStream::connect(ops).await.expect("a connection");
    let mut flood = Vec::new();
    for _ in 0..128 {
        let mut stream = open().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a place");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        flood.push(stream);
    }
    let waits = tokio::spawn(served(open().await));
    for _ in 0..50 {
        let buyer = TcpStream::connect(service.api.address()).await.expect("a connection");
        assert!(served(buyer).await, "a buyer");
    }
    assert!(!waits.is_finished(), "there was a place for one more");
    drop(flood);
    assert!(waits.await.expect("a task"), "who waited is served");
    service.finish().await;
}
