//! The fault drill: real service processes, a real PostgreSQL, buyers who keep their keys until
//! they are finished, and everything that can go wrong done to them on purpose, again and again.
//!
//! `cargo test --test drill` ends when there were enough orders and faults for a gate.
//! `DRILL_SECONDS=3600 DRILL_SEED=7 cargo test --release --test drill` is a long run; a seed plans
//! the same faults and wishes again; `DRILL_ENGINE` chooses another engine. After each round the
//! history checker and `flashdeal verify` look at what is left. Exit code 0: no promise was broken.
//!
//! | room | what it does |
//! |---|---|
//! | `stage` | PostgreSQL, wires, services |
//! | `shop`, `buyers`, `line`, `journal` | what is for sale, who buys how, what they were told |
//! | `plan`, `faults` | which faults come, and how they are done |
//! | `rows`, `checker`, `refusals` | what is stored, against what was told |
//! | `board`, `report` | what everyone counts, and the table at the end |
//! | `restore`, `failover` | other plays on the same stage: backup and restore, a lost primary |

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report, in helpers too")]
#![allow(clippy::type_complexity, reason = "tables of cases are read where they stand")]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the integration tests, which use it all")]
mod support;

mod board;
mod buyers;
mod checker;
mod failover;
mod faults;
mod journal;
mod line;
mod plan;
mod refusals;
mod report;
mod restore;
mod rows;
mod shop;
mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use board::Board;
use buyers::{Buyer, Crowd};
use checker::Case;
use journal::History;
use plan::{FAULTS_MIN, ORDERS_MIN, Plan, Settings};
use rows::Rows;
use shop::Shop;
use stage::Stage;
use support::locks::{IDLE_IN_TRANSACTION, sessions};
use support::process::run;

/// How long faults are done before everything is looked at.
const ROUND: Duration = Duration::from_secs(20);
/// A gate that is not through by then has failed.
const GATE_MAX: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match std::env::args().nth(1).as_deref() {
        Some("failover") => runtime.block_on(failover::rehearse()),
        Some("restore") => runtime.block_on(restore::rehearse()),
        _ => runtime.block_on(drill()),
    }
}

async fn drill() -> ExitCode {
    let settings = Settings::read();
    println!("drill: DRILL_SEED={} plans it again", settings.seed);
    let board = Arc::new(Board::new());
    let mut stage = Stage::set().await;
    let mut plan = Plan::of(settings.seed);
    let (began, mut orders) = (Instant::now(), 0);
    for round in 1.. {
        orders += play(&mut stage, &board, &mut plan, settings, round).await as u64;
        println!("{}", report::line(&board, round, orders, began.elapsed()));
        if board.violations() > 0 || is_over(settings, &board, orders, began.elapsed()) {
            break;
        }
    }
    errors(&stage, &board);
    let (version, place) = (stage.version().to_owned(), stage.place().to_owned());
    stage.close(&board).await;
    report::print(&board, settings, &version, orders, began.elapsed());
    if board.violations() > 0 {
        println!("kept for a look: {}", place.display());
        println!("DRILL_SEED={} plans it again", settings.seed);
        return ExitCode::FAILURE;
    }
    stage::clear(&place);
    ExitCode::SUCCESS
}

/// Faults of services, wires and server, without what buyers do.
fn faults_done(board: &Board) -> u64 {
    let faults = board.faults();
    faults.iter().filter(|(name, _)| !name.starts_with("client")).map(|(_, count)| count).sum()
}

fn is_over(settings: Settings, board: &Board, orders: u64, elapsed: Duration) -> bool {
    if let Some(time) = settings.time {
        return elapsed >= time;
    }
    if elapsed > GATE_MAX {
        board.violation(format!("{orders} orders, {} faults in time", faults_done(board)));
        return true;
    }
    orders >= ORDERS_MIN && faults_done(board) >= FAULTS_MIN
}

/// One round: its faults, then the truth. The number of orders.
async fn play(
    stage: &mut Stage,
    board: &Arc<Board>,
    plan: &mut Plan,
    settings: Settings,
    round: usize,
) -> usize {
    let shop = Arc::new(Shop::open(stage, round).await);
    let seed = settings.seed.wrapping_mul(1_000_003).wrapping_add(round as u64 * 1_000);
    let crowd = Crowd::start(&shop, board, &stage.doors, seed);
    let began = Instant::now();
    let time = settings.time.map_or(ROUND, |time| time.min(ROUND));
    while began.elapsed() < time && !board.is_lost() {
        faults::next(stage, &shop, board, plan).await;
    }
    let mut histories = crowd.finish(board).await;
    stage.until_ready().await;
    let mut buyer =
        Buyer::new(Arc::clone(&shop), Arc::clone(board), stage.doors.clone(), fastrand::Rng::new());
    settle(&mut buyer, &mut histories, round).await;
    let mut session = stage.session().await;
    let idle = sessions(&mut session, IDLE_IN_TRANSACTION).await;
    if idle > 0 {
        board.violation(format!("{idle} sessions sit in an open transaction"));
    }
    let rows = Rows::read(&mut session, &shop).await;
    let orders = Case { shop: &shop, histories: &histories, rows: &rows, board }.check();
    let environment = [("DATABASE_URL", stage.database.url.as_str()), ("FLASHDEAL_LOG", "off")];
    let verified = run(&["verify"], &environment).await;
    if verified.status.code() != Some(0) {
        board.violation(format!("the books: {verified:?}"));
    }
    orders
}

/// Nothing goes wrong any more: keys that nobody knows of are asked for once more, and every tenth
/// of the others too.
async fn settle(buyer: &mut Buyer, histories: &mut [History], round: usize) {
    for (at, history) in histories.iter_mut().enumerate() {
        if history.undecided() || (history.order().is_some() && at % 10 == round % 10) {
            buyer.once(history).await;
        }
    }
}

/// What a service says of itself when the schema had to step in, or something failed that nobody
/// foresaw.
fn errors(stage: &Stage, board: &Board) {
    let defects = ["ALARM", "panicked", "a transaction failed"];
    let log = stage.errors();
    for line in log.lines().filter(|line| defects.iter().any(|word| line.contains(word))) {
        board.violation(format!("a service logged: {line}"));
    }
}
