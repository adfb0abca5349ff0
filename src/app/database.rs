//! Which database: the shop's own (`DATABASE_URL`) or the embedded one, and whether it is ready.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::Instant;

use super::config::Settings;
use crate::adapters::postgres::connect::{self, SessionLimits};
use crate::adapters::postgres::embedded::{EmbeddedError, EmbeddedOptions, EmbeddedServer, Found};
use crate::adapters::postgres::schema::{self, SchemaError};
use crate::ports::store::StoreError;

/// A database that can be connected to.
pub struct Database {
    /// How.
    pub options: PgConnectOptions,
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
    #[error("database: {0}")]
    Sqlx(#[from] sqlx::Error),
}

impl Database {
    /// For the service: the named database, or an embedded server of its own.
    ///
    /// # Errors
    /// [`DatabaseError::Embedded`], `InUse` among them.
    pub async fn for_service(settings: &Settings) -> Result<Database, DatabaseError> {
        if let Some(options) = &settings.database {
            return Ok(Database { options: options.clone(), embedded: None });
        }
        let server = EmbeddedServer::start(EmbeddedOptions::new(&settings.data_dir)).await?;
        Database::embedded(Found::Ours(server))
    }

    /// For a command: the named database, the embedded server of a running service, or one that is
    /// started for the command's time.
    ///
    /// # Errors
    /// [`DatabaseError::Embedded`]
    pub async fn for_command(settings: &Settings) -> Result<Database, DatabaseError> {
        if let Some(options) = &settings.database {
            return Ok(Database { options: options.clone(), embedded: None });
        }
        let options = EmbeddedOptions::new(&settings.data_dir);
        Database::embedded(EmbeddedServer::start_or_attach(options).await?)
    }

    fn embedded(found: Found) -> Result<Database, DatabaseError> {
        let url = found.connection().url();
        let options = connect::parse_url(&url).map_err(DatabaseError::Objection)?;
        Ok(Database { options, embedded: Some(found) })
    }

    /// A pool under the house's limits.
    pub fn pool(&self, settings: &Settings) -> PgPool {
        let limits = SessionLimits::under(settings.lock_timeout);
        let options = connect::with_limits(self.options.clone(), limits);
        connect::pool(options, settings.db_connections)
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
        let options = connect::with_limits(self.options.clone(), limits);
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// Waits until the server answers, at most `settings.startup_timeout`, and refuses one that
    /// would lose acknowledged orders.
    ///
    /// # Errors
    /// [`DatabaseError::Timeout`] or [`DatabaseError::Objection`]
    pub async fn wait(&self, settings: &Settings) -> Result<(), DatabaseError> {
        let began = Instant::now();
        let limits = SessionLimits::under(settings.lock_timeout);
        let options = connect::with_limits(self.options.clone(), limits);
        let mut said = false;
        loop {
            let attempt = tokio::time::timeout(Duration::from_secs(5), options.connect()).await;
            let reason = match attempt {
                Ok(Ok(mut connection)) => {
                    let objection = connect::objection_to(&mut connection).await?;
                    connection.close().await?;
                    return objection.map_or(Ok(()), |text| Err(DatabaseError::Objection(text)));
                }
                Ok(Err(sqlx::Error::Database(error))) if !passing(&*error) => {
                    return Err(sqlx::Error::Database(error).into());
                }
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "no answer to a connection attempt within 5 s".to_owned(),
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

    /// Migrates or checks the schema, and settles the currency.
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
        Ok(schema::settle_currency(pool, &settings.currency).await?)
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

/// Whether a server's "no" passes by itself: starting up, shutting down, or full.
fn passing(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P") || code == "53300")
}
