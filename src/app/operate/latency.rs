//! Times of answers. Every one is kept: a hundred thousand small numbers are cheaper than a
//! histogram that has to be explained.

use std::time::Duration;

/// Times of answers, each in whole microseconds.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

/// What is said of many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Half were at most this.
    pub p50: Duration,
    /// All but one in twenty were at most this.
    pub p95: Duration,
    /// All but one in a hundred were at most this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latencies {
    /// Keeps one; more than 71 minutes count as 71 minutes.
    pub fn add(&mut self, time: Duration) {
        self.micros.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Keeps those of another.
    pub fn append(&mut self, mut other: Latencies) {
        self.micros.append(&mut other.micros);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The usual percentiles; `None` when there is nothing.
    pub fn spread(&self) -> Option<Spread> {
        let mut ascending = self.micros.clone();
        ascending.sort_unstable();
        let at = |percent| nearest_rank(&ascending, percent).map(of_micros);
        Some(Spread { p50: at(50)?, p95: at(95)?, p99: at(99)?, max: at(100)? })
    }
}

/// The nearest-rank percentile of ascending numbers: the smallest one that so many percent of them
/// do not exceed.
pub fn nearest_rank(ascending: &[u32], percent: usize) -> Option<u32> {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).copied()
}

fn of_micros(micros: u32) -> Duration {
    Duration::from_micros(micros.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.spread(), None);
        for millis in (1..=200).rev() {
            latencies.add(Duration::from_millis(millis));
        }
        let ms = Duration::from_millis;
        let expected = Spread { p50: ms(100), p95: ms(190), p99: ms(198), max: ms(200) };
        assert_eq!((latencies.count(), latencies.spread()), (200, Some(expected)));
        assert_eq!(nearest_rank(&[7], 50), Some(7));
        assert_eq!(nearest_rank(&[7, 9], 99), Some(9));
        assert_eq!(nearest_rank(&[], 50), None);
    }
}
