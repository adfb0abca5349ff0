//! The names of every metric, in one table: code, dashboards and documents use the same words.

/// What kind of metric a name is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts into buckets; the bounds are in the metric's unit.
    Histogram(&'static [f64]),
}

/// One metric: its name, kind and meaning.
#[derive(Debug, Clone, Copy)]
pub struct Signal {
    /// The name, with its unit last.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The help text.
    pub help: &'static str,
}

/// Bounds for times of requests and transactions, in seconds: 250 µs to 10 s, dense around the
/// objective of 500 ms.
pub const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Bounds for the number of orders decided together.
pub const GROUP: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

macro_rules! signals {
    ($($constant:ident = $name:literal, $kind:expr, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// Every metric of the service.
        pub const ALL: &[Signal] =
            &[$(Signal { name: $name, kind: $kind, help: $help }),*];
    };
}

signals! {
    HTTP_DURATION = "http_requests_duration_seconds", Kind::Histogram(SECONDS),
        "Time from a request's head to its answer, by method, route template and status.";
    HTTP_CONNECTIONS = "http_connections", Kind::Gauge, "Open HTTP connections.";
    HTTP_CONNECTIONS_MAX = "http_connections_max", Kind::Gauge,
        "Connections that the public address holds at a time; more wait to be accepted.";
    HTTP_CONNECTIONS_REFUSED = "http_connections_refused_total", Kind::Counter,
        "Connections closed at once because their address had all that one may have.";
    KEY_RELOADS = "key_reloads_total", Kind::Counter,
        "Files with keys for tokens that changed, by setting and result (read, refused).";
    LOG_LINES_DROPPED = "log_lines_dropped_total", Kind::Counter,
        "Lines of the log that were not written: nobody read them in time, or nobody could.";
    ORDERS = "orders_total", Kind::Counter,
        "Answered orders by engine and outcome (confirmed, replayed, or the code of the refusal).";
    ORDERS_UNITS = "orders_units_total", Kind::Counter, "Units sold by this instance.";
    ORDERS_REVENUE = "orders_revenue_cents_total", Kind::Counter,
        "Money taken for orders by this instance, in hundredths of the currency named by the label.";
    ORDER_GROUP_SIZE = "order_group_size", Kind::Histogram(GROUP),
        "Orders decided together in one transaction.";
    ORDER_QUEUE_DEPTH = "order_queue_depth", Kind::Gauge, "Orders that wait to be decided.";
    ORDER_QUEUE_OLDEST = "order_queue_oldest_seconds", Kind::Gauge,
        "How long the order that has waited longest has waited.";
    ORDER_QUEUE_WAIT = "order_queue_wait_seconds", Kind::Histogram(SECONDS),
        "How long an order waited before it was decided.";
    ORDERS_SHED = "orders_shed_total", Kind::Counter,
        "Orders refused without being looked at, by reason.";
    LOCK_WAIT = "db_lock_wait_seconds", Kind::Histogram(SECONDS),
        "Time until a lock was had, by lock (key, sale, wallet).";
    TRANSACTION_DURATION = "db_transaction_duration_seconds", Kind::Histogram(SECONDS),
        "Time from BEGIN to the end of a transaction, by transaction and outcome.";
    POOL_CONNECTIONS = "db_pool_connections", Kind::Gauge,
        "Connections of the pool by state (idle, in_use, max).";
    POOL_WAIT = "db_pool_wait_seconds", Kind::Histogram(SECONDS),
        "How long a connection was waited for.";
    RETRIES = "db_retries_total", Kind::Counter,
        "Transactions run again, by SQLSTATE or cause.";
    IDEMPOTENCY = "idempotency_total", Kind::Counter,
        "Keys by result (claimed, replayed, reused, in_progress).";
    CLIENT_DISCONNECTS = "client_disconnects_total", Kind::Counter,
        "Clients that left before their answer; their request was finished all the same.";
    SALE_STOCK = "sale_stock", Kind::Gauge, "Units left, for live sales only.";
    LEDGER_DISCREPANCIES = "ledger_discrepancies", Kind::Gauge,
        "Discrepancies that the last audit found; anything but 0 is an alarm.";
    LEDGER_CHECKED_AGE = "ledger_checked_age_seconds", Kind::Gauge,
        "Time since the books were last checked.";
    READY = "ready", Kind::Gauge, "1 while orders are taken, 0 otherwise.";
    POSTGRES_UP = "postgres_up", Kind::Gauge, "1 while the database answers and takes writes.";
    POSTGRES_CONNECTIONS = "postgres_connections", Kind::Gauge,
        "Sessions in the whole server by state (active, idle, idle_in_transaction, other).";
    POSTGRES_CONNECTIONS_MAX = "postgres_connections_max", Kind::Gauge,
        "Sessions that the server allows in all.";
    POSTGRES_LOCK_WAITERS = "postgres_lock_waiters", Kind::Gauge,
        "Sessions of this database that wait for a lock.";
    POSTGRES_OLDEST_TRANSACTION = "postgres_oldest_transaction_seconds", Kind::Gauge,
        "Age of the oldest open transaction of this database.";
    POSTGRES_TRANSACTIONS = "postgres_transactions_total", Kind::Counter,
        "Transactions of this database by outcome (commit, rollback), since this process looks.";
    POSTGRES_ROWS = "postgres_rows", Kind::Gauge,
        "Rows of the busiest tables by state (live, dead), as the server estimates them.";
    POSTGRES_BYTES = "postgres_database_bytes", Kind::Gauge, "Size of this database on disk.";
    INVARIANT_ALARMS = "invariant_alarms_total", Kind::Counter,
        "Writes that the schema refused although the program thought them right.";
    BUILD_INFO = "build_info", Kind::Gauge, "Always 1; the labels name version and engine.";
}
