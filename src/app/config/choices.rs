//! Single settings with their default, what is accepted, and how it is read.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::values::{self, Reader, duration, network, origin, path, within};
use super::{EngineChoice, LogFormat};
use crate::adapters::http::AuthMode;
use crate::adapters::postgres::embedded::LOG_FILES;
use crate::app::cli::RawSettings;

/// A session that idles in its transaction is ended before those who wait for its locks give up,
/// and PostgreSQL counts in whole milliseconds.
const LOCK_TIMEOUT_MIN: Duration = Duration::from_millis(2);
/// More than twice the shortest wait for a lock, in whole milliseconds.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(5);

pub(super) fn data_dir(reader: &mut Reader, raw: &RawSettings) -> PathBuf {
    let data_dir = path(raw.data_dir.as_ref()).unwrap_or_else(|| PathBuf::from(".flashdeal"));
    if !may_be_directory(&data_dir) {
        let accepted = "accepted is a directory, or a path where one can be made";
        reader.fault("FLASHDEAL_DATA_DIR", data_dir.display(), accepted);
    }
    data_dir
}

/// Whether nothing but a directory is there, as far as can be seen; who uses it says the rest.
fn may_be_directory(path: &Path) -> bool {
    match path.metadata() {
        Ok(found) => found.is_dir(),
        Err(error) => error.kind() != ErrorKind::NotADirectory,
    }
}

pub(super) fn wal_files(reader: &mut Reader, raw: &RawSettings) -> u16 {
    let (name, accepted) = ("FLASHDEAL_WAL_FILES", "accepted is an integer from 0 to 64");
    reader.read(name, raw.wal_files.as_ref(), LOG_FILES, accepted, |text| {
        within(text, 0, 64).and_then(|number| u16::try_from(number).ok())
    })
}

pub(super) fn engine(reader: &mut Reader, raw: &RawSettings) -> EngineChoice {
    reader.read(
        "FLASHDEAL_ENGINE",
        raw.engine.as_ref(),
        EngineChoice::Grouped,
        "accepted are grouped, pessimistic and optimistic",
        |text| match text {
            "grouped" => Some(EngineChoice::Grouped),
            "pessimistic" => Some(EngineChoice::Pessimistic),
            "optimistic" => Some(EngineChoice::Optimistic),
            _ => None,
        },
    )
}

pub(super) fn db_connections(reader: &mut Reader, raw: &RawSettings) -> u32 {
    reader.read(
        "FLASHDEAL_DB_CONNECTIONS",
        raw.db_connections.as_ref(),
        10,
        "accepted is an integer from 2 to 1000",
        |text| within(text, 2, 1_000),
    )
}

pub(super) fn migrate(reader: &mut Reader, raw: &RawSettings) -> bool {
    reader.read(
        "FLASHDEAL_MIGRATE",
        raw.migrate.as_ref(),
        true,
        "accepted are auto and off",
        |text| match text {
            "auto" => Some(true),
            "off" => Some(false),
            _ => None,
        },
    )
}

pub(super) fn currency(reader: &mut Reader, raw: &RawSettings) -> String {
    reader.read(
        "FLASHDEAL_CURRENCY",
        raw.currency.as_ref(),
        "USD".to_owned(),
        "accepted is one ISO 4217 code of three capitals whose unit has two decimals",
        values::currency,
    )
}

pub(super) fn max_queue(reader: &mut Reader, raw: &RawSettings) -> usize {
    many(reader, "FLASHDEAL_MAX_QUEUE", raw.max_queue.as_ref())
}

/// The waits for a lock and for a decision: each ends before the one around it.
pub(super) fn nested_times(reader: &mut Reader, raw: &RawSettings) -> (Duration, Duration) {
    let faults = reader.0.len();
    let lock_timeout = reader.read(
        "FLASHDEAL_LOCK_TIMEOUT",
        raw.lock_timeout.as_ref(),
        Duration::from_secs(2),
        "accepted is a time from 2ms to 24h, less than half of FLASHDEAL_REQUEST_TIMEOUT, such as \
         500ms or 2s",
        |text| duration(text).filter(|time| *time >= LOCK_TIMEOUT_MIN),
    );
    let request_timeout = reader.read(
        "FLASHDEAL_REQUEST_TIMEOUT",
        raw.request_timeout.as_ref(),
        Duration::from_secs(10),
        "accepted is a time from 5ms to 24h, more than twice FLASHDEAL_LOCK_TIMEOUT, such as 5s \
         or 1m",
        |text| duration(text).filter(|time| *time >= REQUEST_TIMEOUT_MIN),
    );
    // A default in the place of a bad value is not what anybody said.
    if reader.0.len() == faults && request_timeout <= lock_timeout * 2 {
        let accepted = "must be more than twice FLASHDEAL_LOCK_TIMEOUT, so that the database gives \
                        up before the caller does";
        reader.fault("FLASHDEAL_REQUEST_TIMEOUT", format_args!("{request_timeout:?}"), accepted);
    }
    (lock_timeout, request_timeout)
}

/// How many callers a service holds unless it is said.
fn many(reader: &mut Reader, name: &'static str, given: Option<&String>) -> usize {
    let accepted = "accepted is an integer from 1 to 1000000";
    reader.read(name, given, 16_384, accepted, |text| {
        within(text, 1, 1_000_000).map(|number| number as usize)
    })
}

const RATE: &str = "accepted is a whole number of orders a second from 0 (no limit) to 1000000";

/// In mode `open` everyone is the operator, and nobody is limited unless it is said.
fn rate(auth: &AuthMode, in_mode_jwt: u32) -> u32 {
    if matches!(auth, AuthMode::Open) { 0 } else { in_mode_jwt }
}

pub(super) fn rate_per_user(reader: &mut Reader, raw: &RawSettings, auth: &AuthMode) -> u32 {
    let (name, default) = ("FLASHDEAL_RATE_PER_USER", rate(auth, 10));
    reader.read(name, raw.rate_per_user.as_ref(), default, RATE, |text| within(text, 0, 1_000_000))
}

pub(super) fn rate_per_address(reader: &mut Reader, raw: &RawSettings, auth: &AuthMode) -> u32 {
    let (name, default) = ("FLASHDEAL_RATE_PER_ADDRESS", rate(auth, 200));
    let given = raw.rate_per_address.as_ref();
    reader.read(name, given, default, RATE, |text| within(text, 0, 1_000_000))
}

pub(super) fn max_connections(reader: &mut Reader, raw: &RawSettings) -> usize {
    many(reader, "FLASHDEAL_MAX_CONNECTIONS", raw.max_connections.as_ref())
}

pub(super) fn max_connections_per_address(reader: &mut Reader, raw: &RawSettings) -> Option<usize> {
    reader.read(
        "FLASHDEAL_MAX_CONNECTIONS_PER_ADDRESS",
        raw.max_connections_per_address.as_ref(),
        None,
        "accepted is an integer from 0 (no limit) to 1000000",
        |text| within(text, 0, 1_000_000).map(|number| Some(number as usize)),
    )
}

pub(super) fn trusted_proxies(reader: &mut Reader, raw: &RawSettings) -> Vec<IpNet> {
    reader.list(
        "FLASHDEAL_TRUSTED_PROXIES",
        raw.trusted_proxies.as_ref(),
        "accepted are addresses and networks, such as 10.0.0.0/8, comma-separated",
        network,
    )
}

pub(super) fn cors_origins(reader: &mut Reader, raw: &RawSettings) -> Vec<HeaderValue> {
    reader.list(
        "FLASHDEAL_CORS_ORIGINS",
        raw.cors_origins.as_ref(),
        "accepted are origins, such as https://shop.example, comma-separated",
        origin,
    )
}

pub(super) fn ops_listen(reader: &mut Reader, raw: &RawSettings) -> Option<SocketAddr> {
    reader.read(
        "FLASHDEAL_OPS_LISTEN",
        raw.ops_listen.as_ref(),
        None,
        "accepted is ADDRESS:PORT, such as 127.0.0.1:3001",
        |text| text.parse().ok().map(Some),
    )
}

pub(super) fn log(reader: &mut Reader, raw: &RawSettings) -> String {
    reader.read(
        "FLASHDEAL_LOG",
        raw.log.as_ref(),
        "info".to_owned(),
        "accepted is RUST_LOG syntax, such as info or flashdeal=debug,info",
        |text| EnvFilter::try_new(text).ok().map(|_| text.to_owned()),
    )
}

pub(super) fn log_format(reader: &mut Reader, raw: &RawSettings) -> LogFormat {
    reader.read(
        "FLASHDEAL_LOG_FORMAT",
        raw.log_format.as_ref(),
        LogFormat::Pretty,
        "accepted are pretty and json",
        |text| match text {
            "pretty" => Some(LogFormat::Pretty),
            "json" => Some(LogFormat::Json),
            _ => None,
        },
    )
}
