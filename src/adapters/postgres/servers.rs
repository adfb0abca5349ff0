//! Several servers, one of which can write: which one it is, and how a pool follows it.
//!
//! What must stay true: a session is opened on the first server that answers and fits
//! (`target_session_attrs`), and when another server has become the one, sessions of the pool that
//! lead to the old one are thrown away, not used. Who watches decides (`app::monitor`); the pool
//! only follows (docs/adr/0013-several-servers.md).
//!
//! Source: the PostgreSQL manual, libpq, "Specifying Multiple Hosts" and `target_session_attrs`.
//! As there, hosts are preferred in their order, and a host that refuses the login ends the search.
//! Other than there, they are asked at the same time: a host that is silent costs its time-out
//! once, however many there are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions, PgConnection, Row};

use super::connect::{SessionLimits, answered, with_limits};
use super::database_url::{DatabaseUrl, Wanted};
use super::error::words;

/// How long a server may take to open a session; `connect_timeout` says otherwise. libpq's manual
/// recommends no less.
const PATIENCE: Duration = Duration::from_secs(2);

/// The servers of a `DATABASE_URL`. Clones know the same choice.
#[derive(Debug, Clone)]
pub struct Servers {
    servers: Vec<PgConnectOptions>,
    wanted: Wanted,
    patience: Duration,
    choice: Arc<Choice>,
}

/// Which server was last found to fit, and since when sessions lead there.
#[derive(Debug, Default)]
struct Choice {
    at: AtomicUsize,
    moved: Mutex<Option<Instant>>,
}

impl Choice {
    fn note_move(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl From<PgConnectOptions> for Servers {
    fn from(server: PgConnectOptions) -> Servers {
        Servers {
            servers: vec![server],
            wanted: Wanted::Any,
            patience: PATIENCE,
            choice: Arc::default(),
        }
    }
}

impl Servers {
    /// Reads a `DATABASE_URL`.
    ///
    /// # Errors
    /// A sentence without the URL itself, which may hold a password.
    pub fn parse(url: &str) -> Result<Servers, String> {
        let DatabaseUrl { servers, wanted, patience } = DatabaseUrl::parse(url)?;
        let patience = patience.unwrap_or(PATIENCE);
        Ok(Servers { servers, wanted, patience, choice: Arc::default() })
    }

    /// The same servers, with the house's limits for sessions.
    #[must_use]
    pub fn with_limits(mut self, limits: SessionLimits) -> Servers {
        self.servers = self.servers.into_iter().map(|one| with_limits(one, limits)).collect();
        self
    }

    /// The server that was chosen last; before that, the first.
    pub fn chosen(&self) -> &PgConnectOptions {
        let at = self.choice.at.load(Ordering::Acquire);
        self.servers.get(at).expect("a choice is one of the servers")
    }

    /// How the chosen server is called in a sentence.
    pub fn name(&self) -> String {
        name(self.chosen())
    }

    /// A session on the first server that answers and fits.
    ///
    /// # Errors
    /// What the only server said, or of several what each said.
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.look().await.map(|(_, session)| session)
    }

    /// As [`Servers::connect`], and from now on this server is the chosen one.
    ///
    /// # Errors
    /// As [`Servers::connect`]; then the choice stays.
    pub async fn choose(&self) -> Result<PgConnection, sqlx::Error> {
        let (at, session) = self.look().await?;
        if self.choice.at.swap(at, Ordering::AcqRel) != at {
            self.choice.note_move();
        }
        Ok(session)
    }

    /// Leads a pool to the chosen server.
    pub fn lead(&self, pool: &PgPool) {
        pool.set_connect_options(self.chosen().clone());
    }

    /// Whether a session of this age may lead to a server that is no longer the chosen one.
    pub(super) fn left_behind(&self, age: Duration) -> bool {
        let moved = *self.choice.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.is_some_and(|moved| age >= moved.elapsed())
    }

    /// The chosen server cannot write any more: where one that can is wanted, sessions that lead
    /// there are not used again.
    pub fn leave(&self) {
        if self.wanted != Wanted::Any {
            self.choice.note_move();
        }
    }

    /// A server fell silent or went, and one is there again: sessions from before may lead nowhere
    /// without anybody having been told, so none of them is used again.
    pub fn start_anew(&self) {
        self.choice.note_move();
    }

    /// Whether a new session may be used.
    ///
    /// # Errors
    /// When its server does not answer.
    pub(super) async fn fit(&self, session: &mut PgConnection) -> Result<bool, sqlx::Error> {
        fits(self.wanted, session).await
    }

    /// Whether the server of a session can write.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn can_write(&self, session: &mut PgConnection) -> Result<bool, sqlx::Error> {
        can_write(self.wanted, session).await
    }

    /// Asks all at once and takes them in their order.
    async fn look(&self) -> Result<(usize, PgConnection), sqlx::Error> {
        let (wanted, patience) = (self.wanted, self.patience);
        let asked = self.servers.iter().cloned().map(|server| ask(server, wanted, patience));
        let mut answers = futures_util::stream::iter(asked).buffered(self.servers.len());
        let mut reasons = Vec::new();
        let mut at = 0;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(session) => return Ok((at, session)),
                Err(error) if self.servers.len() == 1 || refuses_login(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    reasons.push(format!("{}: {}", name(&self.servers[at]), words(&error)));
                }
            }
            at += 1;
        }
        Err(away(format!("no server fits ({})", reasons.join("; "))))
    }
}

async fn ask(
    server: PgConnectOptions,
    wanted: Wanted,
    patience: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let asked = async {
        let mut session = server.connect().await?;
        match fits(wanted, &mut session).await? {
            true => Ok(session),
            false => Err(away("it cannot write".to_owned())),
        }
    };
    answered(patience, asked).await
}

async fn fits(wanted: Wanted, session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    Ok(wanted == Wanted::Any || can_write(wanted, session).await?)
}

async fn can_write(wanted: Wanted, session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let question = match wanted {
        Wanted::Any | Wanted::ReadWrite => {
            "SELECT current_setting('transaction_read_only') = 'off'"
        }
        Wanted::Primary => "SELECT NOT pg_is_in_recovery()",
    };
    // As plain text: a pooler may give the two halves of a prepared statement to two servers.
    sqlx::raw_sql(question).fetch_one(session).await?.try_get(0)
}

/// Class 28: the next server would say the same of a wrong password, and one that is asked again
/// and again may lock the account.
pub fn refuses_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28"))
}

fn away(reason: String) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::NotConnected, reason))
}

/// How a server is called in a sentence.
pub(super) fn name(server: &PgConnectOptions) -> String {
    let port = server.get_port();
    match server.get_socket() {
        Some(directory) => format!("{}:{port}", directory.display()),
        None => format!("{}:{port}", server.get_host()),
    }
}
