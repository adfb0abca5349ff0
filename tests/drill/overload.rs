//! Overload: `OVERLOAD_SECONDS=60 cargo test --release --test drill -- overload`.
//!
//! What one instance confirms each second is measured with callers who wait for their answers; then
//! twice and five times as many orders arrive each second, whoever is still waiting. Asked: who is
//! let in is answered soon, nobody is told a 5xx but 503 with `Retry-After`, memory does not grow,
//! and within two seconds of the end the rate is what it was. Every 201 has its order, nobody else.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

use crate::arrivals::{Outcome, Target, closed, open};
use crate::board::Board;
use crate::stage::clear;
use crate::support::crowd::seed_buyers;
use crate::support::locks::number;
use crate::support::postgres::TestDatabase;
use crate::support::process::{ServeProcess, run};
use crate::support::service::scratch;

/// How many times what it can do.
const TIMES: [f64; 2] = [2.0, 5.0];
/// Callers who wait, for the measure of what it can do.
const CALLERS: usize = 128;
/// How long that is measured.
const MEASURED: Duration = Duration::from_secs(8);
/// Orders that may wait: about as many as are decided in a fraction of a second, so that who is let
/// in is answered while it still matters to him. The default is for a rush of ten thousand.
const QUEUE: (&str, &str) = ("FLASHDEAL_MAX_QUEUE", "512");
/// The slowest of a hundred who are let in.
const ADMITTED_P99_MAX: Duration = Duration::from_secs(2);
/// How soon the rate is back.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// Callers who wait are watched for so long behind that.
const SETTLED: Duration = Duration::from_secs(4);
/// The rate is looked at so often.
const WINDOW: Duration = Duration::from_millis(250);
/// This share of the rate before counts as full.
const FULL: f64 = 0.8;
/// Memory that comes and goes by itself.
const MEMORY_SLACK_KIB: u64 = 32 * 1_024;

/// Loads it beyond what it can do, and looks.
pub(crate) async fn rehearse() -> ExitCode {
    let seconds = std::env::var("OVERLOAD_SECONDS").map_or(Ok(10), |text| text.parse());
    let lasting = Duration::from_secs(seconds.expect("OVERLOAD_SECONDS is a number of seconds"));
    let (board, place) = (Board::new(), scratch(&format!("overload-{}", std::process::id())));
    let server = EmbeddedServer::start(EmbeddedOptions::new(&place)).await.expect("a server");
    let database = TestDatabase { url: server.connection().url() };
    let environment = [("DATABASE_URL", database.url.as_str()), ("FLASHDEAL_LOG", "error"), QUEUE];
    let service = ServeProcess::start(&environment).await;
    let users = Arc::new(seed_buyers(&database, 5_000, "1000000.00").await);
    let members = json!({ "unit_price": "0.01", "stock": 1_000_000_000 });
    let sale = service.api.sale_with(members).await;
    let target = Target { address: service.api.address(), users, sale };

    let mut known = Known::default();
    known.add(&closed(&target, CALLERS, MEASURED / 2).await); // It warms up.
    let calm = closed(&target, CALLERS, MEASURED).await;
    known.add(&calm);
    let capacity = calm.admitted.len() as f64 / MEASURED.as_secs_f64();
    println!("{CALLERS} callers who wait: {capacity:.0} orders/s, p99 {:.0?}", p99(&calm.admitted));
    println!("{HEAD}");
    for times in TIMES {
        for out in beyond(&target, &board, &service, (times, capacity, lasting)).await {
            known.add(&out);
        }
    }
    let mut session = database.session().await;
    let stored = number(&mut session, "SELECT count(*) FROM orders").await;
    let Known { confirmed, unknown } = known;
    let stored = u64::try_from(stored).expect("a number");
    if !(confirmed..=confirmed + unknown).contains(&stored) {
        let told = format!("{confirmed} orders were confirmed, of {unknown} nobody knew");
        board.violation(format!("{told}, {stored} are there"));
    }
    drop(session);
    let verified = run(&["verify"], &environment).await;
    if verified.status.code() != Some(0) {
        board.violation(format!("the books: {verified:?}"));
    }
    service.signal(Signal::SIGTERM);
    let code = service.exit().await;
    if code != Some(0) {
        board.violation(format!("the service ended with {code:?}"));
    }
    server.stop().await.expect("an orderly end");
    clear(&place);
    let violations = board.violations();
    println!("\n{confirmed} orders, {unknown} × 503 outcome_unknown, {violations} violations");
    ExitCode::from(u8::from(board.violations() > 0))
}

/// What callers know.
#[derive(Default)]
struct Known {
    confirmed: u64,
    unknown: u64,
}

impl Known {
    fn add(&mut self, out: &Outcome) {
        self.confirmed += out.admitted.len() as u64;
        self.unknown += out.unknown;
    }
}

const HEAD: &str = "
| offered | arrived/s | no socket | 201/s | 201: p50, p99 | 503/s | 503: p99 | memory | rate back |
|---|---:|---:|---:|---|---:|---|---|---|";

/// Orders arrive so many times as fast as it can do them. What came of it, then and after.
async fn beyond(
    target: &Target,
    board: &Board,
    service: &ServeProcess,
    (times, capacity, lasting): (f64, f64, Duration),
) -> [Outcome; 2] {
    let stop = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn(memory(service.pid(), Arc::clone(&stop)));
    let out = open(target, capacity * times, lasting).await;
    stop.store(true, Ordering::Relaxed);
    let sizes = watch.await.expect("a watch");
    let ended = Instant::now();
    let after = closed(target, CALLERS, BACK_WITHIN + SETTLED).await;
    let settled = after.moments.iter().filter(|moment| **moment - ended > BACK_WITHIN).count();
    let settled = settled as f64 / SETTLED.as_secs_f64();
    let back = back(&after, ended, capacity);

    let (early, late) = halves(&sizes);
    let share = |count: usize| count as f64 / lasting.as_secs_f64();
    println!(
        "| {times} × | {:.0} | {} | {:.0} | {:.0?}, {:.0?} | {:.0} | {:.0?} | {} → {} MiB | {} to {settled:.0}/s |",
        share(usize::try_from(out.arrived).expect("a number")),
        out.turned_away,
        share(out.admitted.len()),
        percentile(&out.admitted, 50),
        p99(&out.admitted),
        share(out.shed.len()),
        p99(&out.shed),
        early / 1_024,
        late / 1_024,
        back.map_or_else(|| "not seen".to_owned(), |time| format!("{time:.1?}")),
    );
    let slowest = p99(&out.admitted);
    if slowest > ADMITTED_P99_MAX {
        board.violation(format!("{times} ×: p99 of those let in was {slowest:.1?}"));
    }
    for (what, count) in out.others.iter().chain(&after.others) {
        board.violation(format!("{times} ×: {count} were told {what}"));
    }
    if out.shed.is_empty() {
        board.violation(format!("{times} ×: nobody was turned away, this was no overload"));
    }
    if late > early + early / 4 + MEMORY_SLACK_KIB {
        board.violation(format!("{times} ×: memory grew from {early} to {late} KiB"));
    }
    if settled < capacity * FULL {
        board.violation(format!("{times} ×: {settled:.0}/s remain of {capacity:.0}/s"));
    }
    if back.is_none_or(|time| time > BACK_WITHIN) {
        board.violation(format!("{times} ×: the rate was back after {back:?}"));
    }
    [out, after]
}

/// When a window first had four fifths of the rate, counted to its end.
fn back(after: &Outcome, ended: Instant, capacity: f64) -> Option<Duration> {
    let wanted = capacity * WINDOW.as_secs_f64() * FULL;
    let windows = (BACK_WITHIN + SETTLED).as_millis() / WINDOW.as_millis();
    let mut counts = vec![0.0; usize::try_from(windows).expect("a few") + 1];
    for moment in &after.moments {
        let at = (*moment - ended).as_millis() / WINDOW.as_millis();
        if let Some(count) = usize::try_from(at).ok().and_then(|at| counts.get_mut(at)) {
            *count += 1.0;
        }
    }
    let first = counts.iter().position(|count| *count >= wanted)?;
    Some(WINDOW * (u32::try_from(first).expect("a few") + 1))
}

/// Resident memory of a process in KiB, ten times a second.
async fn memory(process: Pid, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut sizes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        sizes.extend(size);
    }
    sizes
}

/// The largest of the first half and of the second.
fn halves(sizes: &[u64]) -> (u64, u64) {
    let (early, late) = sizes.split_at(sizes.len() / 2);
    let most = |sizes: &[u64]| sizes.iter().max().copied().unwrap_or_default();
    (most(early), most(late))
}

fn p99(micros: &[u64]) -> Duration {
    percentile(micros, 99)
}

fn percentile(micros: &[u64], share: usize) -> Duration {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    Duration::from_micros(sorted.get(at).copied().unwrap_or_default())
}
