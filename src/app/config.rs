//! One typed configuration. Nobody else reads the environment.
//!
//! Every bad value is named at once: the variable, the value, what is accepted. Values that may be
//! secrets are never repeated.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;

use super::cli::RawSettings;
use crate::adapters::http::AuthMode;
use crate::adapters::postgres::connect;
use crate::adapters::token::{SECRET_MIN_BYTES, TokenOptions, Verifier};

/// Everything the service can be told.
#[derive(Clone)]
pub struct Settings {
    /// A database of the shop's own; `None` for the embedded server.
    pub database: Option<PgConnectOptions>,
    /// Where the embedded server lives.
    pub data_dir: PathBuf,
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
}

/// The rhythm of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// One order, one transaction, locks first.
    Pessimistic,
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

/// Collects faults while values are read.
struct Reader(Vec<String>);

impl Reader {
    fn fault(&mut self, name: &str, value: impl Display, accepted: impl Display) {
        self.0.push(format!("{name}={value}: {accepted}"));
    }

    fn read<T>(
        &mut self,
        name: &str,
        raw: Option<&String>,
        default: T,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(text) = raw.filter(|text| !text.is_empty()) else {
            return default;
        };
        match parse(text) {
            Some(value) => value,
            None => {
                self.fault(name, text, accepted);
                default
            }
        }
    }

    fn duration(&mut self, name: &str, raw: Option<&String>, default_seconds: u64) -> Duration {
        let accepted = "accepted is a time from 1ms to 24h, such as 500ms, 2s, 1m or 1h";
        self.read(
            name,
            raw,
            Duration::from_secs(default_seconds),
            accepted,
            duration,
        )
    }

    fn list<T>(
        &mut self,
        name: &str,
        raw: Option<&String>,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        let parts = raw
            .map(String::as_str)
            .unwrap_or_default()
            .split(',')
            .map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            match parse(part) {
                Some(value) => values.push(value),
                None => self.fault(name, part, accepted),
            }
        }
        values
    }
}

/// Reads `500ms`, `2s`, `1m`, `1h`.
pub fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let total = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
    (1..=86_400_000)
        .contains(&total)
        .then(|| Duration::from_millis(total))
}

fn within(text: &str, min: u32, max: u32) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
}

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
            issuer: raw
                .jwt_issuer
                .clone()
                .unwrap_or_else(|| "flashdeal".to_owned()),
            audience: raw
                .jwt_audience
                .clone()
                .unwrap_or_else(|| "flashdeal".to_owned()),
        };
        let jwt_secret = read_secret(&mut reader, raw);
        let auth = read_auth(&mut reader, raw, listen, &token, jwt_secret.as_deref());
        let settings = Settings {
            database: read_database(&mut reader, raw),
            data_dir: raw
                .data_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from(".flashdeal")),
            listen,
            engine: reader.read(
                "FLASHDEAL_ENGINE",
                raw.engine.as_ref(),
                EngineChoice::Pessimistic,
                "accepted is pessimistic (optimistic and grouped are not in this version)",
                |text| (text == "pessimistic").then_some(EngineChoice::Pessimistic),
            ),
            db_connections: reader.read(
                "FLASHDEAL_DB_CONNECTIONS",
                raw.db_connections.as_ref(),
                10,
                "accepted is an integer from 2 to 1000",
                |text| within(text, 2, 1_000),
            ),
            migrate: reader.read(
                "FLASHDEAL_MIGRATE",
                raw.migrate.as_ref(),
                true,
                "accepted are auto and off",
                |text| match text {
                    "auto" => Some(true),
                    "off" => Some(false),
                    _ => None,
                },
            ),
            startup_timeout: reader.duration(
                "FLASHDEAL_STARTUP_TIMEOUT",
                raw.startup_timeout.as_ref(),
                60,
            ),
            auth,
            token,
            jwt_secret,
            currency: reader.read(
                "FLASHDEAL_CURRENCY",
                raw.currency.as_ref(),
                "USD".to_owned(),
                "accepted is one ISO 4217 code of three capitals whose unit has two decimals",
                currency,
            ),
            lock_timeout: reader.duration("FLASHDEAL_LOCK_TIMEOUT", raw.lock_timeout.as_ref(), 2),
            request_timeout: reader.duration(
                "FLASHDEAL_REQUEST_TIMEOUT",
                raw.request_timeout.as_ref(),
                10,
            ),
            shutdown_grace: reader.duration(
                "FLASHDEAL_SHUTDOWN_GRACE",
                raw.shutdown_grace.as_ref(),
                30,
            ),
            max_queue: reader.read(
                "FLASHDEAL_MAX_QUEUE",
                raw.max_queue.as_ref(),
                16_384,
                "accepted is an integer from 1 to 1000000",
                |text| within(text, 1, 1_000_000).map(|number| number as usize),
            ),
            trusted_proxies: reader.list(
                "FLASHDEAL_TRUSTED_PROXIES",
                raw.trusted_proxies.as_ref(),
                "accepted are addresses and networks, such as 10.0.0.0/8, comma-separated",
                network,
            ),
            cors_origins: reader.list(
                "FLASHDEAL_CORS_ORIGINS",
                raw.cors_origins.as_ref(),
                "accepted are origins, such as https://shop.example, comma-separated",
                origin,
            ),
            ops_listen: reader.read(
                "FLASHDEAL_OPS_LISTEN",
                raw.ops_listen.as_ref(),
                None,
                "accepted is ADDRESS:PORT, such as 127.0.0.1:3001",
                |text| text.parse().ok().map(Some),
            ),
            log: reader.read(
                "FLASHDEAL_LOG",
                raw.log.as_ref(),
                "info".to_owned(),
                "accepted is RUST_LOG syntax, such as info or flashdeal=debug,info",
                |text| EnvFilter::try_new(text).ok().map(|_| text.to_owned()),
            ),
            log_format: reader.read(
                "FLASHDEAL_LOG_FORMAT",
                raw.log_format.as_ref(),
                LogFormat::Pretty,
                "accepted are pretty and json",
                |text| match text {
                    "pretty" => Some(LogFormat::Pretty),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                },
            ),
        };
        if settings.request_timeout <= settings.lock_timeout * 2 {
            let accepted = "must be more than twice FLASHDEAL_LOCK_TIMEOUT, so that the database \
                            gives up before the caller does";
            reader.fault(
                "FLASHDEAL_REQUEST_TIMEOUT",
                format_args!("{:?}", settings.request_timeout),
                accepted,
            );
        }
        if reader.0.is_empty() {
            Ok(settings)
        } else {
            Err(BadSettings(reader.0))
        }
    }
}

fn read_database(reader: &mut Reader, raw: &RawSettings) -> Option<PgConnectOptions> {
    let url = raw.database_url.as_ref().filter(|url| !url.is_empty())?;
    match connect::parse_url(url) {
        Ok(options) => Some(options),
        Err(reason) => {
            // The URL may hold a password.
            reader.fault("DATABASE_URL", "(not shown)", reason);
            None
        }
    }
}

fn read_secret(reader: &mut Reader, raw: &RawSettings) -> Option<Vec<u8>> {
    let (name, secret) = match (&raw.jwt_secret, &raw.jwt_secret_file) {
        (Some(secret), _) if !secret.is_empty() => {
            ("FLASHDEAL_JWT_SECRET", secret.clone().into_bytes())
        }
        (_, Some(path)) => {
            let text = read_file(reader, "FLASHDEAL_JWT_SECRET_FILE", path)?;
            let secret = text.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
            ("FLASHDEAL_JWT_SECRET_FILE", secret)
        }
        _ => return None,
    };
    if secret.len() < SECRET_MIN_BYTES {
        let accepted = format!(
            "the key has {} bytes, at least {SECRET_MIN_BYTES} are needed; `openssl rand -hex 32` \
             makes one",
            secret.len()
        );
        reader.fault(name, "(not shown)", accepted);
        return None;
    }
    Some(secret)
}

fn read_file(reader: &mut Reader, name: &str, path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            reader.fault(
                name,
                path.display(),
                format_args!("cannot be read: {error}"),
            );
            None
        }
    }
}

fn read_auth(
    reader: &mut Reader,
    raw: &RawSettings,
    listen: SocketAddr,
    token: &TokenOptions,
    secret: Option<&[u8]>,
) -> AuthMode {
    let accepted = "accepted are open and jwt";
    match raw.auth.as_deref().filter(|text| !text.is_empty()) {
        Some("open") => AuthMode::Open,
        Some("jwt") => read_verifier(reader, raw, token, secret),
        Some(other) => {
            reader.fault("FLASHDEAL_AUTH", other, accepted);
            AuthMode::Open
        }
        None if listen.ip().is_loopback() => AuthMode::Open,
        None => {
            let reason = format!(
                "must be said when FLASHDEAL_LISTEN is {listen}, which others can reach: jwt, or \
                 open if everyone who reaches it may spend everyone's money"
            );
            reader.fault("FLASHDEAL_AUTH", "(unset)", reason);
            AuthMode::Open
        }
    }
}

fn read_verifier(
    reader: &mut Reader,
    raw: &RawSettings,
    token: &TokenOptions,
    secret: Option<&[u8]>,
) -> AuthMode {
    let mut verifier = Verifier::new(token.clone());
    if let Some(secret) = secret {
        verifier = verifier.with_secret(secret);
    }
    if let Some(path) = &raw.jwks_file {
        let Some(json) = read_file(reader, "FLASHDEAL_JWKS_FILE", path) else {
            return AuthMode::Open;
        };
        verifier = match verifier.with_jwks(&json) {
            Ok(verifier) => verifier,
            Err(reason) => {
                reader.fault("FLASHDEAL_JWKS_FILE", path.display(), reason);
                return AuthMode::Open;
            }
        };
    }
    let any_key_named =
        raw.jwt_secret.is_some() || raw.jwt_secret_file.is_some() || raw.jwks_file.is_some();
    if !any_key_named {
        let reason = "needs FLASHDEAL_JWT_SECRET, FLASHDEAL_JWT_SECRET_FILE or FLASHDEAL_JWKS_FILE";
        reader.fault("FLASHDEAL_AUTH", "jwt", reason);
    }
    AuthMode::Jwt(Arc::new(verifier))
}

/// Codes whose unit has no decimals, or three or four (ISO 4217, list one).
const NOT_TWO_DECIMALS: &[&str] = &[
    "BHD", "BIF", "CLF", "CLP", "DJF", "GNF", "IQD", "ISK", "JOD", "JPY", "KMF", "KRW", "KWD",
    "LYD", "OMR", "PYG", "RWF", "TND", "UGX", "UYI", "UYW", "VND", "VUV", "XAF", "XOF", "XPF",
];

fn currency(text: &str) -> Option<String> {
    let shape = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    (shape && !NOT_TWO_DECIMALS.contains(&text)).then(|| text.to_owned())
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| {
        text.parse()
            .ok()
            .map(|address: std::net::IpAddr| address.into())
    })
}

fn origin(text: &str) -> Option<HeaderValue> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;
    let bare = !rest.is_empty() && !rest.contains(['/', '*', '?', '#', ' ', '@']);
    HeaderValue::from_str(text).ok().filter(|_| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(raw: RawSettings) -> Vec<String> {
        Settings::read(&raw)
            .err()
            .map(|bad| bad.0)
            .unwrap_or_default()
    }

    #[test]
    fn every_bad_value_is_named_at_once_and_secrets_are_not_repeated() {
        let text = |text: &str| Some(text.to_owned());
        let found = faults(RawSettings {
            database_url: text("mysql://u:hunter2@h/d"),
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
        assert_eq!(found.len(), 9, "{all}");
    }

    #[test]
    fn an_open_door_on_a_public_address_must_be_said() {
        let listen = Some("0.0.0.0:3000".to_owned());
        let raw = RawSettings {
            listen: listen.clone(),
            ..RawSettings::default()
        };
        assert_eq!(faults(raw).len(), 1);
        let auth = Some("open".to_owned());
        assert!(
            faults(RawSettings {
                listen,
                auth,
                ..RawSettings::default()
            })
            .is_empty()
        );
        assert!(faults(RawSettings::default()).is_empty());
    }

    #[test]
    fn times_have_units_and_nest() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for wrong in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "25h",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        let lock_timeout = Some("6s".to_owned());
        assert_eq!(
            faults(RawSettings {
                lock_timeout,
                ..RawSettings::default()
            })
            .len(),
            1
        );
    }
}
