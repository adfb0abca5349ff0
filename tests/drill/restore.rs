//! Backup and restore: `cargo test --test drill -- restore`.
//!
//! A base backup is taken while buyers buy, the write-ahead log is archived, 10,000 more orders are
//! confirmed, and the whole database directory is deleted. What comes back is the state of a named
//! moment: the books balance, and exactly the orders that were committed after it are gone.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use crate::board::Board;
use crate::buyers::Crowd;
use crate::shop::Shop;
use crate::stage::{Stage, clear};
use crate::support::data_dir::until;
use crate::support::locks::{number, run};
use crate::support::postgres::TestDatabase;
use crate::support::process;

/// Orders before the backup.
const BEFORE: u64 = 1_000;
/// Orders after it.
const MORE: u64 = 10_000;
/// How many of these the named moment is behind.
const KEPT: u64 = 6_000;

/// Where everything lies: beside the cluster, where the server's account can write.
struct Places {
    cluster: PathBuf,
    archive: PathBuf,
    base: PathBuf,
}

/// Does it all; exit code 0 when the loss is exact.
pub(crate) async fn rehearse() -> ExitCode {
    let board = Arc::new(Board::new());
    let mut stage = Stage::set_with(|options| {
        options
            .with_test_setting("archive_mode", "on")
            .with_test_setting("archive_command", "test ! -f ../archive/%f && cp %p ../archive/%f")
            .with_test_setting("track_commit_timestamp", "on")
    })
    .await;
    let cluster = stage.data_dir.cluster();
    let home = cluster.parent().expect("a home").to_owned();
    let places = Places { archive: home.join("archive"), base: home.join("base"), cluster };
    std::fs::create_dir_all(&places.archive).expect("an archive");
    let owner = std::fs::metadata(&places.cluster).expect("a cluster");
    chown(&places.archive, Some(owner.uid()), Some(owner.gid())).expect("an owner");

    let (moment, kept, all) = buy_and_back_up(&mut stage, &board, &places).await;
    let place = stage.place().to_owned();
    stage.close(&board).await;
    std::fs::remove_dir_all(&places.cluster).expect("the database directory is deleted");
    let began = Instant::now();
    let server = bring_back(&places, &place, &moment).await;
    let took = began.elapsed();

    let database = TestDatabase { url: server.connection().url() };
    let found = orders(&mut database.session().await, "SELECT id::text FROM orders").await;
    if found != kept {
        let (lost, strange) = (kept.difference(&found).count(), found.difference(&kept).count());
        board.violation(format!("{lost} orders too few, {strange} too many at {moment}"));
    }
    let environment = [("DATABASE_URL", database.url.as_str()), ("FLASHDEAL_LOG", "off")];
    let verified = process::run(&["verify"], &environment).await;
    if verified.status.code() != Some(0) {
        board.violation(format!("the books: {verified:?}"));
    }
    server.stop().await.expect("an orderly end");
    println!("| orders at the end | {} |\n| named moment | {moment} |", all.len());
    println!(
        "| orders restored | {} |\n| orders lost | {} |",
        found.len(),
        all.len() - found.len()
    );
    println!(
        "| of these committed at or before the moment | {} |",
        kept.difference(&found).count()
    );
    println!("| from an empty directory to a server that takes orders | {took:.1?} |");
    println!("| violations | {} |", board.violations());
    let _ = std::fs::remove_dir_all(&places.archive);
    let _ = std::fs::remove_dir_all(&places.base);
    clear(&place);
    ExitCode::from(u8::from(board.violations() > 0))
}

/// Buys before, during and after the backup. The named moment, the orders that were committed by
/// then, and all.
async fn buy_and_back_up(
    stage: &mut Stage,
    board: &Arc<Board>,
    places: &Places,
) -> (String, BTreeSet<String>, BTreeSet<String>) {
    let shop = Arc::new(Shop::open(stage, 1).await);
    let crowd = Crowd::start(&shop, board, &stage.doors, 1);
    let mut session = stage.session().await;
    bought(board, BEFORE).await;
    base_backup(&mut session, &places.base, "none").await;
    let from = board.orders();
    bought(board, from + KEPT).await;
    let now = sqlx::query_scalar("SELECT clock_timestamp()::text").fetch_one(&mut session);
    let moment: String = now.await.expect("a moment");
    bought(board, from + MORE).await;
    crowd.finish(board).await;
    let kept = format!("WHERE pg_xact_commit_timestamp(xmin) <= '{moment}'");
    let kept = orders(&mut session, &format!("SELECT id::text FROM orders {kept}")).await;
    let all = orders(&mut session, "SELECT id::text FROM orders").await;
    run(&mut session, "SELECT pg_switch_wal()").await;
    until("the log is archived", async || {
        let waiting = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
        number(&mut session, waiting).await == 0
    })
    .await;
    (moment, kept, all)
}

/// Waits until so many orders were acknowledged.
pub(crate) async fn bought(board: &Board, orders: u64) {
    let limit = Instant::now() + Duration::from_secs(300);
    while board.orders() < orders {
        assert!(Instant::now() < limit, "{} orders, {orders} wanted", board.orders());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn orders(session: &mut PgConnection, statement: &str) -> BTreeSet<String> {
    let statement = AssertSqlSafe(statement.to_owned());
    let found: Vec<String> =
        sqlx::query_scalar(statement).fetch_all(session).await.expect("orders");
    found.into_iter().collect()
}

/// A copy of a running server, with the program that belongs to the server.
pub(crate) async fn base_backup(session: &mut PgConnection, into: &Path, wal: &str) {
    let asked: (String, String, String) = sqlx::query_as(
        "SELECT (SELECT setting FROM pg_config() WHERE name = 'BINDIR'),
                trim(current_setting('unix_socket_directories'), '\"'), current_setting('port')",
    )
    .fetch_one(session)
    .await
    .expect("where the server is");
    let (programs, socket, port) = asked;
    let backup = tokio::process::Command::new(Path::new(&programs).join("pg_basebackup"))
        .args(["--checkpoint=fast", "--username=flashdeal", "--wal-method", wal])
        .args(["--host", &socket, "--port", &port, "--pgdata"])
        .arg(into)
        .output();
    let done = backup.await.expect("pg_basebackup");
    assert!(done.status.success(), "{done:?}");
}

/// Puts the backup where the cluster was and lets the server replay the archive to the moment.
async fn bring_back(places: &Places, place: &Path, moment: &str) -> EmbeddedServer {
    let copy =
        tokio::process::Command::new("cp").arg("-a").args([&places.base, &places.cluster]).status();
    assert!(copy.await.expect("cp").success());
    let wanted = format!(
        "restore_command = 'cp ../archive/%f %p'\nrecovery_target_time = '{moment}'\n\
         recovery_target_action = 'promote'\n"
    );
    std::fs::write(places.cluster.join("postgresql.auto.conf"), wanted).expect("settings");
    std::fs::write(places.cluster.join("recovery.signal"), "").expect("a signal");
    let options = EmbeddedOptions::new(place).with_test_setting("track_commit_timestamp", "on");
    let server = EmbeddedServer::start(options).await.expect("a restored server");
    let database = TestDatabase { url: server.connection().url() };
    until("the log is replayed to the moment", async || {
        // Before it is consistent it takes no sessions.
        let Ok(mut session) = database.options().connect().await else { return false };
        number(&mut session, "SELECT (NOT pg_is_in_recovery())::int::bigint").await == 1
    })
    .await;
    server
}
