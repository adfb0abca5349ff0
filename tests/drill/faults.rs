//! The injector: does one fault after the other while buyers buy, and measures how soon after its
//! end an order is confirmed again.

use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::board::Board;
use crate::plan::{Fault, Plan};
use crate::server_faults::{self, ask, execute};
use crate::shop::{RICH, Shop};
use crate::stage::Stage;
use crate::support::locks::{Held, run};
use crate::support::relay::Break;

/// How many times its bar a recovery may take on a machine that is busy with other work.
const CROWDED: u32 = 3;
/// How often the board is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
/// Between two faults.
const PAUSE: std::ops::Range<u64> = 5..60;
/// No order for so long is the end of the drill, not a slow recovery.
const GIVE_UP: Duration = Duration::from_secs(40);
/// How long a planned break of the wire waits for a COMMIT.
const BREAK_WITHIN: Duration = Duration::from_secs(3);
/// On a machine that others use too the old rate may not come back at all.
const RATE_WITHIN: Duration = Duration::from_secs(5);
/// The rate before a heavy fault is measured so long, and a rate after it.
const RATE_OVER: Duration = Duration::from_millis(200);

/// Where to look for the first order after a fault.
pub(crate) struct After {
    ended: Instant,
    instance: Option<usize>,
    sale: Option<usize>,
    count: u64,
}

impl After {
    /// Anywhere, from now on, after so many faults.
    pub(crate) fn now(count: u64) -> After {
        After { ended: Instant::now(), instance: None, sale: None, count }
    }

    fn at(self, instance: usize) -> After {
        After { instance: Some(instance), ..self }
    }
}

/// Does the plan's next fault and waits until orders are confirmed again.
pub(crate) async fn next(stage: &mut Stage, shop: &Shop, board: &Board, plan: &mut Plan) {
    let (fault, mut chance) = plan.next();
    sleep(Duration::from_millis(chance.u64(PAUSE))).await;
    let heavy = matches!(
        fault,
        Fault::LockSale
            | Fault::FreezeService
            | Fault::KillService
            | Fault::KillPostgres
            | Fault::FullSlots
            | Fault::ReadOnly
            | Fault::DiskFull
    );
    let before = if heavy { rate(board).await } else { 0 };
    let after = inject(fault, stage, shop, board, &mut chance).await;
    board.fault(fault.name(), after.count);
    if after.count == 0 {
        return;
    }
    let Some(took) = first_order(board, &after).await else {
        board.violation(format!("no order within {GIVE_UP:?} after {}", fault.name()));
        return;
    };
    board.recovered(fault.name(), took);
    // The table shows the time beside its bar. A machine that is crowded with other work is no
    // defect of the service, so only what is far beyond the bar ends the run.
    if took > fault.bar() * CROWDED {
        board.violation(format!(
            "the first order came {took:?} after {}; {:?} are the bar",
            fault.name(),
            fault.bar()
        ));
    }
    if heavy {
        while rate(board).await * 10 < before * 8 && after.ended.elapsed() < RATE_WITHIN {}
        board.at_full_rate(fault.name(), after.ended.elapsed());
    }
}

async fn rate(board: &Board) -> u64 {
    let before = board.orders();
    sleep(RATE_OVER).await;
    board.orders() - before
}

async fn first_order(board: &Board, after: &After) -> Option<Duration> {
    while after.ended.elapsed() < GIVE_UP {
        let last = board.last(after.instance, after.sale);
        if last > after.ended {
            return Some(last - after.ended);
        }
        sleep(LOOK).await;
    }
    None
}

async fn inject(
    fault: Fault,
    stage: &mut Stage,
    shop: &Shop,
    board: &Board,
    chance: &mut Rng,
) -> After {
    let instance = chance.usize(..2);
    let breaks = match fault {
        Fault::CutBefore => Some(Break::CutBefore),
        Fault::CutDuring => Some(Break::CutDuring),
        Fault::CutAfter => Some(Break::CutAfter),
        Fault::DelayCommit => Some(Break::Delay(Duration::from_millis(chance.u64(20..400)))),
        Fault::HalfClose => Some(Break::HalfClose),
        Fault::SilentUp => Some(Break::SilentUp),
        Fault::SilentDown => Some(Break::SilentDown),
        _ => None,
    };
    if let Some(how) = breaks {
        return break_wire(stage, instance, how, chance).await;
    }
    match fault {
        Fault::Terminate => terminate(stage, chance.i32(2..=5)).await,
        Fault::LockSale => {
            let sale = chance.usize(..2);
            let held = Held::sale(&stage.database, &shop.sales[sale].id).await;
            sleep(Duration::from_millis(chance.u64(100..900))).await;
            held.release().await;
            After { sale: Some(sale), ..After::now(1) }
        }
        Fault::Rogue => rogue(stage, shop, chance).await,
        Fault::FreezeService => {
            stage.signal(instance, Signal::SIGSTOP);
            sleep(Duration::from_millis(chance.u64(50..1_000))).await;
            stage.signal(instance, Signal::SIGCONT);
            After::now(1).at(instance)
        }
        Fault::FreezeSession => freeze_session(stage, chance).await,
        Fault::KillService => {
            stage.kill_service(instance).await;
            After::now(1).at(instance)
        }
        Fault::KillPostgres => {
            stage.kill_postgres().await;
            After::now(1)
        }
        Fault::FullSlots => server_faults::full_slots(stage, chance).await,
        Fault::ReadOnlyDefault => server_faults::read_only_default(stage, chance).await,
        Fault::ReadOnly => server_faults::read_only(stage, board, chance).await,
        _ => server_faults::disk_full(stage, board, chance).await,
    }
}

/// Breaks up to four COMMITs of one instance, each on its own.
async fn break_wire(stage: &Stage, instance: usize, how: Break, chance: &mut Rng) -> After {
    let wire = &stage.wires[instance];
    let before = wire.broken();
    let silent = matches!(how, Break::SilentUp | Break::SilentDown);
    let wanted = if silent { 1 } else { chance.usize(1..=4) };
    wire.break_next("COMMIT", &vec![how; wanted]);
    let began = Instant::now();
    while wire.broken() < before + wanted && began.elapsed() < BREAK_WITHIN {
        sleep(LOOK).await;
    }
    let ended = Instant::now();
    wire.break_next("COMMIT", &[]);
    let count = u64::try_from(wire.broken() - before).expect("a few");
    After { ended, ..After::now(count) }.at(instance)
}

/// Ends sessions of the services, those at work first.
async fn terminate(stage: &Stage, most: i32) -> After {
    let mut session = stage.session().await;
    let ended = ask(
        &mut session,
        format!(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (
               SELECT pid FROM pg_stat_activity WHERE application_name = 'flashdeal'
               ORDER BY state = 'idle', random() LIMIT {most}) AS chosen"
        ),
    );
    let ended = ended.await;
    After::now(u64::try_from(ended).unwrap_or_default())
}

/// Locks wallets of many buyers first, then the sale, as nobody in the house does.
async fn rogue(stage: &Stage, shop: &Shop, chance: &mut Rng) -> After {
    let users: Vec<String> =
        (0..40).map(|_| format!("'{}'", shop.users[chance.usize(..RICH)].id)).collect();
    let wallets = format!(
        "SELECT 1 FROM wallets WHERE user_id IN ({}) ORDER BY user_id DESC FOR UPDATE",
        users.join(", ")
    );
    let mut session = stage.session().await;
    run(&mut session, "BEGIN").await;
    // It may be the one that has to give way: that is as good.
    if execute(&mut session, wallets).await {
        sleep(Duration::from_millis(chance.u64(5..60))).await;
        let sale = &shop.sales[0].id;
        let sale = format!("SELECT 1 FROM sales WHERE id = '{sale}' FOR UPDATE");
        execute(&mut session, sale).await;
    }
    run(&mut session, "ROLLBACK").await;
    After::now(1)
}

/// Stops one of the server's processes in the middle of its work.
async fn freeze_session(stage: &Stage, chance: &mut Rng) -> After {
    let mut session = stage.session().await;
    let busy = "SELECT coalesce((SELECT pid FROM pg_stat_activity
                  WHERE application_name = 'flashdeal' ORDER BY state = 'idle', random() LIMIT 1),
                0)::bigint";
    let pid = i32::try_from(ask(&mut session, busy.to_owned()).await).expect("a process id");
    if pid == 0 || !stage.data_dir.servers().contains(&pid) {
        return After::now(0);
    }
    // It may end by itself before it is woken.
    let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
    sleep(Duration::from_millis(chance.u64(50..800))).await;
    let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    After::now(1)
}
