//! The history checker: what buyers were told, held against what PostgreSQL holds.
//!
//! * every acknowledged order exists, once, with the body that was sent;
//! * a key whose attempts were all turned away has no order; no order is without its key;
//! * at most one order for each key, each answer with it the same byte by byte, and once it is
//!   acknowledged nobody hears that nothing was taken;
//! * no user above a limit; stock, money and sequences add up;
//! * orders of a sale follow one another as their requests did in real time, where those did not
//!   overlap;
//! * a refusal was true at some moment between question and answer.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::board::Board;
use crate::journal::{History, Told};
use crate::refusals;
use crate::rows::{OrderRow, Rows};
use crate::shop::Shop;

/// Everything at hand.
pub(crate) struct Case<'a> {
    /// What was for sale.
    pub(crate) shop: &'a Shop,
    /// What was said.
    pub(crate) histories: &'a [History],
    /// What is stored.
    pub(crate) rows: &'a Rows,
    /// Where to complain.
    pub(crate) board: &'a Board,
}

impl Case<'_> {
    /// Checks all of it. The number of orders.
    pub(crate) fn check(&self) -> usize {
        let by_key = self.orders_by_key();
        for history in self.histories {
            self.check_key(history, by_key.get(history.wish.key.as_str()).copied());
            self.check_answers(history);
        }
        self.check_sums();
        self.check_order_in_time(&by_key);
        refusals::check(self);
        by_key.len()
    }

    fn complain(&self, what: String) {
        self.board.violation(what);
    }

    fn orders_by_key(&self) -> HashMap<&str, &OrderRow> {
        let known: HashSet<&str> =
            self.histories.iter().map(|history| history.wish.key.as_str()).collect();
        let mut by_key = HashMap::new();
        for row in &self.rows.orders {
            if !known.contains(row.key.as_str()) {
                self.complain(format!("an order that nobody sent: {row:?}"));
            }
            if let Some(other) = by_key.insert(row.key.as_str(), row) {
                self.complain(format!("two orders under one key: {other:?} and {row:?}"));
            }
        }
        by_key
    }

    /// What became of one key.
    fn check_key(&self, history: &History, row: Option<&OrderRow>) {
        let key = &history.wish.key;
        match (history.order(), row) {
            (Some((_, bytes)), Some(row)) => {
                let told: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
                if told != row.body() {
                    self.complain(format!("{key} was told {told}, stored is {row:?}"));
                }
                let wish = &history.wish;
                let (user, sale) = (&self.shop.users[wish.user].id, &self.shop.sales[wish.sale].id);
                let wanted = (user, sale, i64::from(wish.quantity));
                if (&row.user_id, &row.sale_id, i64::from(row.quantity)) != wanted {
                    self.complain(format!("{key} wanted {wanted:?} and got {row:?}"));
                }
            }
            (Some((_, bytes)), None) => {
                let told = String::from_utf8_lossy(bytes);
                self.complain(format!("acknowledged and not there: {key}, {told}"));
            }
            (None, Some(row)) if !history.undecided() => {
                let attempts = &history.attempts;
                self.complain(format!("turned away and there: {row:?}, {attempts:?}"));
            }
            _ => {}
        }
        let expired = history.wish.valid_until.zip(row).is_some_and(|(limit, row)| {
            row.created_at.parse::<DateTime<Utc>>().is_ok_and(|at| at > limit)
        });
        if expired {
            self.complain(format!("{key} was executed behind its valid_until: {row:?}"));
        }
    }

    /// What the attempts under one key were told, one against the other.
    fn check_answers(&self, history: &History) {
        let Some((acknowledged, bytes)) = history.order() else { return };
        let key = &history.wish.key;
        let mut made = 0;
        for attempt in &history.attempts {
            match &attempt.told {
                Told::Order { .. } if attempt.other_body => {
                    self.complain(format!("{key} with another body made an order: {attempt:?}"));
                }
                Told::Order { bytes: again, replayed } => {
                    made += usize::from(!replayed);
                    if again != bytes {
                        self.complain(format!("{key} has two answers: {bytes:?} and {again:?}"));
                    }
                    if attempt.sent > acknowledged && !replayed {
                        self.complain(format!("{key} was made again: {attempt:?}"));
                    }
                }
                Told::NotNow { nothing_taken: true, .. } if attempt.sent > acknowledged => {
                    self.complain(format!("{key} was told that nothing was taken: {attempt:?}"));
                }
                Told::Reused(_) if attempt.other_body => {}
                Told::Refused(_) if attempt.sent > acknowledged => {
                    self.complain(format!("{key} was refused after its order: {attempt:?}"));
                }
                Told::Reused(_) => {
                    self.complain(format!("{key} was called reused: {attempt:?}"));
                }
                _ => {}
            }
        }
        let unknown = history.attempts.iter().any(|attempt| matches!(attempt.told, Told::Unknown));
        if made == 0 && !unknown {
            let attempts = &history.attempts;
            self.complain(format!(
                "{key} was made by an attempt that was turned away: {attempts:?}"
            ));
        }
        if made > 1 {
            self.complain(format!("{key} was made {made} times: {:?}", history.attempts));
        }
    }

    /// Stock, limits, sequences, money.
    fn check_sums(&self) {
        let mut spent: HashMap<&str, i64> = HashMap::new();
        for sale in &self.shop.sales {
            let orders: Vec<&OrderRow> =
                self.rows.orders.iter().filter(|row| row.sale_id == sale.id).collect();
            let units: i64 = orders.iter().map(|row| i64::from(row.quantity)).sum();
            let (stock, count) = self.rows.sales[&sale.id];
            let initial = i64::try_from(sale.stock).expect("a stock");
            if stock < 0 || stock + units != initial {
                self.complain(format!("sale {}: {stock} left, {units} sold of {initial}", sale.id));
            }
            let gapless = orders.iter().zip(1..).all(|(row, at)| row.sequence == at);
            if !gapless || i64::try_from(orders.len()) != Ok(count) {
                self.complain(format!("sale {}: {count} orders, not numbered so", sale.id));
            }
            let mut owned: HashMap<&str, u64> = HashMap::new();
            for row in orders {
                *spent.entry(&row.user_id).or_default() += row.cents;
                *owned.entry(&row.user_id).or_default() += u64::from(row.quantity.unsigned_abs());
            }
            let above = owned.iter().find(|(_, units)| sale.limit.is_some_and(|l| **units > l));
            if let Some((user, units)) = above {
                self.complain(format!("user {user} owns {units} of sale {}", sale.id));
            }
        }
        for user in &self.shop.users {
            let initial = i64::try_from(user.cents).expect("an amount");
            let spent = spent.get(user.id.as_str()).copied().unwrap_or_default();
            let left = self.rows.wallets[&user.id];
            if left < 0 || left + spent != initial {
                self.complain(format!("user {}: {left} left, {spent} of {initial} spent", user.id));
            }
        }
        let orders = i64::try_from(self.rows.orders.len()).expect("a number");
        if (self.rows.keys, self.rows.orders_of_users) != (orders, orders) {
            let (keys, all) = (self.rows.keys, self.rows.orders_of_users);
            self.complain(format!("{orders} orders of the sales, {all} of the users, {keys} keys"));
        }
    }

    /// A request that was answered before another was sent has the smaller sequence.
    fn check_order_in_time(&self, by_key: &HashMap<&str, &OrderRow>) {
        let mut by_sale: HashMap<&str, Vec<(i64, Instant, Instant)>> = HashMap::new();
        for history in self.histories {
            let row = by_key.get(history.wish.key.as_str());
            if let (Some(row), Some((done, _)), Some(sent)) =
                (row, history.order(), history.first_sent())
            {
                by_sale.entry(&row.sale_id).or_default().push((row.sequence, sent, done));
            }
        }
        for (sale, mut orders) in by_sale {
            orders.sort_unstable_by_key(|(sequence, ..)| *sequence);
            let mut latest: Option<(i64, Instant)> = None;
            for (sequence, sent, done) in orders {
                if let Some((earlier, _)) = latest.filter(|(_, latest)| done < *latest) {
                    let what = "was answered before the request for";
                    self.complain(format!("sale {sale}: {sequence} {what} {earlier} was sent"));
                }
                if latest.is_none_or(|(_, latest)| sent > latest) {
                    latest = Some((sequence, sent));
                }
            }
        }
    }
}
