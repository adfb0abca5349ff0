//! Groups without HTTP: the engine's own group, transaction and statements, driven directly. What
//! PostgreSQL gives this way of deciding when nothing stands in front of it.

use std::time::{Duration, Instant};

use sqlx::postgres::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::app::demo;
use flashdeal::domain::id::SaleId;
use flashdeal::domain::key::IdempotencyKey;
use flashdeal::domain::order::PlaceOrder;
use flashdeal::domain::quantity::Quantity;
use flashdeal::logic::ids::new_id;
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::group::Group;
use flashdeal::logic::transact::transact;

use crate::Outcome;
use crate::load::micros;
use crate::samples::Sample;
use crate::world::World;

/// Orders in a group.
const GROUP: usize = 256;
/// For one group with its retries.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Drives so many sessions, each with one group at a time. Every order of a group is answered when
/// its group is.
pub(crate) async fn drive(world: &World, sessions: u16, lasting: Duration) -> Outcome<Vec<Sample>> {
    let pool = world.pool(sessions.into())?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..sessions {
        let (sale, buyers) = (world.sales[0], world.buyers);
        tasks.spawn(decide(pool.clone(), sale, buyers, began, lasting));
    }
    let mut samples = Vec::new();
    while let Some(done) = tasks.join_next().await {
        samples.extend(done??);
    }
    pool.close().await;
    Ok(samples)
}

async fn decide(
    pool: PgPool,
    sale: SaleId,
    buyers: u32,
    began: Instant,
    lasting: Duration,
) -> Outcome<Vec<Sample>> {
    let store = PgStore::admitted(pool);
    let mut samples = Vec::new();
    while began.elapsed() < lasting {
        let orders = (0..GROUP).map(|_| order(sale, buyers)).collect::<Outcome<_>>()?;
        let sent = Instant::now();
        let mut group = Group::new(sale, orders);
        let deadline = tokio::time::Instant::now() + TIME_LIMIT;
        let answers = transact(&store, deadline, &mut group).await?;
        let answered = Instant::now();
        let made = answers.iter().filter(|answer| matches!(answer, Answer::Made(_))).count();
        if made != GROUP {
            return Err(format!("a group of {GROUP} made {made} orders").into());
        }
        let latency_us = u32::try_from(micros(answered - sent)).unwrap_or(u32::MAX);
        let sample = Sample { answered_us: micros(answered - began), latency_us };
        samples.extend(std::iter::repeat_n(sample, GROUP));
    }
    Ok(samples)
}

fn order(sale_id: SaleId, buyers: u32) -> Outcome<PlaceOrder> {
    let key = Uuid::from_u128(fastrand::u128(..)).to_string();
    Ok(PlaceOrder {
        order_id: new_id(),
        entry_id: new_id(),
        user_id: demo::buyer(fastrand::u32(1..=buyers).into()),
        sale_id,
        quantity: Quantity::ONE,
        reference: None,
        valid_until: None,
        key: IdempotencyKey::parse(key.as_bytes())?,
    })
}
