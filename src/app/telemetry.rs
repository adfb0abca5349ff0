//! Logs and metrics: set up once for the process.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tokio_util::sync::CancellationToken;
use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::config::LogFormat;
use super::log_writer::LogWriter;
use crate::ports::signals::{self, Kind};

/// A gauge that nobody refreshes for this long is no longer reported: the stock of a sale that is
/// over. The monitor refreshes every living gauge far more often.
const GAUGE_IDLE: Duration = Duration::from_secs(60);
/// How often the recorder tidies up. It goes through what was measured since, and the thread that
/// does so answers nobody meanwhile: up to 8 ms behind five seconds of a rush.
const UPKEEP_EVERY: Duration = Duration::from_millis(500);

/// Starts logging to standard error, as fast as it is read. Standard output belongs to commands.
pub fn start_logging(filter: &str, format: LogFormat) {
    let logging = tracing_subscriber::registry().with(chosen(filter));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| LogWriter);
    // A second start in the same process (tests) keeps the first.
    let _ = match format {
        LogFormat::Pretty => {
            let colours = std::io::stderr().is_terminal();
            logging.with(lines.with_ansi(colours).with_target(false)).try_init()
        }
        LogFormat::Json => {
            logging.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
        }
    };
}

/// What is logged. Levels by target cost a request nothing; only a filter that looks into spans
/// has to follow each of them.
fn chosen<S: Subscriber>(filter: &str) -> Box<dyn Layer<S> + Send + Sync> {
    // PostgreSQL's notices ("relation already exists, skipping") are news to nobody.
    const NOTICES: &str = "sqlx::postgres::notice";
    if filter.contains('[') {
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
        return Box::new(match format!("{NOTICES}=warn").parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        });
    }
    let levels = filter.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    Box::new(levels.with_target(NOTICES, Level::WARN))
}

/// The process's metrics, described and with buckets from `ports::signals`.
///
/// # Errors
/// A sentence when another recorder is installed.
pub fn metrics() -> Result<PrometheusHandle, String> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

fn install() -> Result<PrometheusHandle, String> {
    let mut builder =
        PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_IDLE));
    for signal in signals::ALL {
        if let Kind::Histogram(bounds) = signal.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(signal.name.to_owned()), bounds)
                .map_err(|error| error.to_string())?;
        }
    }
    let handle = builder.install_recorder().map_err(|error| error.to_string())?;
    for signal in signals::ALL {
        match signal.kind {
            Kind::Counter => metrics::describe_counter!(signal.name, signal.help),
            Kind::Gauge => metrics::describe_gauge!(signal.name, signal.help),
            Kind::Histogram(_) => metrics::describe_histogram!(signal.name, signal.help),
        }
    }
    begin_at_zero();
    Ok(handle)
}

/// What the documents, rules and dashboards speak of before it has happened.
///
/// `engine` is the one in use, `currency` the installation's.
pub fn begin_orders_at_zero(engine: &'static str, currency: &str) {
    metrics::counter!(signals::ORDERS_REVENUE, "currency" => currency.to_owned()).increment(0);
    for outcome in ORDER_OUTCOMES {
        metrics::counter!(signals::ORDERS, "engine" => engine, "outcome" => outcome).increment(0);
    }
    for status in ["201", "400", "409", "429", "500", "503"] {
        let _registered = metrics::histogram!(
            signals::HTTP_DURATION, "method" => "POST", "route" => "/api/orders", "status" => status
        );
    }
}

/// Tidies up until `stop`: the recorder drains its histograms only when told to.
pub async fn keep_up(handle: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        handle.run_upkeep();
        stop.run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY)).await;
    }
}

/// How an order can end: confirmed, replayed, or the code of the problem.
const ORDER_OUTCOMES: [&str; 18] = [
    "confirmed",
    "replayed",
    "out_of_stock",
    "insufficient_balance",
    "sale_not_open",
    "purchase_limit_reached",
    "order_expired",
    "sale_not_found",
    "user_not_found",
    "idempotency_key_reused",
    "concurrent_conflict",
    "request_in_progress",
    "rate_limited",
    "overloaded",
    "draining",
    "database_unavailable",
    "outcome_unknown",
    "internal",
];

/// A counter that first appears with its first event hides that event from `rate()`.
fn begin_at_zero() {
    metrics::counter!(signals::CLIENT_DISCONNECTS).increment(0);
    metrics::counter!(signals::HTTP_CONNECTIONS_REFUSED).increment(0);
    metrics::counter!(signals::INVARIANT_ALARMS).increment(0);
    metrics::counter!(signals::LOG_LINES_DROPPED).increment(0);
    metrics::counter!(signals::ORDERS_UNITS).increment(0);
    for setting in ["FLASHDEAL_JWT_SECRET_FILE", "FLASHDEAL_JWKS_FILE"] {
        for result in ["read", "refused"] {
            metrics::counter!(signals::KEY_RELOADS, "setting" => setting, "result" => result)
                .increment(0);
        }
    }
    for reason in ["queue_full", "queue_stuck", "waited_too_long"] {
        metrics::counter!(signals::ORDERS_SHED, "reason" => reason).increment(0);
    }
    let causes =
        ["40001", "40P01", "connection", "commit_unknown", "stale", "too_late", "key_vanished"];
    for cause in causes {
        metrics::counter!(signals::RETRIES, "sqlstate" => cause).increment(0);
    }
    for result in ["claimed", "replayed", "reused", "in_progress"] {
        metrics::counter!(signals::IDEMPOTENCY, "result" => result).increment(0);
    }
}
