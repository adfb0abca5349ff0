//! One typed configuration. Nobody else reads the environment.
//!
//! Every bad value is named at once: the variable, the value, what is accepted. Values that may be
//! secrets are never repeated.

mod auth;
mod choices;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use auth::{auth_warnings, read_auth, read_open_doors, read_secret};
pub use values::duration;
use values::said;
pub(in crate::app) use values::{Reader, within};

use crate::adapters::http::AuthMode;
use crate::adapters::postgres::servers::Servers;
use crate::adapters::token::TokenOptions;
use crate::app::cli::RawSettings;

/// Everything the service can be told.
#[derive(Clone)]
pub struct Settings {
    /// A database of the shop's own; `None` for the embedded server.
    pub database: Option<Servers>,
    /// Where the embedded server lives.
    pub data_dir: PathBuf,
    /// Files that its write-ahead log begins with.
    pub wal_files: u16,
    /// The public address.
    pub listen: SocketAddr,
    /// The rhythm of decisions.
    pub engine: EngineChoice,
    /// Connections to the database.
    pub db_connections: u32,
    /// Whether to migrate at start.
    pub migrate: bool,
    /// How long to wait for a database at start.
    pub startup_timeout: Duration,
    /// Who may come in.
    pub auth: AuthMode,
    /// What tokens say of their origin.
    pub token: TokenOptions,
    /// The shared secret, for `flashdeal token`.
    pub jwt_secret: Option<Vec<u8>>,
    /// The installation's currency.
    pub currency: String,
    /// Longest wait for one lock.
    pub lock_timeout: Duration,
    /// Longest wait of a caller.
    pub request_timeout: Duration,
    /// Longest shut-down.
    pub shutdown_grace: Duration,
    /// Orders that may wait.
    pub max_queue: usize,
    /// Orders a second for each user; 0 for no limit.
    pub rate_per_user: u32,
    /// Orders a second for each address; 0 for no limit.
    pub rate_per_address: u32,
    /// Connections open at a time.
    pub max_connections: usize,
    /// Connections of one address; 0 for all, `None` for a quarter, and all on loopback.
    pub max_connections_per_address: Option<usize>,
    /// Proxies whose word counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call.
    pub cors_origins: Vec<HeaderValue>,
    /// The operator's own address.
    pub ops_listen: Option<SocketAddr>,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Settings that are allowed and probably not meant, one sentence each, for the log.
    pub warnings: Vec<String>,
}

/// The rhythm of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// The orders that wait for one sale, together in one transaction.
    Grouped,
    /// One order, one transaction, locks first.
    Pessimistic,
    /// One order, one transaction, no locks: a version check instead.
    Optimistic,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// Bad values, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSettings(pub Vec<String>);

impl Settings {
    /// Reads every value.
    ///
    /// # Errors
    /// All bad values at once.
    pub fn read(raw: &RawSettings) -> Result<Settings, BadSettings> {
        let mut reader = Reader(Vec::new());
        let listen = reader.read(
            "FLASHDEAL_LISTEN",
            raw.listen.as_ref(),
            SocketAddr::from(([127, 0, 0, 1], 3000)),
            "accepted is ADDRESS:PORT, such as 127.0.0.1:3000 or [::1]:0",
            |text| text.parse().ok(),
        );
        let token = TokenOptions {
            issuer: said(raw.jwt_issuer.as_ref()).unwrap_or("flashdeal").to_owned(),
            audience: said(raw.jwt_audience.as_ref()).unwrap_or("flashdeal").to_owned(),
        };
        let jwt_secret = read_secret(&mut reader, raw);
        let auth = read_auth(&mut reader, raw, listen, &token, jwt_secret.as_deref());
        let mut warnings = auth_warnings(raw, &auth, jwt_secret.is_some());
        if let AuthMode::Jwt(verifier) = &auth {
            warnings.extend_from_slice(verifier.warnings());
        }
        let ops_listen = choices::ops_listen(&mut reader, raw);
        warnings.extend(read_open_doors(&mut reader, raw, ops_listen));
        let r = &mut reader;
        let database = read_database(r, raw);
        let data_dir = choices::data_dir(r, raw);
        let (lock_timeout, request_timeout) = choices::nested_times(r, raw);
        let settings = Settings {
            database,
            data_dir,
            wal_files: choices::wal_files(r, raw),
            listen,
            engine: choices::engine(r, raw),
            db_connections: choices::db_connections(r, raw),
            migrate: choices::migrate(r, raw),
            startup_timeout: r.duration(
                "FLASHDEAL_STARTUP_TIMEOUT",
                raw.startup_timeout.as_ref(),
                60,
            ),
            token,
            jwt_secret,
            currency: choices::currency(r, raw),
            lock_timeout,
            request_timeout,
            shutdown_grace: r.duration("FLASHDEAL_SHUTDOWN_GRACE", raw.shutdown_grace.as_ref(), 30),
            max_queue: choices::max_queue(r, raw),
            rate_per_user: choices::rate_per_user(r, raw, &auth),
            rate_per_address: choices::rate_per_address(r, raw, &auth),
            max_connections: choices::max_connections(r, raw),
            max_connections_per_address: choices::max_connections_per_address(r, raw),
            trusted_proxies: choices::trusted_proxies(r, raw),
            cors_origins: choices::cors_origins(r, raw),
            ops_listen,
            log: choices::log(r, raw),
            log_format: choices::log_format(r, raw),
            auth,
            warnings,
        };
        if reader.0.is_empty() { Ok(settings) } else { Err(BadSettings(reader.0)) }
    }
}

fn read_database(reader: &mut Reader, raw: &RawSettings) -> Option<Servers> {
    let url = raw.database_url.as_ref().filter(|url| !url.is_empty())?;
    match Servers::parse(url) {
        Ok(servers) => Some(servers),
        Err(reason) => {
            // The URL may hold a password.
            reader.fault("DATABASE_URL", "(not shown)", reason);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(raw: RawSettings) -> Vec<String> {
        Settings::read(&raw).err().map(|bad| bad.0).unwrap_or_default()
    }

    #[test]
    fn every_bad_value_is_named_at_once_and_secrets_are_not_repeated() {
        let text = |text: &str| Some(text.to_owned());
        let found = faults(RawSettings {
            database_url: text("mysql://u:hunter2@h/d"),
            wal_files: text("65"),
            listen: text("here"),
            engine: text("fast"),
            db_connections: text("1"),
            lock_timeout: text("soon"),
            currency: text("JPY"),
            auth: text("jwt"),
            jwt_secret: text("hunter2"),
            log_format: text("xml"),
            cors_origins: text("*"),
            ..RawSettings::default()
        });
        let all = found.join("\n");
        for name in [
            "DATABASE_URL",
            "FLASHDEAL_WAL_FILES=65",
            "FLASHDEAL_LISTEN=here",
            "FLASHDEAL_ENGINE=fast",
            "FLASHDEAL_DB_CONNECTIONS=1",
            "FLASHDEAL_LOCK_TIMEOUT=soon",
            "FLASHDEAL_CURRENCY=JPY",
            "FLASHDEAL_JWT_SECRET",
            "FLASHDEAL_LOG_FORMAT=xml",
            "FLASHDEAL_CORS_ORIGINS=*",
        ] {
            assert!(all.contains(name), "{name} is missing in\n{all}");
        }
        assert!(!all.contains("hunter2"), "{all}");
        assert_eq!(found.len(), 10, "{all}");
    }

    #[test]
    fn who_says_nothing_gets_port_3000_on_loopback() {
        let settings = Settings::read(&RawSettings::default()).expect("defaults are good values");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
    }

    #[test]
    fn buyers_with_tokens_are_limited_unless_it_is_said() {
        let rates = |auth: &str| {
            let text = |text: &str| Some(text.to_owned());
            let jwt_secret = text("9f86d081884c7d659a2feaa0c55ad015");
            let raw = RawSettings { auth: text(auth), jwt_secret, ..RawSettings::default() };
            let settings = Settings::read(&raw).unwrap_or_else(|bad| panic!("{bad:?}"));
            (settings.rate_per_user, settings.rate_per_address)
        };
        assert_eq!((rates("open"), rates("jwt")), ((0, 0), (10, 200)));
    }

    #[test]
    fn an_open_door_on_a_public_address_must_be_said() {
        let listen = Some("0.0.0.0:3000".to_owned());
        let raw = RawSettings { listen: listen.clone(), ..RawSettings::default() };
        assert_eq!(faults(raw).len(), 1);
        let auth = Some("open".to_owned());
        assert!(faults(RawSettings { listen, auth, ..RawSettings::default() }).is_empty());
        assert!(faults(RawSettings::default()).is_empty());
    }

    #[test]
    fn times_have_units_and_nest() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for wrong in ["", "5", "s", "0s", "-1s", "25h", "1.5s", "99999999999999999999s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        let text = |text: &str| Some(text.to_owned());
        for (lock, request, named) in [
            ("6s", "", "REQUEST_TIMEOUT=10s: must be more than twice"),
            ("1s", "2s", "REQUEST_TIMEOUT=2s: must be more than twice"),
            ("1ms", "", "LOCK_TIMEOUT=1ms: accepted is a time from 2ms to 24h"),
            ("", "4ms", "REQUEST_TIMEOUT=4ms: accepted is a time from 5ms to 24h"),
            ("6s", "x", "REQUEST_TIMEOUT=x: accepted is a time"),
        ] {
            let (lock_timeout, request_timeout) = (text(lock), text(request));
            let raw = RawSettings { lock_timeout, request_timeout, ..RawSettings::default() };
            let found = faults(raw);
            assert!(found.len() == 1 && found[0].contains(named), "{lock} {request}: {found:?}");
        }
    }
}
