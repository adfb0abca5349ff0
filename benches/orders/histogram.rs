//! A histogram of the service, as its `/metrics` page shows it.

/// The name of the histogram of transactions.
const TRANSACTIONS: &str = "db_transaction_duration_seconds_bucket{";

/// Cumulative counts by upper bound, in seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// Transactions that decided orders and committed.
    pub(crate) fn of_groups(page: &str) -> Histogram {
        let labels = ["transaction=\"order\"", "outcome=\"committed\""];
        let wanted = |line: &&str| {
            line.starts_with(TRANSACTIONS) && labels.iter().all(|label| line.contains(label))
        };
        let bucket = |line: &str| {
            let (_, bound) = line.split_once("le=\"")?;
            let (bound, rest) = bound.split_once('"')?;
            let count = rest.rsplit_once(' ')?.1.parse().ok()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count))
        };
        let mut buckets: Vec<(f64, f64)> = page.lines().filter(wanted).filter_map(bucket).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Histogram { buckets }
    }

    /// The median of what came between an earlier look and this one, in milliseconds; linear within
    /// its bucket, since no more is known.
    pub(crate) fn median_ms_since(&self, earlier: &Histogram) -> Option<f64> {
        let before = |bound: f64| {
            let same = earlier.buckets.iter().find(|(other, _)| *other == bound);
            same.map_or(0.0, |(_, count)| *count)
        };
        let counts: Vec<(f64, f64)> =
            self.buckets.iter().map(|(bound, count)| (*bound, count - before(*bound))).collect();
        let half = counts.last()?.1 / 2.0;
        if half <= 0.0 {
            return None;
        }
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in counts {
            if count >= half {
                let share = (half - below) / (count - below);
                return bound.is_finite().then_some((low + (bound - low) * share) * 1_000.0);
            }
            (low, below) = (bound, count);
        }
        None
    }
}
