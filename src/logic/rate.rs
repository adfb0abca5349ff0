//! How often one caller may order: a bucket for each, filled at an even rate.
//!
//! The generic cell rate algorithm (ITU-T I.371): for each caller one moment, at which its bucket
//! will be full again. A library would do, but for one thing: what turns out to be a replay is
//! given back, since asking again must never cost anything.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Callers remembered at a time; full buckets are forgotten first.
const CALLERS_MAX: usize = 500_000;

/// A bucket for each caller.
#[derive(Debug)]
pub struct Rate<K> {
    /// Time between two orders at the even rate.
    interval: Duration,
    /// How many may come at once.
    burst: u32,
    full_at: Mutex<HashMap<K, Instant>>,
}

/// An order too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// How many may come at once.
    pub burst: u32,
    /// In what time an empty bucket is full again, in whole seconds.
    pub window_seconds: u64,
    /// When the next order is let in.
    pub wait: Duration,
}

/// An empty bucket is full again after so long, at any rate: it holds twice what a second brings.
const WINDOW_SECONDS: u32 = 2;

impl<K: Eq + Hash + Copy> Rate<K> {
    /// `per_second` orders, and twice as many at once. `None` for no limit at all.
    pub fn per_second(per_second: u32) -> Option<Rate<K>> {
        let interval = Duration::from_secs(1).checked_div(per_second)?;
        let burst = per_second.saturating_mul(WINDOW_SECONDS);
        Some(Rate { interval, burst, full_at: Mutex::default() })
    }

    /// Takes one from the caller's bucket.
    ///
    /// # Errors
    /// [`TooMany`] when it is empty; nothing is taken.
    pub fn take(&self, caller: K) -> Result<(), TooMany> {
        let now = Instant::now();
        let mut full_at = self.lock();
        if full_at.len() >= CALLERS_MAX && !full_at.contains_key(&caller) {
            full_at.retain(|_, full_at| *full_at > now);
            if full_at.len() >= CALLERS_MAX {
                // Half a million callers at this moment: a limit for each is no longer the cure.
                return Ok(());
            }
        }
        let entry = full_at.entry(caller).or_insert(now);
        let next = (*entry).max(now) + self.interval;
        let room = self.interval * self.burst;
        if next > now + room {
            let window_seconds = u64::from(WINDOW_SECONDS);
            return Err(TooMany { burst: self.burst, window_seconds, wait: next - now - room });
        }
        *entry = next;
        Ok(())
    }

    /// Puts back what was taken.
    pub fn give_back(&self, caller: K) {
        if let Some(full_at) = self.lock().get_mut(&caller) {
            *full_at -= self.interval;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_in_then_the_even_rate_and_each_caller_has_a_bucket() {
        let rate = Rate::per_second(10).unwrap();
        assert!((0..20).all(|_| rate.take("a").is_ok()));
        let refused = rate.take("a").unwrap_err();
        assert_eq!((refused.burst, refused.window_seconds), (20, 2));
        assert_eq!(refused.wait, Duration::from_millis(100));
        assert!(rate.take("b").is_ok());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(rate.take("a").is_ok());
        assert!(rate.take("a").is_err());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!((0..20).all(|_| rate.take("a").is_ok()), "an hour fills it, and no more than that");
        assert!(rate.take("a").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_was_never_taken() {
        let rate = Rate::per_second(1).unwrap();
        for _ in 0..100 {
            rate.take(1).unwrap();
            rate.give_back(1);
        }
        assert!(rate.take(1).is_ok() && rate.take(1).is_ok() && rate.take(1).is_err());
    }

    #[test]
    fn no_orders_a_second_means_no_limit() {
        assert!(Rate::<u8>::per_second(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_room_for_another_bucket_a_stranger_is_let_in_and_nobody_else() {
        let rate = Rate::per_second(1).unwrap();
        assert!((0..CALLERS_MAX).all(|caller| rate.take(caller).is_ok()));
        assert!((0..10).all(|_| rate.take(CALLERS_MAX).is_ok()), "a stranger");
        assert_eq!(rate.lock().len(), CALLERS_MAX);
        let known = CALLERS_MAX - 1;
        assert!(rate.take(known).is_ok() && rate.take(known).is_err(), "who has a bucket");
    }
}
