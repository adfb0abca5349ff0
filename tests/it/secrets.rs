//! Secrets stay where they are: everything that a whole run prints, logs, answers or shows of
//! itself is searched for planted ones. And what strangers send cannot forge a line of the log.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::http_edges::unjudged;
use crate::support::api::{Api, new_key};
use crate::support::postgres::TestDatabase;
use crate::support::process::{ServeProcess, flashdeal, run};
use crate::support::service::{assert_balanced, scratch, secret_file};

const DATABASE_PASSWORD: &str = "planted-password-of-the-database";
const JWT_SECRET: &str = "planted-secret-for-tokens, thirty-two bytes and more";
/// What callers send that is nobody else's business.
const SENT: &[&str] = &[
    "planted-basic-credentials",
    "planted-cookie",
    "planted-token-in-a-query",
    "planted-token-in-a-body",
    "planted-api-key",
    "planted-proxy-credentials",
];

/// Everything that was produced, by where it came from.
#[derive(Default)]
struct Haul(Vec<(String, Vec<u8>)>);

impl Haul {
    fn add(&mut self, what: impl Into<String>, bytes: impl AsRef<[u8]>) {
        self.0.push((what.into(), bytes.as_ref().to_vec()));
    }

    /// Panics with every place where one of these was found.
    fn assert_without(&self, secrets: &[&str]) {
        let mut found = Vec::new();
        for (what, bytes) in &self.0 {
            for secret in secrets {
                if bytes.windows(secret.len()).any(|part| part == secret.as_bytes()) {
                    found.push(format!("{secret} in {what}"));
                }
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        assert!(self.0.len() > 20, "only {} things were searched", self.0.len());
    }

    async fn run(&mut self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = run(arguments, environment).await;
        self.add(format!("standard error of {arguments:?}"), &output.stderr);
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if arguments[0] != "token" {
            self.add(format!("standard output of {arguments:?}"), &output.stdout);
        }
        said
    }
}

/// Requests of every kind, with secrets wherever a caller may put one by mistake.
async fn stroll(api: &Api, admin: &str, haul: &mut Haul) {
    let as_admin = api.with_token(admin);
    let user = as_admin.user("50.00").await;
    let sale = as_admin.sale("10.00", 2).await;
    let order = as_admin.buy("k", &user, &sale).await.expect(201);
    haul.add("an order", &order.bytes);
    haul.add("a replay", &as_admin.buy("k", &user, &sale).await.bytes);
    let stolen = format!("{}x", &admin[..admin.len() - 1]);
    haul.add("a forged token", &api.with_token(&stolen).get("/api/users").await.bytes);
    for body in [
        json!({ "password": "planted-token-in-a-body" }),
        json!({ "user_id": "planted-token-in-a-body", "sale_id": sale }),
        json!({ "user_id": user, "sale_id": sale, "quantity": "planted-token-in-a-body" }),
    ] {
        haul.add(body.to_string(), &as_admin.post("/api/orders", &new_key(), &body).await.bytes);
    }
    for path in ["/api/users", "/api/orders", "/api/sales", "/livez", "/nowhere", "/metrics"] {
        let path = format!("{path}?access_token=planted-token-in-a-query");
        haul.add(&*path, &as_admin.get(&path).await.bytes);
        haul.add(format!("{path} of nobody"), &api.get(&path).await.bytes);
    }
    for (name, value) in [
        ("authorization", "Basic planted-basic-credentials"),
        ("cookie", "session=planted-cookie"),
        ("x-api-key", "planted-api-key"),
        ("proxy-authorization", "Basic planted-proxy-credentials"),
    ] {
        let request = api.request(Method::GET, "/api/users").header(name, value);
        let reply = api.send(request.body(Bytes::new()).expect("a request")).await;
        haul.add(name, &reply.expect("an answer").bytes);
    }
    for path in ["/metrics", "/api/audit", "/openapi.yaml", "/", "/docs"] {
        haul.add(path, &as_admin.get(path).await.bytes);
    }
}

/// What would forge a line, or paint the operator's terminal, if it were logged as it came.
async fn forge(api: &Api, admin: &str) {
    let line = "\r\n2026-11-21T00:00:00Z ERROR forged: the books are off";
    for path in [
        "/api/%0d%0aERROR%20forged",
        "/api/orders/%1b%5b31mforged%0a",
        "/problems/%1b%5b2Jforged",
        "/api/sales?%0aERROR+forged=%1b%5b31m",
    ] {
        let request = Request::builder().uri(path).header("x-request-id", "forged\tid");
        let request = request.header("authorization", format!("Bearer {admin}"));
        let request = request.header("traceparent", "00-forged\u{9b}31m-0-0");
        unjudged(api, request.body(Bytes::new()).expect("a request")).await;
    }
    let as_admin = api.with_token(admin);
    for body in [json!({ line: 1 }), json!({ "name": line }), json!({ "\u{1b}[31mforged": 1 })] {
        as_admin.post("/api/users", &new_key(), &body).await.expect(400);
    }
    let brew = Request::builder().method("FORGED~ERROR").uri("/livez").body(Bytes::new());
    unjudged(api, brew.expect("a request")).await;
}

fn assert_unforged(log: &[u8], format: &str) {
    let text = String::from_utf8_lossy(log);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{9b}'), "a terminal would obey");
    assert!(text.lines().count() > 20, "the log is there: {text}");
    for line in text.lines() {
        let begins = line.trim_start();
        assert!(!begins.starts_with("ERROR") && !begins.contains("ERROR forged:"), "{line}");
        if format == "json" {
            let parsed: Result<Value, _> = serde_json::from_str(line);
            assert!(parsed.is_ok_and(|value| value["level"] != "ERROR"), "{line}");
        }
    }
}

/// `serve` with its standard error in a file, through its whole life.
async fn live(format: &str, secret_in: &str, place: &Path, haul: &mut Haul) -> String {
    let database = TestDatabase::create().await;
    let (_, rest) = database.url.split_once('@').expect("a URL with a user");
    let user = database.options().get_username().to_owned();
    let url = format!("postgres://{user}:{DATABASE_PASSWORD}@{rest}");
    let file = place.join("secret");
    secret_file(&file, JWT_SECRET);
    let secret =
        if secret_in.ends_with("FILE") { file.to_str().expect("UTF-8") } else { JWT_SECRET };
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("FLASHDEAL_AUTH", "jwt"),
        (secret_in, secret),
        ("FLASHDEAL_LOG", "trace"),
        ("FLASHDEAL_LOG_FORMAT", format),
        ("RUST_BACKTRACE", "1"),
    ];
    let log = place.join("log");
    let mut command = flashdeal(&["serve", "--listen", "127.0.0.1:0"], &environment);
    command.stderr(File::create(&log).expect("a file"));
    let admin = haul.run(&["token", "--admin"], &environment).await;
    let process = ServeProcess::of(command).await;
    let arguments = std::fs::read(format!("/proc/{}/cmdline", process.pid()));
    haul.add("the arguments of the process", arguments.unwrap_or_default());
    stroll(&process.api, &admin, haul).await;
    forge(&process.api, &admin).await;
    haul.add("the banner", &process.banner);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));
    for arguments in [&["--help"][..], &["serve", "--help"], &["verify"], &["migrate"], &["sell"]] {
        haul.run(arguments, &environment).await;
    }
    // Where nobody answers, and where the URL is none.
    let away = format!("postgres://u:{DATABASE_PASSWORD}@127.0.0.1:1/shop");
    let wrong = format!("postgres://u:{DATABASE_PASSWORD}@127.0.0.1:1/shop?ssl=maybe");
    let none = format!("postgres://u:{DATABASE_PASSWORD}@[::1/shop");
    for url in [&away, &wrong, &none] {
        let away = [
            ("DATABASE_URL", url.as_str()),
            ("FLASHDEAL_STARTUP_TIMEOUT", "300ms"),
            ("FLASHDEAL_LOG", "trace"),
            (secret_in, secret),
        ];
        haul.run(&["verify"], &away).await;
    }
    let log = std::fs::read(&log).expect("the log");
    assert_unforged(&log, format);
    haul.add("the log", log);
    assert_balanced(&database).await;
    admin
}

#[tokio::test]
async fn nothing_that_a_run_produces_holds_a_secret() {
    for (format, secret_in) in
        [("pretty", "FLASHDEAL_JWT_SECRET_FILE"), ("json", "FLASHDEAL_JWT_SECRET")]
    {
        let place = scratch(&format!("secrets-{format}"));
        let mut haul = Haul::default();
        let token = live(format, secret_in, &place, &mut haul).await;
        let parts: Vec<&str> = token.split('.').skip(1).collect();
        let own = [DATABASE_PASSWORD, JWT_SECRET, parts[0], parts[1]];
        // Faulty names and ids are told back to who sent them, and to nobody else.
        haul.assert_without(&own);
        let (mine, shared): (Vec<_>, Vec<_>) =
            haul.0.into_iter().partition(|(what, _)| what.starts_with("the "));
        drop(shared);
        for (what, bytes) in mine {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(SENT.iter().all(|secret| !text.contains(secret)), "{what}: {text}");
        }
    }
}

/// Flags are settings too; who puts a secret into one is told.
#[tokio::test]
async fn a_secret_among_the_arguments_is_warned_of_without_repeating_it() {
    let arguments = |list: &[&str]| {
        let list = list.iter().map(|argument| (*argument).to_owned());
        flashdeal::app::arguments::secrets_in_arguments(list)
    };
    for shown in [
        &["--jwt-secret", JWT_SECRET][..],
        &["--jwt-secret=planted"],
        &["serve", "--database-url", "postgres://u:planted@h/d"],
        &["--database-url=postgres://u@h/d?password=planted"],
    ] {
        let said = arguments(shown);
        assert_eq!(said.len(), 1, "{shown:?}");
        assert!(!said[0].contains("planted") && said[0].contains("use "), "{said:?}");
    }
    let fine = ["--jwt-secret-file", "f", "--database-url", "postgres://u@h/d", "--auth=jwt"];
    assert!(arguments(&fine).is_empty());
    let doors = [("0.0.0.0:0", None, 2), ("127.0.0.1:0", None, 0)];
    for (address, auth, code) in doors {
        let raw = flashdeal::app::cli::RawSettings {
            ops_listen: Some(address.to_owned()),
            auth,
            ..Default::default()
        };
        let read = flashdeal::app::config::Settings::read(&raw);
        assert_eq!(read.is_err(), code == 2, "{address}");
    }
}
