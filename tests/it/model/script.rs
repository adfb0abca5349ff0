//! What may happen: small worlds and random steps in them, and how they shrink.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Users of a world; one more number is nobody.
pub(super) const USERS: usize = 5;
/// Sales of a world; one more number is no sale.
pub(super) const SALES: usize = 3;
/// The largest deposit, in cents: into any wallet with money it is too much.
const HUGE: u64 = 9_999_999_999_999;

/// A world and what happens in it.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// What each user begins with, in cents.
    pub(super) balances: Vec<u64>,
    /// The sales.
    pub(super) sales: Vec<SaleSpec>,
    /// The steps, in order.
    pub(super) steps: Vec<Step>,
}

/// A sale as it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct SaleSpec {
    /// Price of one unit, in cents.
    pub(super) price: u64,
    /// Units.
    pub(super) stock: u32,
    /// Units for each user.
    pub(super) limit: Option<u32>,
    /// When.
    pub(super) window: Window,
}

/// Windows are years away from the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    Open,
    Ended,
    Upcoming,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// An order under this shared key, or a fresh one.
    Place(Wish, Option<u8>),
    /// The order step that was this many order steps ago, word for word.
    Again(usize),
    /// The same key of the same user with another meaning.
    Twist(usize, Change),
    /// A deposit under this shared key, or a fresh one.
    Deposit(TopUp, Option<u8>),
    /// An earlier deposit step again.
    DepositAgain(usize),
    /// Its key with another amount.
    DepositTwist(usize),
}

/// The meaning of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) user: usize,
    pub(super) sale: usize,
    pub(super) quantity: u32,
    pub(super) reference: Option<u8>,
    pub(super) until: Until,
}

/// `valid_until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Absent,
    Past,
    Future,
}

/// The meaning of a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopUp {
    pub(super) user: usize,
    pub(super) cents: u64,
    pub(super) reference: Option<u8>,
}

/// How a repeated order differs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Quantity,
    Reference,
    Sale,
    Until,
}

impl Wish {
    /// The wish with another meaning.
    pub(super) fn changed(mut self, change: Change) -> Wish {
        match change {
            Change::Quantity => self.quantity = self.quantity % 100 + 1,
            Change::Reference => self.reference = Some(self.reference.map_or(0, |n| n + 1)),
            Change::Sale => self.sale = (self.sale + 1) % SALES,
            Change::Until => {
                self.until = match self.until {
                    Until::Future => Until::Absent,
                    _ => Until::Future,
                }
            }
        }
        self
    }
}

/// Scripts with this many steps. A step that is not needed for a failure shrinks away.
pub(super) fn scripts(steps: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Script> {
    let balances = vec(0..=10_000_u64, USERS);
    let steps = vec(option::weighted(0.999, step()), steps);
    (balances, vec(sale(), SALES), steps).prop_map(|(balances, sales, steps)| Script {
        balances,
        sales,
        steps: steps.into_iter().flatten().collect(),
    })
}

fn sale() -> impl Strategy<Value = SaleSpec> {
    let window = prop_oneof![
        7 => Just(Window::Open),
        1 => Just(Window::Ended),
        1 => Just(Window::Upcoming),
    ];
    let limit = option::of(1..=8_u32);
    (0..=2_000_u64, 0..=30_u32, limit, window).prop_map(|(price, stock, limit, window)| SaleSpec {
        price,
        stock,
        limit,
        window,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        Just(Change::Quantity),
        Just(Change::Reference),
        Just(Change::Sale),
        Just(Change::Until),
    ];
    prop_oneof![
        60 => (wish(), shared_key()).prop_map(|(wish, key)| Step::Place(wish, key)),
        10 => (0..30_usize).prop_map(Step::Again),
        12 => (0..30_usize, change).prop_map(|(at, change)| Step::Twist(at, change)),
        14 => (top_up(), shared_key()).prop_map(|(top_up, key)| Step::Deposit(top_up, key)),
        3 => (0..30_usize).prop_map(Step::DepositAgain),
        2 => (0..30_usize).prop_map(Step::DepositTwist),
    ]
}

fn shared_key() -> impl Strategy<Value = Option<u8>> {
    option::weighted(0.1, 0..4_u8)
}

fn wish() -> impl Strategy<Value = Wish> {
    let user = prop_oneof![8 => 0..USERS, 1 => Just(USERS)];
    let sale = prop_oneof![14 => 0..SALES, 1 => Just(SALES)];
    let quantity = prop_oneof![8 => 1..=3_u32, 1 => 4..=100_u32];
    let until = prop_oneof![
        10 => Just(Until::Absent),
        1 => Just(Until::Past),
        1 => Just(Until::Future),
    ];
    let reference = option::weighted(0.2, 0..3_u8);
    (user, sale, quantity, reference, until).prop_map(|(user, sale, quantity, reference, until)| {
        Wish { user, sale, quantity, reference, until }
    })
}

fn top_up() -> impl Strategy<Value = TopUp> {
    let user = prop_oneof![12 => 0..USERS, 1 => Just(USERS)];
    let cents = prop_oneof![3 => 1..=2_000_u64, 1 => Just(HUGE)];
    let reference = option::weighted(0.2, 0..3_u8);
    (user, cents, reference).prop_map(|(user, cents, reference)| TopUp { user, cents, reference })
}
