//! What the program refuses, with which exit code, and in how many words.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use tokio::net::TcpSocket;

use super::{emptied, ended, execute, on, refused, stderr};
use crate::support::api::Api;
use crate::support::postgres::TestDatabase;
use crate::support::process::{flashdeal, run};
use crate::support::service::scratch;

/// Serving, on a port that the system picks.
const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A port on which nobody answers as long as the socket lives: bound, but not listening.
fn silent() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

#[tokio::test]
async fn a_schema_newer_than_the_binary_is_refused_naming_both_versions() {
    let database = TestDatabase::create().await;
    execute(
        &database,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9876, 'from the future', true, '\\x00', 0)",
    )
    .await;
    let environment = on(&database, &[]);
    let newest = flashdeal::adapters::postgres::schema::version_expected();
    let off = on(&database, &[("FLASHDEAL_MIGRATE", "off")]);
    let tries: [(&[&str], &[(&str, &str)]); 4] =
        [(&SERVE, &environment), (&SERVE, &off), (&["migrate"], &off), (&["verify"], &off)];
    for (arguments, environment) in tries {
        let said = refused(&run(arguments, environment).await, 1);
        assert!(said.contains("version 9876"), "{arguments:?}: {said}");
        assert!(said.contains(&format!("expects {newest}:")), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn an_unmigrated_database_is_refused_when_migrations_are_off() {
    let database = emptied().await;
    let environment = on(&database, &[("FLASHDEAL_MIGRATE", "off")]);
    for arguments in [&SERVE[..], &["verify"]] {
        let said = refused(&run(arguments, &environment).await, 1);
        assert!(said.contains("version 0") && said.contains("flashdeal migrate"), "{said}");
    }
    let mut session = database.session().await;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    )
    .fetch_one(&mut session)
    .await
    .expect("a count");
    assert_eq!(tables, 0, "nothing was made");
}

#[tokio::test]
async fn who_only_reads_makes_no_database() {
    let place = scratch("cli-nothing-here");
    let data_dir = place.join("mistyped");
    let environment = [("FLASHDEAL_DATA_DIR", data_dir.to_str().expect("a path"))];
    let report = ["report", "--sale", "0190b000-0000-7000-8000-000000000001"];
    for arguments in [&["verify"][..], &report, &["export", "orders"]] {
        let said = refused(&run(arguments, &environment).await, 2);
        assert!(said.contains("no database in") && said.contains("mistyped"), "{said}");
        assert!(!data_dir.join("postgres").exists(), "{arguments:?} made one");
    }
}

#[tokio::test]
async fn an_installation_keeps_its_currency() {
    let database = TestDatabase::create().await;
    ended(&run(&["migrate"], &on(&database, &[("FLASHDEAL_CURRENCY", "EUR")])).await, 0);
    let said = refused(&run(&SERVE, &on(&database, &[])).await, 1);
    assert!(said.contains("EUR") && said.contains("USD"), "{said}");
}

#[tokio::test]
async fn a_server_that_could_lose_acknowledged_orders_is_refused() {
    let data_dir = scratch("cli-fsync");
    let options = EmbeddedOptions::not_durable_for_tests(data_dir);
    let server = EmbeddedServer::start(options).await.expect("a server");
    let database = TestDatabase { url: server.connection().url() };
    let said = refused(&run(&SERVE, &on(&database, &[])).await, 1);
    assert!(said.contains("fsync is off"), "{said}");
    server.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn every_bad_setting_is_named_at_once_and_no_secret_is_repeated() {
    let environment = [
        ("DATABASE_URL", "mysql://shop:hunter2@db/shop"),
        ("FLASHDEAL_DB_CONNECTIONS", "1"),
        ("FLASHDEAL_LOCK_TIMEOUT", "soon"),
        ("FLASHDEAL_AUTH", "jwt"),
        ("FLASHDEAL_JWT_SECRET", "hunter2-is-too-short"),
        ("FLASHDEAL_CURRENCY", "JPY"),
        ("FLASHDEAL_DATA_DIR", ""),
        ("FLASHDEAL_JWKS_FILE", ""),
    ];
    let output = run(&["serve", "--listen", "somewhere"], &environment).await;
    ended(&output, 2);
    let said = stderr(&output);
    for name in [
        "DATABASE_URL=",
        "FLASHDEAL_DB_CONNECTIONS=1:",
        "FLASHDEAL_LOCK_TIMEOUT=soon:",
        "FLASHDEAL_JWT_SECRET=",
        "FLASHDEAL_CURRENCY=JPY:",
        "FLASHDEAL_LISTEN=somewhere:",
    ] {
        let named = said.lines().filter(|line| line.starts_with(&format!("flashdeal: {name}")));
        assert_eq!(named.count(), 1, "{name} in\n{said}");
    }
    assert_eq!(said.lines().count(), 6, "empty ones count as unset: {said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_secret_that_is_too_short_is_refused_without_repeating_it() {
    let environment = [("FLASHDEAL_JWT_SECRET", "thirty-one bytes are too short!")];
    assert_eq!(environment[0].1.len(), 31);
    for arguments in [&SERVE[..], &["token", "--admin"]] {
        let said = refused(&run(arguments, &environment).await, 2);
        assert!(said.contains("31 bytes") && !said.contains("too short!"), "{said}");
    }
    let said = refused(&run(&["token", "--admin"], &[]).await, 2);
    assert!(said.contains("FLASHDEAL_JWT_SECRET"), "{said}");
}

#[tokio::test]
async fn a_public_address_needs_a_word_about_who_may_come_in() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let said = refused(&run(&["serve", "--listen", address], &[]).await, 2);
        assert!(said.contains("FLASHDEAL_AUTH") && said.contains("jwt"), "{said}");
    }
}

#[tokio::test]
async fn unknown_flags_and_commands_are_the_callers_mistake() {
    let mistakes: [&[&str]; 5] =
        [&["--sped"], &["sell"], &["token"], &["seed", "--users", "1"], &["verify", "--xml"]];
    for arguments in mistakes {
        let output = run(arguments, &[]).await;
        assert_eq!(ended(&output, 2), "", "{arguments:?}");
        assert!(stderr(&output).contains("--help"), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn seed_refuses_amounts_that_are_no_money() {
    let database = TestDatabase::create().await;
    let bad = [("--balance", "5"), ("--price", "-1.00"), ("--users", "0"), ("--limit", "1000001")];
    for (name, value) in bad {
        let mut arguments = vec!["seed", "--limit"];
        arguments.push(if name == "--limit" { value } else { "1" });
        for (flag, good) in
            [("--users", "1"), ("--balance", "1.00"), ("--stock", "1"), ("--price", "1.00")]
        {
            arguments.push(flag);
            arguments.push(if flag == name { value } else { good });
        }
        let output = run(&arguments, &on(&database, &[])).await;
        assert_eq!(ended(&output, 2), "", "{name} {value}");
        assert!(stderr(&output).contains(name), "{output:?}");
    }
    let said = ended(&run(&["verify"], &on(&database, &[])).await, 0);
    assert!(said.contains("(0 sales, 0 wallets, 0 orders)"), "{said}");
}

#[tokio::test]
async fn a_database_that_never_comes_is_waited_for_and_then_named() {
    let (_silent, nobody) = silent();
    // Nothing says the port of a service that is not ready, so it is picked here.
    let (picked, listen) = silent();
    drop(picked);
    let (url, listen_text) = (format!("postgres://{nobody}/shop"), listen.to_string());
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("FLASHDEAL_STARTUP_TIMEOUT", "3s"),
        ("FLASHDEAL_LOG", "off"),
    ];
    let began = Instant::now();
    let mut command = flashdeal(&["serve", "--listen", &listen_text], &environment);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("a child");
    let alive = async {
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let api = Api::at(listen);
        api.get("/livez").await.expect(200);
        api.get("/readyz").await.expect(503);
        let order = api.buy("key", &nil(), &nil()).await.expect(503);
        assert!(order.header("retry-after").is_some(), "{order:?}");
    };
    tokio::time::timeout(Duration::from_secs(3), alive).await.expect("answers meanwhile");
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await;
    let output = ended.expect("an end in time").expect("a child");
    let waited = began.elapsed();
    let said = refused(&output, 1);
    assert!(said.contains("did not answer within 3s"), "{said}");
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(10), "{waited:?}");
}

fn nil() -> String {
    uuid::Uuid::nil().to_string()
}
