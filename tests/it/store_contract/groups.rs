//! Groups of orders on both stores, and against the same orders one by one: the same answer, order
//! by order. What the stores do not share is the clock, so answers are compared without it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use flashdeal::adapters::memory::{MemoryStore, World};
use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::domain::books;
use flashdeal::domain::refusal::Refusal;
use flashdeal::logic::admission::{Admission, AdmissionOptions};
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::alone::Alone;
use flashdeal::logic::orders::group::Group;
use flashdeal::logic::orders::grouped::{Grouped, GroupedOptions};
use flashdeal::logic::orders::{Engine, OrderAnswer};
use flashdeal::logic::transact::transact;
use flashdeal::ports::store::{Store, Transaction};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::worlds::SeededWorld;
use super::{memory, postgresql};
use crate::support::service::assert_balanced;

/// Far longer than any group takes.
const LONG: Duration = Duration::from_secs(60);

/// Answers by group.
type Answers = Vec<Vec<OrderAnswer>>;

async fn in_groups<S: Store>(store: &S, world: &SeededWorld) -> Answers {
    world.arrange(store).await;
    let mut answers = Vec::new();
    for (sale_id, orders) in &world.groups {
        let mut group = Group::new(*sale_id, orders.clone());
        let decided = transact(store, Instant::now() + LONG, &mut group).await;
        answers.push(decided.unwrap());
    }
    answers
}

/// Through the engine itself: the orders of a group are placed one after the other, and then all
/// are waited for.
async fn through_lanes<S: Store>(store: &S, world: &SeededWorld) -> Answers {
    world.arrange(store).await;
    let options = GroupedOptions { slots: 2, waiting_max: 1_000, wait_max: LONG, time_limit: LONG };
    let engine = Grouped::new(store.clone(), options, Arc::default());
    let mut answers = Vec::new();
    for (_, orders) in &world.groups {
        let placed: Vec<_> = orders.iter().map(|order| engine.place(order.clone())).collect();
        let decided = join_all(placed).await;
        answers.push(decided.into_iter().map(Result::unwrap).collect());
    }
    answers
}

/// An engine that decides each order alone.
type Alones<S> = fn(S, Arc<Admission>, Duration) -> Alone<S>;

async fn one_by_one<S: Store>(store: &S, world: &SeededWorld, engine: Alones<S>) -> Answers {
    world.arrange(store).await;
    let admission = Admission::new(
        AdmissionOptions { slots: 1, waiting_max: 1, wait_max: LONG },
        Arc::default(),
    );
    let engine = engine(store.clone(), Arc::new(admission), LONG);
    let mut answers = Vec::new();
    for (_, orders) in &world.groups {
        let mut decided = Vec::new();
        for order in orders {
            decided.push(engine.place(order.clone()).await.unwrap());
        }
        answers.push(decided);
    }
    answers
}

/// The answer without the moment at which it was given.
fn timeless(mut answer: OrderAnswer) -> OrderAnswer {
    match &mut answer {
        Answer::Made(order) | Answer::Replayed(order) => order.created_at = DateTime::UNIX_EPOCH,
        Answer::Refused(Refusal::OrderExpired { now, .. } | Refusal::SaleNotOpen { now, .. }) => {
            *now = DateTime::UNIX_EPOCH
        }
        Answer::Refused(_) | Answer::KeyReused { .. } => {}
    }
    answer
}

fn assert_same(seed: u64, what: &str, left: &Answers, right: &Answers) {
    for (group, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!(left.len(), right.len(), "seed {seed}, group {group}, {what}");
        for (at, (left, right)) in left.iter().zip(right).enumerate() {
            let (left, right) = (timeless(left.clone()), timeless(right.clone()));
            assert_eq!(left, right, "seed {seed}, group {group}, order {at}, {what}");
        }
    }
    assert_eq!(left.len(), right.len(), "seed {seed}, {what}");
}

/// How often each kind of answer was given: a comparison that never met one proves nothing of it.
#[derive(Default)]
struct Met(BTreeMap<&'static str, usize>);

impl Met {
    fn count(&mut self, answers: &Answers) {
        for answer in answers.iter().flatten() {
            let kind = match answer {
                Answer::Made(_) => "made",
                Answer::Replayed(_) => "replayed",
                Answer::KeyReused { .. } => "key_reused",
                Answer::Refused(refusal) => refusal.code(),
            };
            *self.0.entry(kind).or_default() += 1;
        }
    }

    fn assert_each_at_least(&self, times: usize) {
        assert_eq!(self.0.len(), 10, "{:?}", self.0);
        assert!(self.0.values().all(|met| *met >= times), "{:?}", self.0);
    }
}

fn assert_same_world(seed: u64, left: &World, right: &World) {
    let (own, other) = (&left.books, &right.books);
    assert_eq!(own.sales, other.sales, "seed {seed}");
    assert_eq!(own.wallets, other.wallets, "seed {seed}");
    assert_eq!(own.orders, other.orders, "seed {seed}");
    assert_eq!(own.entries, other.entries, "seed {seed}");
    assert_eq!(left.keys, right.keys, "seed {seed}");
    let discrepancies = books::check(own);
    assert!(discrepancies.is_empty(), "seed {seed}: {discrepancies:#?}");
}

#[tokio::test]
async fn in_memory_a_group_decides_as_its_orders_one_by_one() {
    let mut met = Met::default();
    for seed in 0..1_000 {
        let world = SeededWorld::of(seed);
        let (grouped, alone) = (memory().await, memory().await);
        let answers = in_groups(&grouped, &world).await;
        let expected = one_by_one(&alone, &world, Alone::pessimistic).await;
        assert_same(seed, "group against one by one", &answers, &expected);
        assert_same_world(seed, &*grouped.world().await, &*alone.world().await);
        let (lanes, optimistic) = (memory().await, memory().await);
        let through = through_lanes(&lanes, &world).await;
        assert_same(seed, "lanes against one by one", &through, &expected);
        assert_same_world(seed, &*lanes.world().await, &*alone.world().await);
        let single = one_by_one(&optimistic, &world, Alone::optimistic).await;
        assert_same(seed, "optimistic against pessimistic", &single, &expected);
        assert_same_world(seed, &*optimistic.world().await, &*alone.world().await);
        met.count(&answers);
    }
    met.assert_each_at_least(100);
}

/// Six rows of seventeen worlds each, all in the same four databases: a commit waits for the disk,
/// and the rows wait together.
#[tokio::test]
async fn on_postgresql_a_group_decides_as_its_orders_one_by_one_and_as_in_memory() {
    let (mut stores, mut databases) = (Vec::new(), Vec::new());
    for _engine in 0..4 {
        let (store, database) = postgresql().await;
        stores.push(store);
        databases.push(database);
    }
    let mut rows = JoinSet::new();
    for row in 0..6 {
        let seeds = 1_000 + row * 17..1_017 + row * 17;
        rows.spawn(compare(seeds, stores.clone()));
    }
    let mut met = Met::default();
    while let Some(answers) = rows.join_next().await {
        answers.unwrap().iter().for_each(|answers| met.count(answers));
    }
    met.assert_each_at_least(3);
    for database in &databases {
        assert_balanced(database).await;
    }
}

/// The stores of groups, lanes, `pessimistic` and `optimistic`.
async fn compare(seeds: Range<u64>, stores: Vec<PgStore>) -> Vec<Answers> {
    let mut all = Vec::new();
    for seed in seeds {
        let world = SeededWorld::of(seed);
        let model = memory().await;
        let expected = in_groups(&model, &world).await;
        let (grouped, lanes, alone, optimistic) = tokio::join!(
            in_groups(&stores[0], &world),
            through_lanes(&stores[1], &world),
            one_by_one(&stores[2], &world, Alone::pessimistic),
            one_by_one(&stores[3], &world, Alone::optimistic),
        );
        let all_four = [("groups", &grouped), ("lanes", &lanes), ("one by one", &alone)];
        for (what, answers) in all_four.into_iter().chain([("optimistic", &optimistic)]) {
            assert_same(seed, &format!("PostgreSQL against memory, {what}"), answers, &expected);
        }
        for store in &stores {
            assert_same_rows(seed, store, &model, &world).await;
        }
        all.push(grouped);
    }
    all
}

/// Sales and wallets are left the same, but for the clock.
async fn assert_same_rows<S: Store>(
    seed: u64,
    store: &S,
    model: &MemoryStore,
    world: &SeededWorld,
) {
    let (mut own, mut other) = (store.begin().await.unwrap(), model.begin().await.unwrap());
    for sale in &world.sales {
        let mut left = own.sale(sale.id).await.unwrap().unwrap();
        let right = other.sale(sale.id).await.unwrap().unwrap();
        assert_eq!(left.sold_out_at.is_some(), right.sold_out_at.is_some(), "seed {seed}");
        left.sold_out_at = right.sold_out_at;
        assert_eq!(left, right, "seed {seed}");
    }
    for (user, _) in &world.users {
        let left = own.lock_wallet(*user).await.unwrap().map(|(wallet, _)| wallet);
        let right = other.lock_wallet(*user).await.unwrap().map(|(wallet, _)| wallet);
        assert_eq!(left, right, "seed {seed}");
    }
    own.rollback().await;
}
