//! A rolling upgrade: `UPGRADE_FROM=/path/to/flashdeal cargo test --test drill -- upgrade`.
//!
//! Two instances of an earlier build sell from one database. Under load each is ended in order and
//! started again as this build, one after the other; where the schema allows it, back again as
//! well. What one build has sold the other answers byte by byte, while both run and at the end, and
//! every key is finished: a buyer who is told 503, or finds a closed door, is served on retry.
//! Without `UPGRADE_FROM` both are this build: then only the restarts are rehearsed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::buyers::{Buyer, Crowd};
use crate::checker::Case;
use crate::journal::{History, Told};
use crate::line::Line;
use crate::restore::bought;
use crate::rows::Rows;
use crate::shop::Shop;
use crate::stage::{Stage, clear};
use crate::support::locks::number;
use crate::support::process::{THIS_BUILD, command_of, run, stdout};

/// Orders between two restarts.
const ORDERS: u64 = 2_000;
/// Orders made at one instance and asked for at the other, each way, behind every restart.
const ASKED: usize = 25;
/// How long the shop may seem shut while one of two instances is away.
const GAP_MAX: Duration = Duration::from_secs(2);

/// Everything at hand while it lasts.
struct Play {
    stage: Stage,
    board: Arc<Board>,
    shop: Arc<Shop>,
    /// What the rehearsal itself has bought.
    bought: Vec<History>,
}

/// Upgrades, and goes back where that is allowed; exit code 0 when nobody noticed.
pub(crate) async fn rehearse() -> ExitCode {
    let new = PathBuf::from(THIS_BUILD);
    let old = std::env::var_os("UPGRADE_FROM").map_or_else(|| new.clone(), PathBuf::from);
    let told = command_of(&old, &["--version"], &[]).output().await.expect("an earlier build");
    println!("from {}, to {}", stdout(&told).trim(), env!("CARGO_PKG_VERSION"));
    if old == new {
        println!("UPGRADE_FROM is not set: both are this build, only the restarts are rehearsed");
    }
    let board = Arc::new(Board::new());
    let stage = Stage::set_of(&old).await;
    let shop = Arc::new(Shop::open(&stage, 1).await);
    let mut play = Play { stage, board, shop, bought: Vec::new() };
    let before = schema(&play.stage).await;
    let crowd = Crowd::start(&play.shop, &play.board, &play.stage.doors, 1);
    println!("| step | orders | longest gap | not now |\n|---|---:|---|---|");
    bought(&play.board, ORDERS).await;
    step(&mut play, 0, &new, "the first instance is exchanged").await;
    step(&mut play, 1, &new, "the second, too").await;
    let after = schema(&play.stage).await;
    if before == after {
        step(&mut play, 0, &old, "the first one goes back").await;
        step(&mut play, 1, &old, "the second, too").await;
        step(&mut play, 0, &new, "the first one again").await;
        step(&mut play, 1, &new, "the second one again").await;
    } else {
        println!("| no way back: the schema went from {before} to {after} | | | |");
    }
    let histories = crowd.finish(&play.board).await;
    end(play, histories).await
}

/// Exchanges one instance and looks at what follows.
async fn step(play: &mut Play, instance: usize, binary: &Path, what: &str) {
    let board = Arc::clone(&play.board);
    let (orders, answers) = (board.made(), board.answers());
    let longest = Arc::new(AtomicU64::new(0));
    let watch = tokio::spawn(gaps(Arc::clone(&board), Arc::clone(&longest)));
    let code = play.stage.exchange_service(instance, binary).await;
    if code != Some(0) {
        board.violation(format!("instance {instance} ended with {code:?}"));
    }
    for from in 0..2 {
        ask_the_other(play, from).await;
    }
    bought(&board, board.orders() + ORDERS).await;
    watch.abort();
    let gap = Duration::from_millis(longest.load(Ordering::Relaxed));
    if gap > GAP_MAX {
        board.violation(format!("no order for {gap:?} while {what}"));
    }
    let others = others(&answers, &board.answers());
    println!("| {what} | {} | {gap:.0?} | {others} |", board.made() - orders);
}

/// Notes the longest time without an order, until it is stopped.
async fn gaps(board: Arc<Board>, longest: Arc<AtomicU64>) {
    let (mut since, mut orders) = (Instant::now(), board.orders());
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if board.orders() > orders {
            (since, orders) = (Instant::now(), board.orders());
        }
        let gap = u64::try_from(since.elapsed().as_millis()).expect("not that long");
        longest.fetch_max(gap, Ordering::Relaxed);
    }
}

/// Answers other than orders and what a buyer has to live with, between two moments.
fn others(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let usual = |code: &str| ["201", "400", "422"].iter().any(|status| code.starts_with(status));
    let more = after.iter().filter(|(code, _)| !usual(code)).filter_map(|(code, n)| {
        let more = n - before.get(code).copied().unwrap_or_default();
        (more > 0).then(|| format!("{more} × {code}"))
    });
    more.collect::<Vec<_>>().join(", ")
}

/// Buys at one instance and asks for the same at the other.
async fn ask_the_other(play: &mut Play, from: usize) {
    let (shop, board) = (Arc::clone(&play.shop), Arc::clone(&play.board));
    let mut chance = fastrand::Rng::with_seed(play.bought.len() as u64);
    let mut here = Line::to(from, &play.stage.doors);
    let mut there = Line::to(1 - from, &play.stage.doors);
    for _ in 0..ASKED {
        let turn = play.bought.len();
        let mut wish = shop.wish(BESIDE, turn, &mut chance);
        (wish.user, wish.sale) = (turn % 100, 0); // Who is rich, of what is plenty.
        let mut history = History::of(wish);
        let deadline = Instant::now() + Duration::from_secs(20);
        while history.order().is_none() && Instant::now() < deadline {
            history.attempts.push(here.send(&shop, &board, &history.wish).await);
        }
        let again = there.send(&shop, &board, &history.wish).await;
        let same = match (&again.told, history.order()) {
            (Told::Order { bytes, replayed: true }, Some((_, first))) => bytes == first,
            _ => false,
        };
        if !same {
            board.violation(format!("{history:?} is answered otherwise next door: {again:?}"));
        }
        history.attempts.push(again);
        play.bought.push(history);
    }
}

/// The number of a buyer that no crowd has.
const BESIDE: usize = 1_000_000;

/// The schema's version.
async fn schema(stage: &Stage) -> i64 {
    let newest = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    number(&mut stage.session().await, newest).await
}

/// The history against the tables, and the books.
async fn end(play: Play, mut histories: Vec<History>) -> ExitCode {
    let Play { stage, board, shop, bought } = play;
    histories.extend(bought);
    let chance = fastrand::Rng::new();
    let doors = stage.doors.clone();
    let mut buyer = Buyer::new(Arc::clone(&shop), Arc::clone(&board), doors, chance);
    crate::settle(&mut buyer, &mut histories).await;
    let rows = Rows::read(&mut stage.session().await, &shop).await;
    let case = Case { shop: &shop, histories: &histories, rows: &rows, board: &board };
    let orders = case.check();
    let environment = [("DATABASE_URL", stage.database.url.as_str()), ("FLASHDEAL_LOG", "off")];
    let verified = run(&["verify"], &environment).await;
    if verified.status.code() != Some(0) {
        board.violation(format!("the books: {verified:?}"));
    }
    let place = stage.place().to_owned();
    stage.close(&board).await;
    println!("| orders | {orders} | | |\n| violations | {} | | |", board.violations());
    clear(&place);
    ExitCode::from(u8::from(board.violations() > 0))
}
