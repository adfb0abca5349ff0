//! The grouped engine through the front door: what gathers behind a held sale is decided together,
//! in the order of arrival, with a number of statements that does not grow; and what is wrong with
//! one order is nobody else's trouble.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

mod gone;
mod instances;
mod lanes;
mod mixed;
mod trouble;

use flashdeal::app::cli::RawSettings;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::Service;
use crate::support::api::{Api, Reply};
use crate::support::locks::{Held, number, until, until_someone_waits};
use crate::support::relay::Relay;

/// Orders that join one after the other while the sale is held: the first goes ahead and waits for
/// the row, the others gather behind it.
pub(super) struct Gathered {
    held: Held,
    orders: JoinSet<(usize, Reply)>,
}

impl Gathered {
    /// Sends one order for each user, in this order, keys `k0`, `k1`, …
    pub(super) async fn behind_the_sale(service: &Service, sale: &str, users: &[String]) -> Self {
        let held = Held::sale(&service.database, sale).await;
        let mut gathered = Gathered { held, orders: JoinSet::new() };
        for (place, user) in users.iter().enumerate() {
            gathered.send(&service.api, place, user, sale);
            match place {
                0 => until_someone_waits(&service.database).await,
                _ => until("it waits", async || service.running.waiting() == place).await,
            }
        }
        gathered
    }

    fn send(&mut self, api: &Api, place: usize, user: &str, sale: &str) {
        let (api, body) = (api.clone(), json!({ "user_id": user, "sale_id": sale }));
        self.orders.spawn(async move {
            (place, api.post("/api/orders", &format!("k{place}"), &body).await)
        });
    }

    /// Lets the sale go; the answers by place.
    pub(super) async fn release(self) -> Vec<Reply> {
        self.held.release().await;
        answers(self.orders).await
    }

    /// Holds the sale until everyone has an answer.
    pub(super) async fn in_vain(self) -> Vec<Reply> {
        let answers = answers(self.orders).await;
        self.held.release().await;
        answers
    }
}

/// By place.
async fn answers(mut orders: JoinSet<(usize, Reply)>) -> Vec<Reply> {
    let mut answers = Vec::new();
    while let Some(answer) = orders.join_next().await {
        answers.push(answer.unwrap());
    }
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, reply)| reply).collect()
}

/// The engine with patience: a slow machine needs a while to gather a group behind a lock.
pub(super) fn grouped(raw: &mut RawSettings) {
    raw.engine = Some("grouped".to_owned());
    raw.lock_timeout = Some("20s".to_owned());
    raw.request_timeout = Some("90s".to_owned());
}

/// The engine, with a wire in between that can be watched and broken.
pub(super) async fn behind_a_wire() -> (Service, Relay) {
    Service::behind_a_wire(grouped).await
}

/// In how many transactions the orders of a database were written.
pub(super) async fn transactions(service: &Service) -> i64 {
    let mut session = service.database.session().await;
    number(&mut session, "SELECT count(DISTINCT xmin::text) FROM orders").await
}
