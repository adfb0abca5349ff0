//! Random sequences of requests against a small model of the contract: each answer is predicted,
//! and in the end every balance and every stock is what the model says.
//!
//! A thousand sequences go through the HTTP door, most of them short, because each order waits for
//! the disk; the long ones go to the engine on the store in memory. A failure is shrunk and printed
//! with the seed that leads to it: `TEST_SEED=… cargo test --test it model::`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

mod doors;
mod memory;
mod script;
mod sql;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, OnceLock};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Handle;

use crate::support::Service;
use doors::{Door, HttpDoor, Spelling};
use memory::MemoryDoor;
use script::{Script, Step, TopUp, Wish, scripts};
use world::Model;

/// What can be answered to an order or a deposit that is well formed.
const ANSWERS: [&str; 11] = [
    "made",
    "replayed",
    "idempotency_key_reused",
    "order_expired",
    "sale_not_found",
    "sale_not_open",
    "purchase_limit_reached",
    "out_of_stock",
    "user_not_found",
    "insufficient_balance",
    "balance_limit_exceeded",
];

/// How often each answer was predicted and given.
#[derive(Default)]
struct Met {
    answers: Mutex<BTreeMap<&'static str, usize>>,
    failed: OnceLock<u64>,
}

impl Met {
    fn count(&self, name: &'static str) {
        *self.answers.lock().unwrap().entry(name).or_default() += 1;
    }

    /// The first lane that fails is shrunk, the others have nothing to add.
    fn end(&self, lane: u64) {
        self.failed.get_or_init(|| lane);
    }

    fn is_over_for(&self, lane: u64) -> bool {
        self.failed.get().is_some_and(|failed| *failed != lane)
    }

    /// A model that never meets a refusal proves nothing of it.
    fn assert_each_at_least(&self, times: usize) {
        let met = self.answers.lock().unwrap();
        println!("answers met: {met:?}");
        for name in ANSWERS {
            assert!(met.get(name).is_some_and(|met| *met >= times), "{name}: {met:?}");
        }
        assert_eq!(met.len(), ANSWERS.len(), "{met:?}");
    }
}

/// The seed of this run.
fn seed() -> u32 {
    let given = std::env::var("TEST_SEED").ok();
    given.map_or_else(|| fastrand::u32(..), |text| text.parse().expect("a number"))
}

/// Runs this many cases of this many steps; panics with the seed and the smallest failing case.
/// Players and plans of one seed differ by their lane.
fn explore<D: Door>(
    handle: &Handle,
    (seed, lane): (u32, u64),
    (cases, steps): (u32, RangeInclusive<usize>),
    door: &RefCell<D>,
    met: &Met,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        max_shrink_time: 20_000,
        ..Config::default()
    };
    let seeds = [u64::from(seed), lane, 0, 0];
    let bytes: Vec<u8> = seeds.into_iter().flat_map(u64::to_le_bytes).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&scripts(steps), |script| {
        if met.is_over_for(lane) {
            return Ok(());
        }
        let played = handle.block_on(play(&mut *door.borrow_mut(), &script, met));
        played.inspect_err(|_| met.end(lane))
    });
    if let Err(error) = outcome {
        panic!("TEST_SEED={seed}: {error}");
    }
}

/// Plays one script and compares every answer, then what is left.
async fn play<D: Door>(door: &mut D, script: &Script, met: &Met) -> Result<(), TestCaseError> {
    door.open(script).await;
    let mut player =
        Player { door, model: Model::new(script), orders: Vec::new(), deposits: Vec::new(), met };
    for (at, step) in script.steps.iter().enumerate() {
        let difference = player.step(at, step).await;
        if let Some(difference) = difference {
            let text = format!("step {at}, {step:?}: {difference}");
            return Err(TestCaseError::fail(text));
        }
    }
    let left = player.door.left().await;
    let expected = (player.model.balances, player.model.stock);
    if left != expected {
        let text = format!("expected {expected:?} to be left, found {left:?}");
        return Err(TestCaseError::fail(text));
    }
    Ok(())
}

/// One who goes through a script and remembers what was asked.
struct Player<'a, D> {
    door: &'a mut D,
    model: Model,
    orders: Vec<(Wish, String)>,
    deposits: Vec<(TopUp, String)>,
    met: &'a Met,
}

fn key_at(at: usize, shared: Option<u8>) -> String {
    shared.map_or_else(|| format!("key-{at}"), |n| format!("shared-{n}"))
}

/// One of those asked before, counted from the last: what came earlier still can shrink away.
fn earlier<T: Clone>(asked: &[T], back: usize) -> Option<T> {
    let back = back.checked_rem(asked.len())?;
    asked.iter().rev().nth(back).cloned()
}

impl<D: Door> Player<'_, D> {
    /// Takes a step; what is different from the model's prediction, if anything is.
    async fn step(&mut self, at: usize, step: &Step) -> Option<String> {
        match step {
            Step::Place(wish, shared) => {
                let key = key_at(at, *shared);
                self.orders.push((*wish, key.clone()));
                self.place(*wish, &key, Spelling::Terse).await
            }
            Step::Again(back) => {
                let (wish, key) = earlier(&self.orders, *back)?;
                self.place(wish, &key, Spelling::Full).await
            }
            Step::Twist(back, change) => {
                let (wish, key) = earlier(&self.orders, *back)?;
                self.place(wish.changed(*change), &key, Spelling::Terse).await
            }
            Step::Deposit(top_up, shared) => {
                let key = key_at(at, *shared);
                self.deposits.push((*top_up, key.clone()));
                self.deposit(*top_up, &key).await
            }
            Step::DepositAgain(back) => {
                let (top_up, key) = earlier(&self.deposits, *back)?;
                self.deposit(top_up, &key).await
            }
            Step::DepositTwist(back) => {
                let (mut top_up, key) = earlier(&self.deposits, *back)?;
                top_up.cents = top_up.cents % 2_000 + 1;
                self.deposit(top_up, &key).await
            }
        }
    }

    async fn place(&mut self, wish: Wish, key: &str, spelling: Spelling) -> Option<String> {
        let expected = self.model.order(&wish, key);
        let seen = self.door.place(&wish, key, spelling).await;
        self.met.count(expected.name());
        if expected.name() == "made" && seen.code == "made" {
            self.model.ordered(&wish, key, &seen);
        }
        expected.differs_from(&seen)
    }

    async fn deposit(&mut self, top_up: TopUp, key: &str) -> Option<String> {
        let expected = self.model.deposit(&top_up, key);
        let seen = self.door.deposit(&top_up, key).await;
        self.met.count(expected.name());
        if expected.name() == "made" && seen.code == "made" {
            self.model.deposited(&top_up, key, &seen);
        }
        expected.differs_from(&seen)
    }
}

/// Sixteen players at once, each with worlds of its own, in one database: 1,008 sequences, one in
/// eight of them long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_random_sequences_are_answered_as_the_model_predicts() {
    let service = Service::start_with(|raw| raw.db_connections = Some("20".to_owned())).await;
    let (handle, seed, met) = (Handle::current(), seed(), Met::default());
    let mut doors = Vec::new();
    for _ in 0..16 {
        let door = HttpDoor::new(service.api.address(), &service.database).await;
        doors.push(RefCell::new(door));
    }
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for (door, player) in doors.into_iter().zip(1..) {
                let (handle, met) = (&handle, &met);
                scope.spawn(move || {
                    explore(handle, (seed, player), (55, 30..=60), &door, met);
                    explore(handle, (seed, 100 + player), (8, 61..=200), &door, met);
                });
            }
        });
    });
    met.assert_each_at_least(1_000);
    service.finish().await;
}

#[test]
fn a_thousand_long_sequences_in_memory_are_answered_as_the_model_predicts() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (plan, met) = ((1_000, 100..=200), Met::default());
    let door = RefCell::new(MemoryDoor::default());
    explore(runtime.handle(), (seed(), 0), plan, &door, &met);
    met.assert_each_at_least(1_000);
}
