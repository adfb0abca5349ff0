//! A `DATABASE_URL` with several servers: the first that answers and can write is the one, and when
//! another becomes it, the service follows by itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use flashdeal::adapters::postgres::schema;
use flashdeal::adapters::postgres::servers::Servers;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::Service;
use crate::support::api::{Api, new_key};
use crate::support::data_dir::DataDir;
use crate::support::locks::{execute, number, run, sessions, until};
use crate::support::postgres::TestDatabase;
use crate::support::process::flashdeal;
use crate::support::relay::Relay;
use crate::support::service::{assert_balanced, scratch};

/// The URL of a wire with other addresses before its own.
fn behind(wire: &Relay, others: &[SocketAddr]) -> String {
    let (user, rest) =
        wire.url().split_once('@').map(|(u, r)| (u.to_owned(), r.to_owned())).unwrap();
    let others: String = others.iter().map(|address| format!("{address},")).collect();
    format!("{user}@{others}{rest}&target_session_attrs=read-write")
}

/// A port that nobody listens at.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn the_first_host_is_down_and_the_second_is_silent() {
    let database = TestDatabase::create().await;
    let wire = Relay::to(&database).await;
    // The kernel takes connections for it; nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let others = [closed().await, silent.local_addr().unwrap()];
    let url = behind(&wire, &others);
    let began = Instant::now();
    let service = Service::start_on(database, |raw| raw.database_url = Some(url)).await;
    // Two seconds for the silent one, once when it is looked for and once when it is watched.
    assert!(began.elapsed() < Duration::from_secs(15), "started after {:?}", began.elapsed());
    let user = service.api.user("100.00").await;
    let sale = service.api.sale("10.00", 5).await;
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    service.finish().await;
}

#[tokio::test]
async fn nobody_is_there_and_each_is_named() {
    let (first, second) = (closed().await, closed().await);
    let url = format!("postgres://u:hunter2@{first},{second}/d?sslmode=disable");
    let error = Servers::parse(&url).unwrap().connect().await.unwrap_err().to_string();
    assert!(error.contains(&first.to_string()) && error.contains(&second.to_string()), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

/// A server that refuses every login with this SQLSTATE.
async fn refusing(sqlstate: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut start_up = [0; 512];
            let _ = client.read(&mut start_up).await;
            let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0Mno\0\0");
            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            let _ = client.write_all(&[b"E", &length[..], fields.as_bytes()].concat()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_refused_login_ends_the_search_and_a_server_that_starts_does_not() {
    let database = TestDatabase::create().await;
    let wire = Relay::to(&database).await;
    let url = behind(&wire, &[refusing("28P01").await]);
    let error = Servers::parse(&url).unwrap().connect().await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "28P01");
    let url = behind(&wire, &[refusing("57P03").await]);
    Servers::parse(&url).unwrap().connect().await.expect("the second");
}

/// A server of the test's own with the schema, and its database.
async fn own_server(place: &Path) -> (EmbeddedServer, TestDatabase) {
    let options = EmbeddedOptions::new(place).with_log_files(0);
    let server = EmbeddedServer::start(options).await.expect("a server");
    let database = TestDatabase { url: server.connection().url() };
    (server, database)
}

/// The same, as a standby: nobody feeds it, and it can be promoted.
async fn own_standby(place: &Path) -> (EmbeddedServer, TestDatabase) {
    let (server, database) = own_server(place).await;
    schema::migrate(&database.pool().await).await.expect("a schema");
    server.stop().await.expect("an orderly end");
    let cluster = DataDir::at(place.to_owned()).cluster();
    std::fs::write(cluster.join("standby.signal"), "").expect("a signal");
    own_server(place).await
}

async fn readyz(service: &Service) -> u16 {
    service.api.get("/readyz").await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_avoids_a_standby_says_when_nobody_can_write_and_follows_the_primary() {
    let (standby, second) = own_standby(&scratch("servers-standby")).await;
    let (primary, first) = own_server(&scratch("servers-primary")).await;
    let url = second.beside(&first);
    let service = Service::start_on(first.clone(), |raw| raw.database_url = Some(url)).await;
    let user = service.api.user("100.00").await;
    let sale = service.api.sale("10.00", 5).await;
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    let mut beside = second.session().await;
    assert_eq!(sessions(&mut beside, "true").await, 0, "sessions on a standby");

    // The primary goes on, and writes no more: its living sessions must not be used again.
    let read_only = "ALTER SYSTEM SET default_transaction_read_only = on";
    execute(&first, read_only).await;
    execute(&first, "SELECT pg_reload_conf()").await;
    until("the service is not ready", async || readyz(&service).await == 503).await;
    service.api.buy(&new_key(), &user, &sale).await.refused(
        503,
        "database_unavailable",
        "unknown",
        "same_key",
    );

    run(&mut beside, "SELECT pg_promote()").await;
    until("the service is ready again", async || readyz(&service).await == 200).await;
    let user = service.api.user("100.00").await;
    let sale = service.api.sale("10.00", 5).await;
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    assert_eq!(number(&mut beside, "SELECT count(*) FROM orders").await, 1);
    let mut old = first.session().await;
    until("no session leads to the old primary", async || {
        service.api.get("/api/sales").await.expect(200);
        sessions(&mut old, "true").await == 0
    })
    .await;
    assert_eq!(number(&mut old, "SELECT count(*) FROM orders").await, 1);
    assert_balanced(&second).await;
    drop(beside);
    service.finish().await;
    standby.stop().await.expect("an orderly end");
    primary.stop().await.expect("an orderly end");
}

/// A server that was right when the service started may come back from a restart with other
/// settings. What it would acknowledge then could be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_without_durability_takes_no_orders() {
    let service = Service::start().await;
    let (user, sale) = (service.api.user("9.00").await, service.api.sale("1.00", 9).await);
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    let name = "SELECT quote_ident(current_database())";
    let name: String =
        sqlx::query_scalar(name).fetch_one(&mut service.database.session().await).await.unwrap();
    let restart = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    execute(
        &service.database,
        &format!("ALTER DATABASE {name} SET synchronous_commit = off; {restart}"),
    )
    .await;
    // From the first order on, also before anybody has looked.
    let reply = service.api.buy(&new_key(), &user, &sale).await;
    reply.refused(503, "database_unavailable", "unknown", "same_key");
    until("the service is not ready", async || readyz(&service).await == 503).await;
    execute(
        &service.database,
        &format!("ALTER DATABASE {name} RESET synchronous_commit; {restart}"),
    )
    .await;
    until("the service is ready again", async || readyz(&service).await == 200).await;
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    assert_eq!(service.api.stock(&sale).await, 7);
    service.finish().await;
}

/// Whoever watches must hear it also of a service that never had a database.
#[tokio::test]
async fn a_service_that_waits_for_its_database_says_that_it_is_not_ready() {
    let (address, nowhere) = (closed().await, closed().await);
    let environment = [
        ("DATABASE_URL", format!("postgres://u@{nowhere}/d?sslmode=disable")),
        ("FLASHDEAL_LISTEN", address.to_string()),
        ("FLASHDEAL_LOG", "off".to_owned()),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut process = flashdeal(&["serve"], &environment);
    let mut process = process.kill_on_drop(true).spawn().expect("a child");
    let api = Api::at(address);
    let shown = async || {
        let request = api.request(Method::GET, "/metrics").body(Bytes::new()).expect("a request");
        let Ok(page) = api.send(request).await else { return false };
        let page = String::from_utf8_lossy(&page.bytes).into_owned();
        let has = |line: &str| page.lines().any(|one| one == line);
        has("ready 0") && has("postgres_up 0")
    };
    until("it says so", shown).await;
    assert_eq!(api.get("/readyz").await.status, 503);
    process.kill().await.expect("its end");
}
