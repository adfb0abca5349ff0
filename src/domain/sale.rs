//! A sale: one item at one price, a stock, a window in time and perhaps a limit for each user.

use super::Instant;
use super::id::SaleId;
use super::money::Money;
use super::order::Order;
use super::text::ShortText;

/// A sale as locked or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// The sale's id.
    pub id: SaleId,
    /// What is sold.
    pub name: ShortText,
    /// The shop's own article number.
    pub sku: Option<ShortText>,
    /// Price of one unit.
    pub unit_price: Money,
    /// Units left.
    pub stock: u32,
    /// Units at the beginning.
    pub stock_initial: u32,
    /// The most units one user may own, over all orders.
    pub per_user_limit: Option<u32>,
    /// First moment at which an order may be decided.
    pub starts_at: Instant,
    /// First moment at which an order may no longer be decided.
    pub ends_at: Option<Instant>,
    /// When the last unit went.
    pub sold_out_at: Option<Instant>,
    /// When the sale was made.
    pub created_at: Instant,
    /// Orders decided so far; the next one gets this number plus one. It is also the version that
    /// an optimistic writer compares.
    pub order_count: i64,
}

/// What a sale is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaleStatus {
    /// Not yet open.
    Upcoming,
    /// Open, with stock.
    Live,
    /// Open, without stock.
    SoldOut,
    /// Closed.
    Ended,
}

impl SaleStatus {
    /// The published name.
    pub fn name(self) -> &'static str {
        match self {
            SaleStatus::Upcoming => "upcoming",
            SaleStatus::Live => "live",
            SaleStatus::SoldOut => "sold_out",
            SaleStatus::Ended => "ended",
        }
    }

    /// The status with this published name.
    pub fn from_name(name: &str) -> Option<SaleStatus> {
        [SaleStatus::Upcoming, SaleStatus::Live, SaleStatus::SoldOut, SaleStatus::Ended]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

impl Sale {
    /// Open in `[starts_at, ends_at)`.
    pub fn is_open(&self, now: Instant) -> bool {
        self.starts_at <= now && self.ends_at.is_none_or(|end| now < end)
    }

    /// The window first, then the stock: an ended sale is `ended` whether or not it sold out.
    pub fn status(&self, now: Instant) -> SaleStatus {
        if now < self.starts_at {
            SaleStatus::Upcoming
        } else if !self.is_open(now) {
            SaleStatus::Ended
        } else if self.stock == 0 {
            SaleStatus::SoldOut
        } else {
            SaleStatus::Live
        }
    }

    /// The sale as it was when it was made: what the creating request was answered.
    pub fn as_created(&self) -> Sale {
        let sold_out_at = (self.stock_initial == 0).then_some(self.created_at);
        Sale { stock: self.stock_initial, sold_out_at, order_count: 0, ..self.clone() }
    }

    /// Moves the sale behind `order`, which must be its next one.
    pub fn apply(&mut self, order: &Order) {
        assert_eq!(order.sale_id, self.id, "an order belongs to its own sale");
        assert_eq!(order.sequence, self.order_count + 1, "orders of a sale follow one another");
        let units = order.quantity.units();
        assert!(units <= self.stock, "never one too many");
        self.stock -= units;
        self.order_count = order.sequence;
        if self.stock == 0 {
            self.sold_out_at = Some(order.created_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    fn noon() -> Instant {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn sale(stock: u32, stock_initial: u32) -> Sale {
        Sale {
            id: SaleId::new(Uuid::from_u128(1)),
            name: ShortText::parse("lamp").unwrap(),
            sku: None,
            unit_price: Money::from_cents(10),
            stock,
            stock_initial,
            per_user_limit: None,
            starts_at: noon(),
            ends_at: Some(noon() + TimeDelta::hours(1)),
            sold_out_at: Some(noon() + TimeDelta::minutes(1)),
            created_at: noon() - TimeDelta::hours(1),
            order_count: 7,
        }
    }

    #[test]
    fn the_status_is_the_window_first_and_then_the_stock() {
        let moment = TimeDelta::microseconds(1);
        let cases = [
            (1, noon() - moment, "upcoming"),
            (1, noon(), "live"),
            (0, noon(), "sold_out"),
            (1, noon() + TimeDelta::hours(1) - moment, "live"),
            (0, noon() + TimeDelta::hours(1), "ended"),
        ];
        for (stock, now, name) in cases {
            let status = sale(stock, 5).status(now);
            assert_eq!(status.name(), name, "{stock} at {now}");
            assert_eq!(SaleStatus::from_name(name), Some(status));
        }
        assert_eq!(SaleStatus::from_name("open"), None);
        assert!(Sale { ends_at: None, ..sale(1, 5) }.is_open(noon() + TimeDelta::days(900)));
    }

    #[test]
    fn what_was_answered_when_it_was_made_is_written_again_from_the_sale() {
        let made = sale(2, 5).as_created();
        assert_eq!((made.stock, made.order_count, made.sold_out_at), (5, 0, None));
        let empty = sale(0, 0).as_created();
        assert_eq!(empty.sold_out_at, Some(empty.created_at), "sold out from the start");
    }
}
