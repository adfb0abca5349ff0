//! Sessions: how they are opened, what bounds them, and what a server must be to be trusted.
//!
//! Every wait on the server has a limit, and the limits nest: a session that sits idle in its
//! transaction is ended before those who wait for its locks give up, and those give up before the
//! request does (`idle_in_transaction_session_timeout` < `lock_timeout` < `statement_timeout` <
//! request timeout).

use std::io;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::timeout;

use super::error::words;
use super::servers::Servers;
use super::trust::objection_to;

/// How a transaction of the house that writes begins: whatever a database or a role defaults to,
/// and told no at once by a read-only server.
///
/// Plans are made once for each session: every statement in such a transaction is a look-up by key
/// or a write of arrays, so no value could want another plan, and planning the write of a lone
/// order anew cost the server more than executing it. For this transaction only: reads with filters
/// may gain by a plan of their own, and behind a pooler nothing is left on the session.
///
/// And never by reading a whole table: such a plan, made while a shop was new and its tables small,
/// would be kept under the lock of its first rush.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                         SET LOCAL plan_cache_mode = force_generic_plan; \
                         SET LOCAL enable_seqscan = off";

/// How long a session may be.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// A wait for one lock.
    pub lock_timeout: Duration,
    /// One statement, waits included; zero for none.
    pub statement_timeout: Duration,
}

impl Default for SessionLimits {
    /// The limits of the default settings.
    fn default() -> Self {
        SessionLimits::under(Duration::from_secs(2))
    }
}

impl SessionLimits {
    /// Limits that nest under `lock_timeout`.
    pub fn under(lock_timeout: Duration) -> SessionLimits {
        SessionLimits { lock_timeout, statement_timeout: lock_timeout * 2 }
    }

    /// Zero would switch the limit off.
    pub(super) fn idle_in_transaction(&self) -> Duration {
        (self.lock_timeout * 3 / 4).max(Duration::from_millis(1))
    }

    /// How long the answer to one statement can take: the server's own limit, and a second for the
    /// way. Beyond it the session is silent, not slow.
    pub fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(1)
    }
}

/// A session that rested no longer than this is used without a question.
const REST_UNASKED: Duration = Duration::from_secs(1);
/// How long a session that has rested has to answer before another one is taken.
const ALIVE_WITHIN: Duration = Duration::from_millis(500);

/// Parameters of a URL that sqlx honours.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// Parameters that are about waiting only; the house has limits of its own.
const IGNORED: &[&str] = &["connect_timeout", "keepalives", "keepalives_idle"];
/// What `sslmode` may be, as in libpq.
const TLS_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Reads a `DATABASE_URL`. `search_path` (or `currentSchema`) names the schema to live in; a
/// parameter that would be dropped in silence is refused, since it may be a wish for security.
///
/// # Errors
/// A sentence without the URL itself, which may hold a password.
pub fn parse_url(url: &str) -> Result<PgConnectOptions, String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("must begin with postgres:// or postgresql://".to_owned());
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parameters = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "search_path" | "currentSchema" => {
                parameters.push(format!("options[search_path]={value}"));
            }
            "sslmode" | "ssl-mode" if !TLS_MODES.contains(&value.to_lowercase().as_str()) => {
                return Err(format!("its {name} is none of {}", TLS_MODES.join(", ")));
            }
            "port" if !value.parse::<u16>().is_ok_and(|port| port > 0) => {
                return Err("its port is no number from 1 to 65535".to_owned());
            }
            name if PARAMETERS.contains(&name) || name.starts_with("options[") => {
                parameters.push(pair.to_owned());
            }
            name if IGNORED.contains(&name) => {}
            name => {
                let shown: String = name.chars().take(40).flat_map(char::escape_default).collect();
                return Err(format!("its parameter {shown} is not supported; leave it out"));
            }
        }
    }
    let url = format!("{base}?{}", parameters.join("&"));
    PgConnectOptions::from_str(&url).map_err(|error| words(&error))
}

/// Adds the house's limits and name to connection options.
pub fn with_limits(options: PgConnectOptions, limits: SessionLimits) -> PgConnectOptions {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    options
        .application_name("flashdeal")
        .options([
            ("lock_timeout", milliseconds(limits.lock_timeout)),
            ("statement_timeout", milliseconds(limits.statement_timeout)),
            ("idle_in_transaction_session_timeout", milliseconds(limits.idle_in_transaction())),
        ])
        .disable_statement_logging()
}

/// What a server says before it counts as silent, which the session itself would never notice.
///
/// # Errors
/// The answer's own, or that there was none in time.
pub(super) async fn answered<V, E: From<sqlx::Error>>(
    limit: Duration,
    answer: impl Future<Output = Result<V, E>>,
) -> Result<V, E> {
    timeout(limit, answer).await.unwrap_or_else(|_elapsed| {
        let reason = format!("no answer within {limit:?}");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)).into())
    })
}

/// A pool that opens its sessions when they are needed. Admission keeps it from being a queue, so
/// waiting for it is short or means that the database is away. Its sessions lead to the server that
/// was chosen last, and to no other.
pub fn pool(servers: impl Into<Servers>, connections: u32) -> PgPool {
    let servers = servers.into();
    let (chosen, of_new_sessions) = (servers.chosen().clone(), servers.clone());
    PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(3))
        .idle_timeout(None)
        .max_lifetime(Duration::from_secs(3600))
        // BEGIN finds out for free whether a session still lives; see `store`.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let left_behind = servers.left_behind(meta.age);
            Box::pin(async move {
                Ok(!left_behind && answers_after_rest(connection, meta.idle_for).await)
            })
        })
        .after_connect(move |connection, _| {
            let servers = of_new_sessions.clone();
            Box::pin(async move { after_connect(&servers, connection).await })
        })
        .connect_lazy_with(chosen)
}

/// Whether a session may be used that has rested for so long. Under load none rests long; after a
/// rest it may have died, and where nobody told us, it would be waited for until nobody has time
/// left.
pub(super) async fn answers_after_rest(session: &mut PgConnection, rested: Duration) -> bool {
    rested <= REST_UNASKED || matches!(timeout(ALIVE_WITHIN, session.ping()).await, Ok(Ok(())))
}

/// No session takes orders that its server could lose. And a vanished client is noticed while its
/// statement waits for a lock; not every platform can.
async fn after_connect(
    servers: &Servers,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    if !servers.fit(connection).await? {
        return Err(sqlx::Error::Protocol("the server cannot write".to_owned()));
    }
    let objection = objection_to(connection).await;
    if let Some(objection) = objection.map_err(|error| sqlx::Error::Protocol(error.to_string()))? {
        return Err(sqlx::Error::Protocol(objection));
    }
    notice_vanished(connection, "SET client_connection_check_interval = '5s'").await
}

/// Has a session notice while a statement runs that its client is gone. `setting` says how often it
/// looks.
///
/// # Errors
/// The session's own; a server that cannot look is none.
pub(super) async fn notice_vanished(
    connection: &mut PgConnection,
    setting: &'static str,
) -> Result<(), sqlx::Error> {
    match sqlx::query(setting).execute(&mut *connection).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "client_connection_check_interval is not available");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_honoured_or_refused_but_never_dropped() {
        for good in [
            "postgres://u@h/d",
            "postgres://u@h/d?search_path=shop",
            "postgresql://u@h/d?sslmode=require&connect_timeout=5",
            "postgres://u@h/d?options=-csearch_path%3Dshop",
        ] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in ["mysql://u@h/d", "postgres://u@h/d?target_session_attrs=read-write", "h", ""] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
        assert!(!parse_url("postgres://u:hunter2@h/d?x=hunter2").unwrap_err().contains("hunter2"));
    }
}
