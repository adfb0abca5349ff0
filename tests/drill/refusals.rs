//! A refusal must have been true: there is a moment between its question and its answer at which
//! everything that had been sent by then could have been bought already.

use std::collections::HashMap;
use std::time::Instant;

use crate::checker::Case;
use crate::journal::{Attempt, History, Told};

/// One order, as far as refusals are concerned.
struct Bought {
    sent: Instant,
    sale: usize,
    units: u64,
    cents: u64,
}

/// Orders by when their requests were first sent.
struct Begun {
    by_user: HashMap<usize, Vec<Bought>>,
    /// By sale: when, and the units sent until then, this one included.
    by_sale: HashMap<usize, Vec<(Instant, u64)>>,
}

impl Begun {
    fn of(case: &Case<'_>) -> Begun {
        let by_key: HashMap<&str, &History> =
            case.histories.iter().map(|history| (history.wish.key.as_str(), history)).collect();
        let mut begun = Begun { by_user: HashMap::new(), by_sale: HashMap::new() };
        for row in &case.rows.orders {
            let history = by_key.get(row.key.as_str());
            let Some((history, sent)) = history.and_then(|h| Some((h, h.first_sent()?))) else {
                continue; // An order that nobody sent: complained of already.
            };
            let (sale, units) = (history.wish.sale, u64::from(row.quantity.unsigned_abs()));
            begun.by_sale.entry(sale).or_default().push((sent, units));
            let bought = Bought { sent, sale, units, cents: row.cents.unsigned_abs() };
            begun.by_user.entry(history.wish.user).or_default().push(bought);
        }
        for orders in begun.by_sale.values_mut() {
            orders.sort_unstable();
            let mut sum = 0;
            for (_, units) in orders {
                sum += *units;
                *units = sum;
            }
        }
        begun
    }

    /// Units of a sale that were sent before.
    fn units(&self, sale: usize, before: Instant) -> u64 {
        let Some(orders) = self.by_sale.get(&sale) else { return 0 };
        let count = orders.partition_point(|(sent, _)| *sent < before);
        count.checked_sub(1).map_or(0, |last| orders[last].1)
    }

    /// What a user had sent before.
    fn of_user(&self, user: usize, before: Instant) -> impl Iterator<Item = &Bought> {
        let orders = self.by_user.get(&user).into_iter().flatten();
        orders.filter(move |bought| bought.sent < before)
    }
}

/// Complains of every refusal that cannot have been true.
pub(crate) fn check(case: &Case<'_>) {
    let begun = Begun::of(case);
    for history in case.histories {
        for attempt in history.attempts.iter().filter(|attempt| !attempt.other_body) {
            let Told::Refused(body) = &attempt.told else { continue };
            let code = body["code"].as_str().unwrap_or_default();
            if !could_be(case, &begun, history, attempt, code) {
                let wish = &history.wish;
                case.board.violation(format!("{wish:?} was refused, untruly: {attempt:?}"));
            }
        }
    }
}

fn could_be(
    case: &Case<'_>,
    begun: &Begun,
    history: &History,
    attempt: &Attempt,
    code: &str,
) -> bool {
    let wish = &history.wish;
    let (user, sale) = (&case.shop.users[wish.user], &case.shop.sales[wish.sale]);
    let (wanted, done) = (u64::from(wish.quantity), attempt.done);
    match code {
        "out_of_stock" => begun.units(wish.sale, done) + wanted > sale.stock,
        "purchase_limit_reached" => {
            let own = begun.of_user(wish.user, done).filter(|bought| bought.sale == wish.sale);
            let owned: u64 = own.map(|bought| bought.units).sum();
            sale.limit.is_some_and(|limit| owned + wanted > limit)
        }
        "insufficient_balance" => {
            let spent: u64 = begun.of_user(wish.user, done).map(|bought| bought.cents).sum();
            spent + wanted * sale.cents > user.cents
        }
        "order_expired" => wish.valid_until.is_some(),
        _ => false,
    }
}
