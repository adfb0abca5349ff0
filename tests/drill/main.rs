//! The fault drill: real service processes, a real PostgreSQL, buyers who keep their keys until
//! they are finished, and everything that can go wrong done to them on purpose, again and again.
//!
//! `cargo test --test drill` ends when there were enough orders and faults for a gate.
//! `DRILL_SECONDS=1000 DRILL_SEED=7 cargo test --release --test drill` is the long run; a seed
//! plans the same faults and wishes again; `DRILL_ENGINE` chooses another engine, `DRILL_LOG` a
//! file for the report. After each round the history checker and `flashdeal verify` look at what
//! is left. Exit code 0: no promise was broken, and every minimum was reached.
//!
//! | room | what it does |
//! |---|---|
//! | `stage` | PostgreSQL, wires, services |
//! | `shop`, `buyers`, `line`, `journal` | what is for sale, who buys how, what they were told |
//! | `plan`, `quota` | which faults come, and how many |
//! | `faults`, `server_faults`, `disk` | how they are done |
//! | `rows`, `checker`, `refusals` | what is stored, against what was told |
//! | `board`, `report` | what everyone counts, and the table at the end |
//! | `restore`, `failover` | other plays on the same stage: backup and restore, a lost primary |
//! | `upgrade`, `overload`, `arrivals` | and: two builds side by side; more than can be done |

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report, in helpers too")]
#![allow(clippy::type_complexity, reason = "tables of cases are read where they stand")]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the integration tests, which use it all")]
mod support;

mod arrivals;
mod board;
mod buyers;
mod checker;
mod disk;
mod failover;
mod faults;
mod journal;
mod line;
mod overload;
mod plan;
mod quota;
mod refusals;
mod report;
mod restore;
mod rows;
mod server_faults;
mod shop;
mod stage;
mod upgrade;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use board::Board;
use buyers::{Buyer, Crowd};
use checker::Case;
use journal::History;
use plan::{Plan, Settings};
use quota::{quotas, reached};
use report::Report;
use rows::Rows;
use shop::Shop;
use stage::Stage;
use support::locks::{IDLE_IN_TRANSACTION, sessions};
use support::process::run;

/// How long faults are done before everything is looked at: a long run has rounds of a minute,
/// because to look at a million orders takes seconds.
const ROUND: std::ops::RangeInclusive<Duration> = Duration::from_secs(20)..=Duration::from_secs(60);
/// A gate that is not through by then has failed.
const GATE_MAX: Duration = Duration::from_secs(900);
/// A session that does nothing for so long in a transaction has been forgotten in it; soon behind
/// that the server ends it.
const RESTING: Duration = Duration::from_millis(100);
/// Finished orders that are asked for once more at the end of a round.
const ASKED_AGAIN: usize = 500;

fn main() -> ExitCode {
    disk::enter_own_namespace();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match std::env::args().nth(1).as_deref() {
        Some("failover") => runtime.block_on(failover::rehearse()),
        Some("overload") => runtime.block_on(overload::rehearse()),
        Some("upgrade") => runtime.block_on(upgrade::rehearse()),
        Some("restore") => runtime.block_on(restore::rehearse()),
        _ => runtime.block_on(drill()),
    }
}

async fn drill() -> ExitCode {
    let settings = Settings::read();
    println!("drill: DRILL_SEED={} plans it again", settings.seed);
    let board = Arc::new(Board::new());
    let mut stage = Stage::set_on_small_disk().await;
    let mut plan = Plan::of(settings.seed);
    let mut report = Report::begin(settings, &stage);
    let mut orders = 0;
    for round in 1.. {
        orders += play(&mut stage, &board, &mut plan, settings, round, orders).await;
        report.round(&board, round, orders);
        if board.violations() > 0 || is_over(settings, &board, orders) {
            break;
        }
    }
    errors(&stage, &board);
    let place = stage.place().to_owned();
    stage.close(&board).await;
    report.end(&board, orders);
    if board.violations() > 0 {
        println!("kept for a look: {}", place.display());
        println!("DRILL_SEED={} plans it again", settings.seed);
        return ExitCode::FAILURE;
    }
    stage::clear(&place);
    ExitCode::SUCCESS
}

/// Whether it was long enough and brought enough. A run that never does has failed.
fn is_over(settings: Settings, board: &Board, orders: u64) -> bool {
    let elapsed = board.elapsed();
    let (time, time_max) = match settings.time {
        Some(time) => (time, time.mul_f64(1.5)),
        None => (Duration::ZERO, GATE_MAX),
    };
    if elapsed < time || reached(settings, board, orders) {
        return elapsed >= time;
    }
    if elapsed < time_max {
        return false;
    }
    for quota in quotas(settings, board, orders).iter().filter(|quota| !quota.reached()) {
        let (what, asked, done) = (quota.what, quota.asked, quota.done);
        board.violation(format!("{done} {what} in {elapsed:.0?}, {asked} were asked"));
    }
    true
}

/// How long a round lasts.
fn round_of(settings: Settings) -> Duration {
    let time = settings.time.map_or(*ROUND.start(), |time| time / 50);
    time.clamp(*ROUND.start(), *ROUND.end())
}

/// One round: its faults, then the truth. The number of orders.
async fn play(
    stage: &mut Stage,
    board: &Arc<Board>,
    plan: &mut Plan,
    settings: Settings,
    round: usize,
    before: u64,
) -> u64 {
    let shop = Arc::new(Shop::open(stage, round).await);
    let seed = settings.seed.wrapping_mul(1_000_003).wrapping_add(round as u64 * 1_000);
    let crowd = Crowd::start(&shop, board, &stage.doors, seed);
    let (began, made) = (Instant::now(), board.made());
    while began.elapsed() < round_of(settings) && !board.is_lost() {
        faults::next(stage, &shop, board, plan).await;
        if is_over(settings, board, before + board.made() - made) {
            break;
        }
    }
    let mut histories = crowd.finish(board).await;
    stage.until_ready().await;
    let mut buyer =
        Buyer::new(Arc::clone(&shop), Arc::clone(board), stage.doors.clone(), fastrand::Rng::new());
    settle(&mut buyer, &mut histories).await;
    let mut session = stage.session().await;
    // Not between two statements of an audit, which is at work as soon as nobody buys.
    tokio::time::sleep(RESTING).await;
    let resting = format!(
        "{IDLE_IN_TRANSACTION} AND state_change < clock_timestamp() - interval '{} ms'",
        RESTING.as_millis()
    );
    let idle = sessions(&mut session, &resting).await;
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
    orders as u64
}

/// Nothing goes wrong any more: keys that nobody knows of are asked for once more, and some of the
/// others too.
pub(crate) async fn settle(buyer: &mut Buyer, histories: &mut [History]) {
    let each = histories.len().div_ceil(ASKED_AGAIN).max(1);
    for (at, history) in histories.iter_mut().enumerate() {
        if history.undecided() || (history.order().is_some() && at.is_multiple_of(each)) {
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
