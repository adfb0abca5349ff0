//! `flashdeal rehearse`: the day of the sale, the day before.
//!
//! Everything is real but the buyers: the service with the operator's settings, its HTTP door, a
//! durable PostgreSQL. Only the database is another one (see `stage`). What the buyers were
//! answered is then held against the books (see `verdict`).

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::crowd::{Crowd, Tally};
use super::interrupts::Interrupts;
use super::output::{print, say};
use super::press::Press;
use super::progress::Progress;
use super::stage::Stage;
use super::verdict::{Books, Rehearsed};
use crate::adapters::http::HttpClient;
use crate::adapters::postgres::audit_unhurried;
use crate::adapters::postgres::rehearsal_repo::order_ids;
use crate::adapters::postgres::seed_repo::insert_users;
use crate::app::cli::RehearseArgs;
use crate::app::commands::{Done, Failure};
use crate::app::config::{Reader, Settings, duration};
use crate::app::serve::{self, Running};
use crate::domain::Instant;
use crate::domain::id::{SaleId, UserId};
use crate::domain::money::Money;
use crate::domain::user::User;
use crate::logic::ids::new_id;

/// What one unit costs, in cents.
const PRICE_CENTS: u64 = 1_000;
/// What each wallet holds: enough for ten units, so that money would not hide a second order.
const BALANCE_CENTS: u64 = 10 * PRICE_CENTS;
/// Buyers written in one statement.
const BATCH: usize = 1_000;
/// The longest that all presses may be given.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(600);
/// What a client waits longer than the service's own limit before it calls an answer missing.
const ANSWER_SLACK: Duration = Duration::from_secs(5);

/// What was asked for, checked.
pub(in crate::app) struct Plan {
    buyers: u32,
    doubles: u32,
    stock: u32,
    connections: u16,
    time_limit: Duration,
}

/// Rehearses a sale.
pub(in crate::app) async fn run(settings: &Settings, args: &RehearseArgs) -> Done {
    let plan = Plan::read(args).map_err(Failure::bad_values)?;
    let mut interrupts = Interrupts::listen()?;
    let stage = Stage::set(settings, &mut interrupts).await?;
    let done = on_stage(&stage, &plan, &mut interrupts).await;
    stage.clear(&mut interrupts).await?;
    let rehearsed = done?;
    print(&rehearsed.text())?;
    let well = rehearsed.findings().is_empty();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Plan {
    /// Reads the flags.
    ///
    /// # Errors
    /// All bad values, one sentence each.
    pub(in crate::app) fn read(args: &RehearseArgs) -> Result<Plan, Vec<String>> {
        let &RehearseArgs { buyers, stock, connections, duplicates, .. } = args;
        let mut reader = Reader(Vec::new());
        let doubles = duplicates.unwrap_or(buyers / 10);
        let accepted = format_args!("accepted is at most the number of buyers, {buyers}");
        reader.flag("--duplicates", &doubles.to_string(), accepted, |_| {
            (doubles <= buyers).then_some(())
        });
        let limits = Duration::from_secs(1)..=TIME_LIMIT_MAX;
        let accepted = "accepted is a time from 1s to 10m";
        let time_limit = reader.flag("--time-limit", &args.time_limit, accepted, |text| {
            duration(text).filter(|time| limits.contains(time))
        });
        let Some(time_limit) = time_limit.filter(|_| doubles <= buyers) else {
            return Err(reader.0);
        };
        // A connection without a press would only be opened and closed.
        let connections = u32::from(connections).min(buyers + doubles);
        let connections = u16::try_from(connections).unwrap_or(u16::MAX);
        Ok(Plan { buyers, doubles, stock, connections, time_limit })
    }
}

async fn on_stage(
    stage: &Stage,
    plan: &Plan,
    interrupts: &mut Interrupts,
) -> Result<Rehearsed, Failure> {
    interrupts.go_on()?;
    say(format_args!("rehearsing on {}", stage.place));
    // A service that is dropped while it starts or stops may have sessions left: they end with the
    // process, or with the database.
    let start = async { serve::start(&stage.settings).await.map_err(Failure::other) };
    let running = interrupts.phase(start).await?;
    let pressed = interrupts.phase(open_and_press(stage, plan, &running)).await;
    let stop = async {
        running.stop().await;
        Ok(())
    };
    let stopped = interrupts.phase(stop).await;
    let (sale_id, presses, tally) = pressed?;
    stopped?;
    let books = interrupts.phase(books(stage, sale_id)).await?;
    Ok(Rehearsed {
        engine: format!("{:?}", stage.settings.engine).to_lowercase(),
        buyers: plan.buyers,
        doubles: plan.doubles,
        stock: plan.stock,
        connections: plan.connections,
        time_limit: plan.time_limit,
        price: Money::from_cents(PRICE_CENTS),
        presses,
        tally,
        books,
    })
}

async fn open_and_press(
    stage: &Stage,
    plan: &Plan,
    running: &Running,
) -> Result<(SaleId, Arc<[Press]>, Tally), Failure> {
    let mut connection = stage.database.unhurried(&stage.settings).await?;
    let buyers = make_buyers(&mut connection, plan.buyers).await?;
    drop(connection);
    let sale_id = open_sale(running, plan.stock).await?;
    let presses: Arc<[Press]> = presses(&buyers, plan.doubles).into();
    let crowd = Crowd {
        address: running.address,
        sale_id,
        presses: Arc::clone(&presses),
        connections: plan.connections,
        time_limit: plan.time_limit,
        answer_max: stage.settings.request_timeout + ANSWER_SLACK,
    };
    let mut progress = Progress::new("presses answered", presses.len() as u64);
    let tally = crowd.press(|ended| progress.show(ended as u64)).await.map_err(Failure::other)?;
    progress.finish(tally.outcomes.len() as u64);
    Ok((sale_id, presses, tally))
}

async fn make_buyers(connection: &mut PgConnection, count: u32) -> Result<Vec<UserId>, Failure> {
    let created_at: Instant = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *connection)
        .await
        .map_err(Failure::other)?;
    let user = |id| User { id, external_id: None, name: None, created_at };
    let ids: Vec<UserId> = (0..count).map(|_| new_id()).collect();
    let mut progress = Progress::new("buyers made", count.into());
    for (done, batch) in ids.chunks(BATCH).enumerate() {
        let users: Vec<User> = batch.iter().copied().map(user).collect();
        insert_users(connection, &users, Money::from_cents(BALANCE_CENTS))
            .await
            .map_err(Failure::other)?;
        progress.show((done * BATCH) as u64);
    }
    Ok(ids)
}

/// Through the service's door, like a shop.
async fn open_sale(running: &Running, stock: u32) -> Result<SaleId, Failure> {
    let price = Money::from_cents(PRICE_CENTS).to_string();
    let wish = json!({ "name": "Rehearsal", "unit_price": price, "stock": stock });
    let mut request = Request::new(Bytes::from(wish.to_string()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/api/sales");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut client = HttpClient::connect(running.address).await.map_err(Failure::other)?;
    let reply = client.send(request).await.map_err(Failure::other)?;
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let id = body["id"].as_str().and_then(SaleId::parse);
    id.filter(|_| reply.status == StatusCode::CREATED).ok_or_else(|| {
        Failure::other(format_args!("the sale was not opened: {} {body}", reply.status))
    })
}

async fn books(stage: &Stage, sale_id: SaleId) -> Result<Books, Failure> {
    let mut connection = stage.database.unhurried(&stage.settings).await?;
    let audit = audit_unhurried(&mut connection).await.map_err(Failure::other)?;
    let orders = order_ids(&mut connection, sale_id).await.map_err(Failure::other)?;
    Ok(Books { orders, discrepancies: audit.discrepancies })
}

/// One press for each buyer, two neighbouring ones with one key for those who click twice, evenly
/// among the others.
fn presses(buyers: &[UserId], doubles: u32) -> Vec<Press> {
    let (count, doubles) = (buyers.len() as u64, u64::from(doubles));
    let mut presses = Vec::with_capacity(buyers.len() + doubles as usize);
    for (at, &buyer) in (0..count).zip(buyers) {
        let press = Press { buyer, key: Uuid::from_u128(fastrand::u128(..)) };
        presses.push(press);
        if (at + 1) * doubles / count > at * doubles / count {
            presses.push(press);
        }
    }
    presses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_clicks_are_neighbours_and_as_many_as_asked_for() {
        let buyers: Vec<UserId> = (0..10).map(|_| new_id()).collect();
        for doubles in [0, 1, 3, 10] {
            let presses = presses(&buyers, doubles);
            let twins = presses.windows(2).filter(|pair| pair[0] == pair[1]).count();
            assert_eq!((twins, presses.len()), (doubles as usize, 10 + doubles as usize));
        }
        assert!(presses(&[], 0).is_empty());
    }
}
