//! How fast orders are being decided, and so when it is worth coming back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use crate::ports::signals;

/// A pause longer than this says nothing about the pace.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest that anyone is asked to stay away, in seconds.
const AWAY_MAX: f64 = 30.0;

/// A moving average of the time per order, over all that finish here.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default, Clone, Copy)]
struct State {
    seconds_per_order: f64,
    last: Option<Instant>,
}

impl Pace {
    /// `orders` have just been decided.
    pub fn decided(&self, orders: usize) {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last.replace(now)
            && now - last < PAUSE_MAX
        {
            let newest = (now - last).as_secs_f64() / orders.max(1) as f64;
            state.seconds_per_order += (newest - state.seconds_per_order) * 0.1;
        }
    }

    /// Turns one away, unexecuted and counted by reason: `waiting` stand before it.
    pub fn shed(&self, reason: &'static str, waiting: usize) -> Fault {
        metrics::counter!(signals::ORDERS_SHED, "reason" => reason).increment(1);
        Fault::Overloaded { retry_after_seconds: self.retry_after(waiting) }
    }

    /// In how many seconds `waiting` orders will be decided at this pace: at least 1, at most 30,
    /// and half as much again at random, so that those turned away do not come back as one.
    fn retry_after(&self, waiting: usize) -> u32 {
        let state = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = (waiting as f64 * state.seconds_per_order).clamp(1.0, AWAY_MAX);
        (seconds * (1.0 + fastrand::f64() / 2.0)).ceil() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_turned_away_comes_back_when_the_queue_is_gone_and_not_as_one() {
        let pace = Pace::default();
        assert!((1..=2).contains(&pace.retry_after(1_000_000)), "nothing is known yet");
        for _ in 0..200 {
            tokio::time::advance(Duration::from_millis(100)).await;
            pace.decided(100);
        }
        let answers: Vec<u32> = (0..100).map(|_| pace.retry_after(10_000)).collect();
        assert!(answers.iter().all(|seconds| (9..=16).contains(seconds)), "{answers:?}");
        assert!(answers.iter().any(|seconds| *seconds != answers[0]), "{answers:?}");
        assert!(pace.retry_after(1_000_000_000) <= 45);
    }
}
