//! Metrics whose labels are known only with the answer.
//!
//! To name a metric with its labels costs more than to count: the key is built, hashed and looked
//! up. Label values are few, so each series is named once and its handle kept.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use crate::domain::order::Order;
use crate::ports::signals;

/// Handles by what is known when they are needed. Whoever brings the keys bounds their number.
struct Handles<K, H>(LazyLock<RwLock<HashMap<K, H>>>);

impl<K: Eq + Hash, H> Handles<K, H> {
    const fn new() -> Handles<K, H> {
        Handles(LazyLock::new(RwLock::default))
    }

    /// Uses the handle of `key`; the first time it is made.
    fn with<Q>(&self, key: &Q, make: impl FnOnce() -> H, go: impl FnOnce(&H))
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(handle) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return go(handle);
        }
        let mut handles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        go(handles.entry(key.to_owned()).or_insert_with(make));
    }
}

/// Method, route and status.
type Answered = (&'static str, &'static str, u16);

static ANSWERED: Handles<Answered, Histogram> = Handles::new();
static OUTCOMES: Handles<(&'static str, &'static str), Counter> = Handles::new();
static SOLD: Handles<String, (Counter, Counter)> = Handles::new();

/// A request of `route` was answered with `status`.
pub(super) fn answered(method: &Method, route: &'static str, status: StatusCode, after: Duration) {
    let method = method_label(method);
    let make = || {
        let status = status.as_str().to_owned();
        let labels = [("method", method.into()), ("route", route.into()), ("status", status)];
        metrics::histogram!(signals::HTTP_DURATION, &labels)
    };
    ANSWERED.with(&(method, route, status.as_u16()), make, |histogram| histogram.record(after));
}

/// An order ended so.
pub(super) fn order(engine: &'static str, outcome: &'static str) {
    let make = || metrics::counter!(signals::ORDERS, "engine" => engine, "outcome" => outcome);
    OUTCOMES.with(&(engine, outcome), make, |counter| counter.increment(1));
}

/// An order was made.
pub(super) fn sold(order: &Order, currency: &str) {
    let make = || {
        let revenue = metrics::counter!(signals::ORDERS_REVENUE, "currency" => currency.to_owned());
        (metrics::counter!(signals::ORDERS_UNITS), revenue)
    };
    SOLD.with(currency, make, |(units, revenue)| {
        units.increment(order.quantity.units().into());
        revenue.increment(order.total.cents());
    });
}

/// A method as a label: a caller's invention must not become a new time series.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
