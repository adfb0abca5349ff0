//! The embedded server as somebody meets it who typed one command: first start, second start,
//! commands beside it, remains of a sudden end, odd places, ordinary accounts.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Output;

use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer, Found};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::process::Command;

use crate::support::data_dir::{DataDir, until};
use crate::support::locks::number;
use crate::support::postgres::TestDatabase;
use crate::support::process::{ServeProcess, flashdeal, run};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];
const BUYER: &str = "0190a000-0000-7000-8000-000000000001";
const SALE: &str = "0190b000-0000-7000-8000-000000000001";

async fn serve(data_dir: &DataDir) -> ServeProcess {
    ServeProcess::start(&data_dir.environment(&[])).await
}

async fn stop(process: ServeProcess, data_dir: &DataDir) {
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));
    assert_eq!(data_dir.servers(), Vec::<i32>::new(), "PostgreSQL is gone");
}

/// One sentence on standard error, nothing on standard output.
fn sentence(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// The body in the `curl` line that the service printed.
fn printed_body(banner: &str) -> Value {
    let line = banner.lines().find(|line| line.trim_start().starts_with("curl "));
    let line = line.unwrap_or_else(|| panic!("no curl line in {banner}"));
    for part in ["/api/orders", "Content-Type: application/json", "Idempotency-Key: my-first-click"]
    {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    let body = line.split("-d '").nth(1).and_then(|rest| rest.split('\'').next());
    serde_json::from_str(body.expect("a body")).expect("JSON")
}

#[tokio::test]
async fn a_first_start_has_demo_data_and_a_line_that_buys() {
    let data_dir = DataDir::fresh("embedded-first");
    let process = serve(&data_dir).await;
    let (api, banner) = (&process.api, &process.banner);
    let base = format!("http://{}", api.address());
    for line in [format!("{base}/\n"), format!("{base}/docs\n"), "psql ".to_owned()] {
        assert!(banner.contains(&line), "{line} is missing in {banner}");
    }
    for (number, status) in [(1, "live"), (2, "upcoming"), (3, "live")] {
        let path = format!("/api/sales/0190b000-0000-7000-8000-{number:012}");
        assert_eq!(api.get(&path).await.expect(200).text("status"), status, "{path}");
    }
    assert_eq!(api.stock("0190b000-0000-7000-8000-000000000003").await, 2);
    assert_eq!(api.balance("0190a000-0000-7000-8000-000000001000").await, "500.00");
    api.get("/api/users/0190a000-0000-7000-8000-000000001001").await.expect(404);

    let body = printed_body(banner);
    assert_eq!((&body["user_id"], &body["sale_id"]), (&BUYER.into(), &SALE.into()));
    let first = api.post("/api/orders", "my-first-click", &body).await.expect(201);
    let again = api.post("/api/orders", "my-first-click", &body).await.expect(201);
    assert!(!first.replayed() && again.replayed() && first.bytes == again.bytes, "{again:?}");
    stop(process, &data_dir).await;

    // What was there is not filled again.
    let process = serve(&data_dir).await;
    let later = process.api.post("/api/orders", "my-first-click", &body).await.expect(201);
    assert_eq!(later.bytes, first.bytes);
    assert_eq!(process.api.stock(SALE).await, 499);
    stop(process, &data_dir).await;
}

async fn log_files(session: &mut PgConnection) -> i64 {
    number(session, "SELECT count(*) FROM pg_ls_waldir()").await
}

/// A file of the log that is missing in a rush stops every COMMIT while it is made.
#[tokio::test]
async fn a_young_server_has_the_files_of_its_log_before_the_first_rush() {
    const FILES: i64 = 32;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/postgres/log-files.sql");
    let own = DataDir::fresh("embedded-log-files");

    // As somebody else's server begins: without.
    let without = EmbeddedOptions::new(&own.path).with_log_files(0);
    let server = EmbeddedServer::start(without).await.expect("a server");
    let mut session = TestDatabase { url: server.connection().url() }.session().await;
    assert!(log_files(&mut session).await < FILES);
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-f", script]).arg(server.connection().url());
    let output = psql.output().await.expect("psql");
    assert!(output.status.success(), "{output:?}");
    assert!(log_files(&mut session).await >= FILES, "by the script");
    server.stop().await.expect("an orderly end");

    // The setting says how many come with the cluster; nothing said is so many.
    for (said, expected) in [("4", 4..FILES), ("", FILES..FILES * 2)] {
        std::fs::remove_dir_all(own.cluster()).expect("a cluster to remove");
        let environment = own.environment(&[("FLASHDEAL_WAL_FILES", said)]);
        let process = ServeProcess::start(&environment).await;
        let found = log_files(&mut own.session().await).await;
        assert!(expected.contains(&found), "{found} files where {said:?} was said");
        stop(process, &own).await;
    }
}

#[tokio::test]
async fn a_second_serve_is_refused_and_commands_find_the_first() {
    let data_dir = DataDir::fresh("embedded-beside");
    let process = serve(&data_dir).await;
    let server = data_dir.postmaster();
    let environment = data_dir.environment(&[]);
    let said = sentence(&run(&SERVE, &environment).await, 2);
    let pid = process.pid().to_string();
    assert!(said.contains("already runs on") && said.contains(&pid), "{said}");

    let seed = ["seed", "--users", "1", "--balance", "1.00", "--stock", "1", "--price", "1.00"];
    let output = run(&seed, &environment).await;
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (user, sale) = (made["user_ids"][0].as_str(), made["sale_id"].as_str());
    let order = process.api.buy("key", user.expect("a user"), sale.expect("a sale")).await;
    order.expect(201);
    let output = run(&["verify"], &environment).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "the books balance (4 sales, 1001 wallets, 19 orders)\n");
    assert_eq!(data_dir.postmaster(), server, "commands leave the server alone");
    process.api.get("/readyz").await.expect(200);
    // A service that leaves does not wait for a command that is still there.
    let beside = EmbeddedServer::start_or_attach(EmbeddedOptions::new(&data_dir.path)).await;
    assert!(matches!(beside, Ok(Found::Attached(_))), "{beside:?}");
    stop(process, &data_dir).await;
    drop(beside);

    // Without a service a command has a server for as long as it lives.
    let output = run(&["verify"], &environment).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(data_dir.servers(), Vec::<i32>::new());
}

/// The first to come starts a server and others find it; who cuts them would report damaged books.
#[tokio::test]
async fn commands_side_by_side_without_a_service_do_not_hurt_each_other() {
    const ROUNDS: usize = 6;
    let data_dir = DataDir::fresh("embedded-side-by-side");
    let environment = data_dir.environment(&[]);
    let verify = async || run(&["verify"], &environment).await;
    let output = run(&["migrate"], &environment).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for round in 0..ROUNDS {
        let (a, b, c, d, e) = tokio::join!(verify(), verify(), verify(), verify(), verify());
        for output in [a, b, c, d, e] {
            assert_eq!(output.status.code(), Some(0), "round {round}: {output:?}");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said, "the books balance (0 sales, 0 wallets, 0 orders)\n");
        }
        assert_eq!(data_dir.servers(), Vec::<i32>::new(), "the last one stops its server");
    }
}

#[tokio::test]
async fn remains_of_a_sudden_end_do_not_hinder_the_next_start() {
    let data_dir = DataDir::fresh("embedded-remains");
    let process = serve(&data_dir).await;
    let order = process.api.buy("kept", BUYER, SALE).await.expect(201);
    let orphan = data_dir.postmaster().expect("a server");
    // The server is frozen, so that nothing can shut it down before the next start finds it.
    let frozen = nix::unistd::Pid::from_raw(orphan);
    nix::sys::signal::kill(frozen, Signal::SIGSTOP).expect("a signal");
    process.kill().await;
    assert!(data_dir.servers().contains(&orphan), "an orphan");
    let process = serve(&data_dir).await;
    assert_ne!(data_dir.postmaster(), Some(orphan), "a server of its own");
    assert!(!data_dir.servers().contains(&orphan), "the orphan is gone");
    let again = process.api.buy("kept", BUYER, SALE).await.expect(201);
    assert_eq!(again.bytes, order.bytes);

    // Both die at once; the pid file stays, and its number now belongs to a stranger: us.
    let killed = data_dir.kill_postmaster();
    process.kill().await;
    until("every process of the server is gone", async || data_dir.servers().is_empty()).await;
    let file = data_dir.cluster().join("postmaster.pid");
    let text = std::fs::read_to_string(&file).expect("a stale file");
    let stranger = text.replacen(&killed.to_string(), &std::process::id().to_string(), 1);
    std::fs::write(&file, stranger).expect("a stale file");
    let process = serve(&data_dir).await;
    assert_eq!(process.api.buy("kept", BUYER, SALE).await.expect(201).bytes, order.bytes);
    stop(process, &data_dir).await;
}

#[tokio::test]
async fn two_data_directories_live_side_by_side_and_one_may_have_a_long_path() {
    let plain = DataDir::fresh("embedded-side");
    let deep = DataDir::fresh("embedded-long").path.join("d".repeat(90)).join("e".repeat(90));
    assert!(deep.as_os_str().len() > 180);
    let deep = DataDir::at(deep);
    let (first, second) = tokio::join!(serve(&plain), serve(&deep));
    first.api.buy("key", BUYER, SALE).await.expect(201);
    assert_eq!((first.api.stock(SALE).await, second.api.stock(SALE).await), (499, 500));
    second.api.buy("key", BUYER, SALE).await.expect(201);
    let output = run(&["verify"], &deep.environment(&[])).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stop(first, &plain).await;
    second.api.buy("other", BUYER, SALE).await.expect(201);
    let socket_dir = second.banner.split_whitespace().skip_while(|word| *word != "-h").nth(1);
    let socket_dir = std::path::PathBuf::from(socket_dir.expect("psql -h DIRECTORY"));
    assert!(socket_dir.exists() && !socket_dir.starts_with(&deep.path), "{socket_dir:?}");
    stop(second, &deep).await;
    assert!(!socket_dir.exists(), "{socket_dir:?} is in nobody's way");
}

/// The binary as an ordinary account that is not ours.
fn as_nobody(program: &std::path::Path, arguments: &[&str], data_dir: &DataDir) -> Command {
    let original = flashdeal(arguments, &data_dir.environment(&[]));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.args(arguments).env_clear().kill_on_drop(true).current_dir("/");
    for (name, value) in original.as_std().get_envs() {
        if let Some(value) = value.filter(|_| name != "HOME") {
            command.env(name, value);
        }
    }
    command
}

#[tokio::test]
async fn an_ordinary_account_has_a_server_of_its_own() {
    if !geteuid().is_root() {
        // Every other test of this module runs as an ordinary account then.
        return;
    }
    let place = std::env::temp_dir().join(format!("flashdeal-it-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a directory");
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).expect("its mode");
    let program = place.join("flashdeal");
    std::fs::copy(env!("CARGO_BIN_EXE_flashdeal"), &program).expect("a copy");
    let data_dir = DataDir::at(place.join("data"));
    std::fs::create_dir(&data_dir.path).expect("a directory");
    chown(&data_dir.path, Some(65_534), Some(65_534)).expect("its owner");

    let process = ServeProcess::of(as_nobody(&program, &SERVE, &data_dir)).await;
    process.api.buy("key", BUYER, SALE).await.expect(201);
    let server = data_dir.postmaster().expect("a server");
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).expect("a process");
    let owner = status.lines().find(|line| line.starts_with("Uid:")).expect("an owner");
    assert_eq!(owner.split_whitespace().nth(1), Some("65534"), "{owner}");
    let output = as_nobody(&program, &SERVE, &data_dir).output().await.expect("a child");
    assert!(sentence(&output, 2).contains("already runs on"), "{output:?}");
    let output = as_nobody(&program, &["verify"], &data_dir).output().await.expect("a child");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stop(process, &data_dir).await;

    // Root may take over what an ordinary account made.
    let output = run(&["verify"], &data_dir.environment(&[])).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    std::fs::remove_dir_all(&place).expect("it was ours");
}
