//! A place for a rehearsal on somebody's server: a database of its own, or, where the role may not
//! make databases, a schema of its own. Never anything that was there before: what is made has a
//! fresh name, and only that name is ever dropped. Every wait has a limit: the server may have
//! fallen silent.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::connect::answered;
use super::error::store_error;
use crate::domain::id::{OrderId, SaleId};
use crate::ports::store::StoreError;

/// How the names of all such places begin.
const PREFIX: &str = "flashdeal_rehearsal_";
/// The role may not do this (SQLSTATE of the manual's appendix A).
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// How long the server may take to open a session. The service has two seconds; whoever clears up
/// may come to a server that is busy with what is being cleared.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one statement may take. Half a minute was seen: a DROP DATABASE waits for a checkpoint.
const STATEMENT_MAX: Duration = Duration::from_secs(60);

/// A place that is made and will be dropped.
#[derive(Debug)]
pub struct OwnPlace {
    /// Its name.
    pub name: String,
    server: PgConnectOptions,
    /// What may be there; `None` as long as nothing can be.
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Schema,
}

impl OwnPlace {
    /// Names one on a server. Nothing is made yet.
    #[must_use]
    pub fn on(server: &PgConnectOptions) -> OwnPlace {
        let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
        OwnPlace { name, server: server.clone(), kind: None }
    }

    /// Makes it. Whoever drops this half way, or sees it fail, calls [`OwnPlace::remove`].
    ///
    /// # Errors
    /// [`StoreError`]; it may be there then.
    pub async fn make(&mut self) -> Result<(), StoreError> {
        let name = self.name.clone();
        let mut admin = connect(&self.server).await.map_err(store_error)?;
        // What may be there is noted before it is asked for: the answer may never come.
        self.kind = Some(Kind::Database);
        match execute(&mut admin, format!("CREATE DATABASE {name}")).await {
            Ok(()) => {}
            Err(error) if may_not(&error) => {
                self.kind = Some(Kind::Schema);
                let made = execute(&mut admin, format!("CREATE SCHEMA {name}")).await;
                made.map_err(|error| self.refused(error))?;
            }
            Err(error) => return Err(self.refused(error)),
        }
        part(admin).await;
        self.objection().await?.map_or(Ok(()), |objection| Err(StoreError::Other(objection)))
    }

    /// How to reach it.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        match self.kind {
            Some(Kind::Schema) => self.server.clone().options([("search_path", &self.name)]),
            Some(Kind::Database) | None => self.server.clone().database(&self.name),
        }
    }

    /// A server that answered "no" has made nothing; one that was lost may have.
    fn refused(&mut self, error: sqlx::Error) -> StoreError {
        let error = store_error(error);
        if !matches!(error, StoreError::Lost(_)) {
            self.kind = None;
        }
        error
    }

    /// A pooler between us and the server may lead sessions elsewhere: look before anything is
    /// written.
    async fn objection(&self) -> Result<Option<String>, StoreError> {
        let mut session = connect(&self.options()).await.map_err(store_error)?;
        let question = sqlx::query_as(
            "SELECT current_database()::text, current_schema()::text,
                    (SELECT count(*) FROM pg_class
                     WHERE relnamespace = current_schema()::regnamespace)",
        );
        let asked = answered(STATEMENT_MAX, question.fetch_one(&mut session)).await;
        let (database, schema, tables): (String, Option<String>, i64) =
            asked.map_err(store_error)?;
        part(session).await;
        let arrived = match self.kind {
            Some(Kind::Schema) => schema.as_deref() == Some(self.name.as_str()),
            Some(Kind::Database) | None => database == self.name,
        };
        let there = format!("database {database}, schema {}", schema.unwrap_or_default());
        Ok((!arrived || tables > 0).then(|| {
            format!("a session for {} arrived in {there}, which holds {tables} tables", self.name)
        }))
    }

    /// Drops it with all that is in it, sessions included.
    ///
    /// # Errors
    /// [`StoreError`], within a bounded time; it may still be there then.
    pub async fn remove(&self) -> Result<(), StoreError> {
        let Some(statement) = self.removal() else { return Ok(()) };
        let mut admin = connect(&self.server).await.map_err(store_error)?;
        let mut removed = execute(&mut admin, statement).await;
        if self.kind == Some(Kind::Database) && removed.as_ref().is_err_and(may_not) {
            // Somebody is in it whom the role may not send away: PostgreSQL's own autovacuum, most
            // likely, which an ordinary DROP sends away by itself. Of others it waits for the end.
            removed = execute(&mut admin, format!("DROP DATABASE {}", self.name)).await;
        }
        removed.map_err(store_error)?;
        part(admin).await;
        Ok(())
    }

    /// The statement that drops it; `None` when there is nothing to drop. Without `IF EXISTS`: a
    /// server that does not know it may still be making it, and that should be said.
    #[must_use]
    pub fn removal(&self) -> Option<String> {
        let name = &self.name;
        assert!(name.starts_with(PREFIX), "only what was made here is dropped");
        Some(match self.kind? {
            Kind::Database => format!("DROP DATABASE {name} WITH (FORCE)"),
            Kind::Schema => format!("DROP SCHEMA {name} CASCADE"),
        })
    }
}

fn may_not(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error().and_then(|error| error.code());
    answer.as_deref() == Some(INSUFFICIENT_PRIVILEGE)
}

/// The ids of all orders of a sale.
///
/// # Errors
/// [`StoreError`]
pub async fn order_ids(
    connection: &mut PgConnection,
    sale: SaleId,
) -> Result<Vec<OrderId>, StoreError> {
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM orders WHERE sale_id = $1")
        .bind(sale.uuid())
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    Ok(ids.into_iter().map(OrderId::new).collect())
}

async fn connect(server: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    answered(CONNECT_MAX, server.connect()).await
}

/// The names are our own prefix and hexadecimal digits: nothing has to be quoted.
async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    let asked = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection);
    answered(STATEMENT_MAX, asked).await.map(drop)
}

/// The answers are there, whatever becomes of the session.
async fn part(session: PgConnection) {
    let _ = answered(CONNECT_MAX, session.close()).await;
}
