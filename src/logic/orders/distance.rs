//! How far away the database is, as far as groups care: when the next one should set out.
//!
//! Setting out while the last group is still being written hides two round trips. Where they are
//! long that is a third more orders a second; where they are short it only makes groups smaller,
//! and small groups cost more (docs/adr/0011-groups.md has the measurements).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A round trip of this length is worth hiding. One on the same machine takes a tenth of it.
const FAR: Duration = Duration::from_millis(1);
/// The shortest of so many is believed: a busy machine makes some of them long, never all.
const REMEMBERED: usize = 32;

/// The last round trips. Unknown is near.
#[derive(Default)]
pub(super) struct Distance(Mutex<VecDeque<Duration>>);

impl Distance {
    /// A statement that does nothing took this long.
    pub(super) fn note(&self, trip: Duration) {
        let mut last = self.last();
        last.truncate(REMEMBERED - 1);
        last.push_front(trip);
    }

    /// Whether even the shortest was long.
    pub(super) fn is_far(&self) -> bool {
        self.last().iter().min().is_some_and(|shortest| *shortest >= FAR)
    }

    fn last(&self) -> MutexGuard<'_, VecDeque<Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_when_every_trip_is_long_it_is_far() {
        let distance = Distance::default();
        assert!(!distance.is_far(), "nothing is known");
        (0..REMEMBERED).for_each(|_| distance.note(FAR));
        assert!(distance.is_far());
        distance.note(FAR / 2);
        assert!(!distance.is_far(), "one was short: the others waited for something else");
        (0..REMEMBERED - 1).for_each(|_| distance.note(FAR * 2));
        assert!(!distance.is_far(), "it is still remembered");
        distance.note(FAR * 2);
        assert!(distance.is_far(), "the database has moved");
    }
}
