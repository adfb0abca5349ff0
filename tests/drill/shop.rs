//! What is for sale in one round, and to whom: enough of one thing to buy all the time, little of
//! another to run out of it, one sale with a limit, and some buyers with hardly any money.

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::json;

use crate::journal::Wish;
use crate::stage::Stage;
use crate::support::crowd::seed_buyers;

/// Sales in a round.
pub(crate) const SALES: usize = 4;
/// Buyers with money for everything.
pub(crate) const RICH: usize = 460;
/// Buyers with money for little.
const POOR: usize = 40;

/// A buyer.
pub(crate) struct User {
    /// The id.
    pub(crate) id: String,
    /// What the wallet held at the beginning.
    pub(crate) cents: u64,
}

/// A sale.
pub(crate) struct SaleCard {
    /// The id.
    pub(crate) id: String,
    /// Price of one unit.
    pub(crate) cents: u64,
    /// Units at the beginning.
    pub(crate) stock: u64,
    /// The most units one user may own.
    pub(crate) limit: Option<u64>,
}

/// One round's users and sales.
pub(crate) struct Shop {
    /// Which round.
    pub(crate) round: usize,
    /// Buyers, the rich ones first.
    pub(crate) users: Vec<User>,
    /// Plenty, dear, scarce, limited.
    pub(crate) sales: Vec<SaleCard>,
}

/// `1234` as `12.34`.
pub(crate) fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

impl Shop {
    /// Opens the sales and makes the buyers.
    pub(crate) async fn open(stage: &Stage, round: usize) -> Shop {
        let mut users = Vec::new();
        for (count, cents) in [(RICH, 100_000_000), (POOR, 2_000)] {
            let count = i64::try_from(count).expect("few");
            let ids = seed_buyers(&stage.database, count, &money(cents)).await;
            users.extend(ids.into_iter().map(|id| User { id, cents }));
        }
        let plans: [(u64, u64, Option<u64>); SALES] = [
            (1, 100_000_000, None),
            (249, 100_000_000, None),
            (5, 1_000, None),
            (1, 100_000, Some(7)),
        ];
        let mut sales = Vec::new();
        for (cents, stock, limit) in plans {
            let mut members = json!({ "unit_price": money(cents), "stock": stock });
            if let Some(limit) = limit {
                members["per_user_limit"] = json!(limit);
            }
            let id = stage.api(0).sale_with(members).await;
            sales.push(SaleCard { id, cents, stock, limit });
        }
        Shop { round, users, sales }
    }

    /// The next wish of a buyer.
    pub(crate) fn wish(&self, buyer: usize, turn: usize, chance: &mut Rng) -> Wish {
        let sale = match chance.u32(..100) {
            0..75 => 0,
            75..90 => 1,
            90..96 => 2,
            _ => 3,
        };
        let valid_until = (chance.u32(..10) == 0).then(|| now() + TimeDelta::seconds(60));
        Wish {
            key: format!("r{}-b{buyer}-{turn}", self.round),
            user: chance.usize(..self.users.len()),
            sale,
            quantity: chance.u32(1..=3),
            valid_until,
        }
    }
}

/// The clock that this machine's PostgreSQL reads too.
pub(crate) fn now() -> DateTime<Utc> {
    let micros = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_micros();
    DateTime::from_timestamp_micros(i64::try_from(micros).expect("today")).expect("a moment")
}
