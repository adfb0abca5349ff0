//! Failover: `cargo test --test drill -- failover`.
//!
//! Two servers, and services whose `DATABASE_URL` names both. While buyers buy, every process of
//! the primary is killed at once and its disk is gone; when the services say that they are not
//! ready the standby is promoted, and nobody tells them. What was lost comes back as the next
//! standby. With synchronous replication no acknowledged order may be missing, five times over.
//! With asynchronous replication, behind a standby that lags, some are: the drill shows how many.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::board::Board;
use crate::buyers::{Buyer, Crowd};
use crate::checker::Case;
use crate::journal::History;
use crate::restore::{base_backup, bought};
use crate::rows::Rows;
use crate::shop::Shop;
use crate::stage::{MAX_CONNECTIONS, Stage, clear};
use crate::support::data_dir::{DataDir, until};
use crate::support::locks::{number, run};
use crate::support::postgres::TestDatabase;
use crate::support::service::scratch;

/// Failovers with synchronous replication.
const CYCLES: usize = 5;
/// Orders before and after each.
const ORDERS: u64 = 1_000;
/// How far the asynchronous standby lags behind.
const LAG: Duration = Duration::from_millis(300);

/// How commits wait for the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replication {
    Synchronous,
    Asynchronous,
}

/// Five cycles, and one that shows what is not promised.
pub(crate) async fn rehearse() -> ExitCode {
    let second = scratch(&format!("drill-{}-second", std::process::id()));
    let server = start(&second).await;
    let mut stage = Stage::set_beside(&TestDatabase { url: server.connection().url() }).await;
    server.stop().await.expect("an orderly end");
    let places = [second, stage.place().to_owned()];
    let mut broken = 0;
    println!(
        "| replication | cycle | orders acknowledged | lost | both say 503 after | \
         first 201 after the promotion |"
    );
    println!("|---|---:|---:|---:|---|---|");
    for cycle in 1..=CYCLES + 1 {
        let replication =
            if cycle > CYCLES { Replication::Asynchronous } else { Replication::Synchronous };
        let board = Arc::new(Board::new());
        let place = &places[(cycle + 1) % 2];
        let found = fail_over(&mut stage, &board, cycle, replication, place).await;
        let Found { told, lost, said, took } = found;
        println!("| {replication:?} | {cycle} | {told} | {lost} | {said:.0?} | {took:.0?} |");
        if replication == Replication::Synchronous {
            broken += board.violations() + lost;
        }
    }
    let board = Board::new();
    stage.close(&board).await;
    broken += board.violations();
    println!("| violations with synchronous replication | {broken} | | | | |");
    places.iter().for_each(|place| clear(place));
    ExitCode::from(u8::from(broken > 0))
}

/// What one failover came to.
struct Found {
    /// Orders acknowledged.
    told: usize,
    /// Those of them that are gone.
    lost: usize,
    /// From the loss of the primary until both instances said so.
    said: Duration,
    /// From the promotion to the first order.
    took: Duration,
}

/// One failover under load, to a standby at `place`.
async fn fail_over(
    stage: &mut Stage,
    board: &Arc<Board>,
    cycle: usize,
    replication: Replication,
    place: &Path,
) -> Found {
    let standby = stand_by(stage, place, replication).await;
    let shop = Arc::new(Shop::open(stage, 1_000 + cycle).await);
    let crowd = Crowd::start(&shop, board, &stage.doors, cycle as u64 * 1_000);
    bought(board, ORDERS).await;
    let mut frozen = Vec::new();
    if replication == Replication::Asynchronous {
        frozen = hold_back(place);
        tokio::time::sleep(LAG).await;
    }
    stage.lose_server();
    let killed = Instant::now();
    stage.until_away().await;
    let said = killed.elapsed();
    let database = TestDatabase { url: standby.connection().url() };
    run(&mut database.session().await, "SELECT pg_promote(wait => false)").await;
    wake(frozen);
    let promoted = Instant::now();
    let first_order = async {
        until("orders are confirmed again", async || board.last(None, None) > promoted).await;
        promoted.elapsed()
    };
    let took = first_order.await;
    stage.move_to(standby, place).await;
    bought(board, board.orders() + ORDERS).await;
    let mut histories = crowd.finish(board).await;
    stage.until_ready().await;
    let chance = fastrand::Rng::new();
    let mut buyer = Buyer::new(Arc::clone(&shop), Arc::clone(board), stage.doors.clone(), chance);
    for history in histories.iter_mut().filter(|history| history.undecided()) {
        buyer.once(history).await;
    }
    let rows = Rows::read(&mut stage.session().await, &shop).await;
    let lost = lost(&histories, &rows);
    if replication == Replication::Synchronous {
        Case { shop: &shop, histories: &histories, rows: &rows, board }.check();
    }
    let told = histories.iter().filter(|history| history.order().is_some()).count();
    Found { told, lost, said, took }
}

/// Acknowledged orders that are not there.
fn lost(histories: &[History], rows: &Rows) -> usize {
    let found: std::collections::HashSet<&str> =
        rows.orders.iter().map(|row| row.key.as_str()).collect();
    let told = histories.iter().filter(|history| history.order().is_some());
    told.filter(|history| !found.contains(history.wish.key.as_str())).count()
}

/// A server with room for everybody.
async fn start(place: &Path) -> EmbeddedServer {
    let mut options = EmbeddedOptions::new(place);
    options.max_connections = MAX_CONNECTIONS;
    EmbeddedServer::start(options).await.expect("a server")
}

/// A standby of the stage's server that follows it. A server has been at its place before.
async fn stand_by(stage: &Stage, place: &Path, replication: Replication) -> EmbeddedServer {
    let cluster = DataDir::at(place.to_owned()).cluster();
    // Gone already where it was lost.
    let _ = std::fs::remove_dir_all(&cluster);
    let mut session = stage.session().await;
    base_backup(&mut session, &cluster, "stream").await;
    follow(stage, &cluster);
    let standby = start(place).await;
    until("the standby follows", async || {
        let found = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        number(&mut session, found).await == 1
    })
    .await;
    if replication == Replication::Synchronous {
        run(&mut session, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        run(&mut session, "SELECT pg_reload_conf()").await;
        until("the standby is synchronous", async || {
            let found = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            number(&mut session, found).await == 1
        })
        .await;
    }
    standby
}

/// Tells a copy whom to follow. When it is promoted it waits for no standby of its own.
fn follow(stage: &Stage, cluster: &Path) {
    let options = stage.database.options();
    let socket = options.get_socket().expect("a socket");
    let from = format!(
        "primary_conninfo = 'host={} port={} user=flashdeal application_name=standby'\n",
        socket.display(),
        options.get_port()
    );
    std::fs::write(cluster.join("postgresql.auto.conf"), from).expect("settings");
    std::fs::write(cluster.join("standby.signal"), "").expect("a signal");
}

/// Freezes the standby's receiver: what comes now is not there when the primary is lost.
fn hold_back(place: &Path) -> Vec<Pid> {
    let mut frozen = Vec::new();
    for pid in DataDir::at(place.to_owned()).servers() {
        let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if title.contains("walreceiver") {
            kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("a signal");
            frozen.push(Pid::from_raw(pid));
        }
    }
    frozen
}

/// Lets the receiver end, which the promotion waits for. A moment later, so that it is told to end
/// before it reads what the lost primary had sent.
fn wake(frozen: Vec<Pid>) {
    tokio::spawn(async move {
        tokio::time::sleep(LAG).await;
        for pid in frozen {
            let _ = kill(pid, Signal::SIGCONT);
        }
    });
}
