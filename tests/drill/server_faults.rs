//! Faults of the whole server that are done in its own words: no slot, no writing, no room.

use std::time::{Duration, Instant};

use fastrand::Rng;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::sleep;

use crate::board::Board;
use crate::faults::{After, LOOK};
use crate::stage::Stage;
use crate::support::locks::run;

/// Takes every slot and ends the services' sessions, so that they need new ones and get none.
pub(crate) async fn full_slots(stage: &Stage, chance: &mut Rng) -> After {
    let mut session = stage.session().await;
    let mut taken = Vec::new();
    let hold = Duration::from_millis(chance.u64(300..1_000));
    let began = Instant::now();
    while began.elapsed() < hold {
        match sqlx::ConnectOptions::connect(&stage.database.options()).await {
            Ok(slot) => taken.push(slot),
            Err(_full) => {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                           WHERE application_name = 'flashdeal'";
                ask(&mut session, end.to_owned()).await;
                sleep(LOOK).await;
            }
        }
    }
    drop(taken);
    After::now(1)
}

/// The service says READ WRITE itself, so it must not notice.
pub(crate) async fn read_only_default(stage: &Stage, chance: &mut Rng) -> After {
    let mut session = stage.session().await;
    for statement in
        ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"]
    {
        run(&mut session, statement).await;
    }
    sleep(Duration::from_millis(chance.u64(100..500))).await;
    for statement in ["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"]
    {
        run(&mut session, statement).await;
    }
    After::now(1)
}

/// No page can be added to the orders for a while.
pub(crate) async fn disk_full(stage: &Stage, board: &Board, chance: &mut Rng) -> After {
    let Some(disk) = &stage.disk else {
        return trap(stage, board, "drill_disk_full", chance).await;
    };
    let mut session = stage.session().await;
    // A table with one row wants a page of its own: that it finds none shows that the disk is full.
    let probe = "CREATE TABLE drill_probe TABLESPACE small AS SELECT 1 AS one";
    let full = disk.fill() && !execute(&mut session, probe.to_owned()).await;
    sleep(Duration::from_millis(chance.u64(100..500))).await;
    if !disk.empty() {
        board.violation("the disk stays full".to_owned());
    }
    let after = After::now(u64::from(full));
    execute(&mut session, "DROP TABLE IF EXISTS drill_probe".to_owned()).await;
    after
}

/// Every write of an order is told that the server is read-only, for a while.
pub(crate) async fn read_only(stage: &Stage, board: &Board, chance: &mut Rng) -> After {
    trap(stage, board, "drill_read_only", chance).await
}

/// Lets every write of an order fail for a while.
async fn trap(stage: &Stage, board: &Board, function: &str, chance: &mut Rng) -> After {
    let mut session = stage.session().await;
    let set = format!(
        "CREATE TRIGGER drill_trap BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION
         {function}()"
    );
    if !execute(&mut session, set).await {
        return After::now(0);
    }
    sleep(Duration::from_millis(chance.u64(100..500))).await;
    for _ in 0..10 {
        if execute(&mut session, "DROP TRIGGER IF EXISTS drill_trap ON orders".to_owned()).await {
            return After::now(1);
        }
    }
    board.violation(format!("{function} could not be lifted"));
    After::now(1)
}

/// Runs a statement that may fail.
pub(crate) async fn execute(session: &mut PgConnection, statement: String) -> bool {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(session).await.is_ok()
}

/// The one number that a statement answers; 0 when it fails.
pub(crate) async fn ask(session: &mut PgConnection, statement: String) -> i64 {
    let found = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(session).await;
    found.unwrap_or_else(|error| {
        eprintln!("drill: {error}");
        0
    })
}
