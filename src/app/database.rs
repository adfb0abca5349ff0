//! Which database: the shop's own (`DATABASE_URL`) or the embedded one, and whether it is ready.

use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, timeout};

use super::config::Settings;
use crate::adapters::postgres::connect::{self, SessionLimits};
use crate::adapters::postgres::embedded::{EmbeddedError, EmbeddedOptions, EmbeddedServer, Found};
use crate::adapters::postgres::schema::{self, SchemaError};
use crate::adapters::postgres::servers::Servers;
use crate::adapters::postgres::sessions::Sessions;
use crate::adapters::postgres::{trust, words};
use crate::ports::store::StoreError;

/// The session that watches the database, and that of an audit.
const SESSIONS_BESIDE_POOL: u32 = 2;

/// A database that can be connected to.
pub struct Database {
    /// Where.
    pub servers: Servers,
    /// The embedded server, when it is ours or another process's.
    pub embedded: Option<Found>,
}

/// Why there is no database to work with. Each is one sentence and an exit code.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The embedded server.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// Nobody answered in time.
    #[error("the database did not answer within {0:?}: {1}")]
    Timeout(Duration, String),
    /// The server cannot be trusted with money.
    #[error("{0}")]
    Objection(String),
    /// The schema does not fit.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The database said something else.
    #[error("database: {0}")]
    Store(#[from] StoreError),
    /// The database said something else.
    #[error("database: {}", words(.0))]
    Sqlx(#[from] sqlx::Error),
}

/// How long a server that is there may take to say what it is.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a server may take for what is small; its own limits are shorter.
const SETTLED_MAX: Duration = Duration::from_secs(60);

impl Database {
    /// For the service: the named database, or an embedded server of its own.
    ///
    /// # Errors
    /// [`DatabaseError::Embedded`], `InUse` among them.
    pub async fn for_service(settings: &Settings) -> Result<Database, DatabaseError> {
        if let Some(servers) = &settings.database {
            return Ok(Database { servers: servers.clone(), embedded: None });
        }
        let server = EmbeddedServer::start(Database::options(settings)).await?;
        Database::embedded(Found::Ours(server))
    }

    /// For a command: the named database, the embedded server of a running service, or one that is
    /// started for the command's time.
    ///
    /// # Errors
    /// [`DatabaseError::Embedded`]
    pub async fn for_command(settings: &Settings) -> Result<Database, DatabaseError> {
        if let Some(servers) = &settings.database {
            return Ok(Database { servers: servers.clone(), embedded: None });
        }
        let found = EmbeddedServer::start_or_attach(Database::options(settings)).await?;
        Database::embedded(found)
    }

    /// For a command that only reads: as [`Database::for_command`], but it makes no database where
    /// there is none.
    ///
    /// # Errors
    /// [`DatabaseError::Embedded`], `NoCluster` among them.
    pub async fn for_reading(settings: &Settings) -> Result<Database, DatabaseError> {
        if let Some(servers) = &settings.database {
            return Ok(Database { servers: servers.clone(), embedded: None });
        }
        let options = Database::options(settings).existing_only();
        Database::embedded(EmbeddedServer::start_or_attach(options).await?)
    }

    fn options(settings: &Settings) -> EmbeddedOptions {
        EmbeddedOptions::new(&settings.data_dir).with_log_files(settings.wal_files)
    }

    fn embedded(found: Found) -> Result<Database, DatabaseError> {
        let url = found.connection().url();
        let servers = Servers::parse(&url).map_err(DatabaseError::Objection)?;
        Ok(Database { servers, embedded: Some(found) })
    }

    /// A pool under the house's limits.
    pub fn pool(&self, settings: &Settings) -> PgPool {
        connect::pool(self.limited(settings), settings.db_connections)
    }

    /// Its servers, under the house's limits.
    pub fn limited(&self, settings: &Settings) -> Servers {
        self.servers.clone().with_limits(SessionLimits::under(settings.lock_timeout))
    }

    /// Sessions of such a pool, the last used first.
    pub fn sessions(&self, settings: &Settings) -> Sessions {
        Sessions::resting(self.pool(settings), self.limited(settings))
    }

    /// Leads a pool that was made before a server was chosen.
    pub fn lead(&self, pool: &PgPool, settings: &Settings) {
        self.limited(settings).lead(pool);
    }

    /// One session without a time limit for statements, for commands.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn unhurried(&self, settings: &Settings) -> Result<PgConnection, DatabaseError> {
        let limits = SessionLimits {
            lock_timeout: settings.lock_timeout,
            statement_timeout: Duration::ZERO,
        };
        Ok(self.servers.clone().with_limits(limits).connect().await?)
    }

    /// Waits until a server answers that fits, at most `settings.startup_timeout`, and refuses one
    /// that would lose acknowledged orders. It is the chosen one from here on.
    ///
    /// # Errors
    /// [`DatabaseError::Timeout`] or [`DatabaseError::Objection`]
    pub async fn wait(&self, settings: &Settings) -> Result<(), DatabaseError> {
        let began = Instant::now();
        let limits = SessionLimits::under(settings.lock_timeout);
        let servers = self.limited(settings);
        let mut said = false;
        loop {
            let left = settings.startup_timeout.saturating_sub(began.elapsed());
            let found = timeout(left.max(ANSWER_MAX), fit(&servers, limits)).await;
            let reason = match found.unwrap_or_else(|_| Ok(Err("no answer".to_owned())))? {
                Ok(objection) => {
                    return objection.map_or(Ok(()), |text| Err(DatabaseError::Objection(text)));
                }
                Err(reason) => reason,
            };
            if began.elapsed() >= settings.startup_timeout {
                return Err(DatabaseError::Timeout(settings.startup_timeout, reason));
            }
            if !said {
                tracing::info!(reason, "waiting for the database");
                said = true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Migrates or checks the schema, settles the currency, and looks whether the pool has room.
    ///
    /// # Errors
    /// [`DatabaseError::Schema`]
    pub async fn prepare(&self, pool: &PgPool, settings: &Settings) -> Result<(), DatabaseError> {
        if settings.migrate {
            for applied in schema::migrate(pool).await? {
                let schema::Applied { version, description } = applied;
                tracing::info!(version, description, "migration applied");
            }
        } else {
            schema::check_version(pool).await?;
        }
        let rest = async {
            schema::settle_currency(pool, &settings.currency).await?;
            warn_of_little_room(pool, settings.db_connections).await
        };
        let silent = |_| Err(DatabaseError::Timeout(SETTLED_MAX, "no answer".to_owned()));
        timeout(SETTLED_MAX, rest).await.unwrap_or_else(silent)
    }

    /// Lets go: an embedded server of ours is stopped.
    pub async fn release(self) {
        if let Some(found) = self.embedded
            && let Err(error) = found.release().await
        {
            tracing::error!(%error, "the embedded server was not stopped");
        }
    }
}

/// Whether the server that is found now fits: its objection, if it has one; or why nobody can say.
async fn fit(
    servers: &Servers,
    limits: SessionLimits,
) -> Result<Result<Option<String>, String>, DatabaseError> {
    let mut connection = match servers.choose().await {
        Ok(connection) => connection,
        Err(sqlx::Error::Database(error)) if !passing(&*error) => {
            return Err(sqlx::Error::Database(error).into());
        }
        Err(error) => return Ok(Err(words(&error))),
    };
    match trust::unfit(&mut connection, limits).await {
        Ok(objection) => {
            // The answer is there, whatever becomes of the session.
            let _ = timeout(ANSWER_MAX, connection.close()).await;
            Ok(Ok(objection))
        }
        Err(StoreError::Lost(reason) | StoreError::Unavailable(reason)) => Ok(Err(reason)),
        Err(error) => Err(error.into()),
    }
}

/// A pool that its server cannot fill shows in the rush only, as orders that find no session.
async fn warn_of_little_room(pool: &PgPool, wanted: u32) -> Result<(), DatabaseError> {
    let wanted = wanted + SESSIONS_BESIDE_POOL;
    let most = trust::sessions_max(&mut *pool.acquire().await?).await?;
    if most < wanted {
        tracing::warn!(
            most,
            wanted,
            "this login cannot have as many sessions as FLASHDEAL_DB_CONNECTIONS needs: lower it, \
             or raise max_connections, or the CONNECTION LIMIT of the role or the database; \
             behind a pooler its own limit counts"
        );
    }
    Ok(())
}

/// Whether a server's "no" passes by itself: starting up, shutting down, or full.
fn passing(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P") || code == "53300")
}
