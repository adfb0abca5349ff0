//! Latencies of one cell. Every one is kept: a few hundred thousand small numbers are cheaper than
//! a histogram that has to be explained.

use std::time::Duration;

/// Every cell runs this long before it counts: connections warm up, statements are prepared, and
/// the first rush of an open model is through the lanes.
pub(crate) const LEAD_IN: Duration = Duration::from_secs(1);
/// And this long after: whoever counts whole seconds only (pgbench) still covers the counted part.
pub(crate) const RUN_OUT: Duration = Duration::from_millis(500);

/// One order: when it was answered, counted from the cell's start, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Microseconds from the start of the cell to the answer.
    pub(crate) answered_us: u64,
    /// Microseconds from request to answer.
    pub(crate) latency_us: u32,
}

/// What a cell's counted part says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    /// Orders per second.
    pub(crate) per_second: f64,
    /// Half were answered within this time.
    pub(crate) p50_ms: f64,
    /// All but one in a hundred were answered within this time.
    pub(crate) p99_ms: f64,
    /// All but one in a thousand were answered within this time.
    pub(crate) p999_ms: f64,
}

/// The part that begins after [`LEAD_IN`] and lasts `counted`.
pub(crate) fn summarize(samples: &[Sample], counted: Duration) -> Summary {
    let from = LEAD_IN.as_micros();
    let until = from + counted.as_micros();
    let mut latencies: Vec<u32> = samples
        .iter()
        .filter(|sample| (from..until).contains(&u128::from(sample.answered_us)))
        .map(|sample| sample.latency_us)
        .collect();
    latencies.sort_unstable();
    Summary {
        per_second: latencies.len() as f64 / counted.as_secs_f64(),
        p50_ms: quantile(&latencies, 500),
        p99_ms: quantile(&latencies, 990),
        p999_ms: quantile(&latencies, 999),
    }
}

/// The nearest-rank quantile of ascending microseconds, in milliseconds.
fn quantile(ascending: &[u32], permille: usize) -> f64 {
    let rank = (ascending.len() * permille).div_ceil(1_000);
    let at = rank.saturating_sub(1).min(ascending.len().saturating_sub(1));
    ascending.get(at).map_or(f64::NAN, |micros| f64::from(*micros) / 1_000.0)
}

/// The middle of some numbers; of two middles, their mean.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut ascending: Vec<f64> = numbers.into_iter().filter(|n| n.is_finite()).collect();
    ascending.sort_by(f64::total_cmp);
    let upper = *ascending.get(ascending.len() / 2)?;
    let lower = *ascending.get((ascending.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}
