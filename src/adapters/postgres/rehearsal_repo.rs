//! A place for a rehearsal on somebody's server: a database of its own, or, where the role may not
//! make databases, a schema of its own. Never anything that was there before: what is made has a
//! fresh name, and only that name is ever dropped.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::error::store_error;
use crate::domain::id::{OrderId, SaleId};
use crate::ports::store::StoreError;

/// How the names of all such places begin.
const PREFIX: &str = "flashdeal_rehearsal_";
/// The role may not do this (SQLSTATE of the manual's appendix A).
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// A place that was made and will be dropped.
#[derive(Debug)]
pub struct OwnPlace {
    /// How to reach it.
    pub options: PgConnectOptions,
    /// Its name.
    pub name: String,
    server: PgConnectOptions,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Schema,
}

impl OwnPlace {
    /// Makes one on the server of `server`.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was made then.
    pub async fn make(server: &PgConnectOptions) -> Result<OwnPlace, StoreError> {
        let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
        let mut admin = server.connect().await.map_err(store_error)?;
        let kind = match execute(&mut admin, format!("CREATE DATABASE {name}")).await {
            Ok(()) => Kind::Database,
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) =>
            {
                let made = execute(&mut admin, format!("CREATE SCHEMA {name}")).await;
                made.map_err(store_error)?;
                Kind::Schema
            }
            Err(error) => return Err(store_error(error)),
        };
        admin.close().await.map_err(store_error)?;
        let options = match kind {
            Kind::Database => server.clone().database(&name),
            Kind::Schema => server.clone().options([("search_path", &name)]),
        };
        let place = OwnPlace { options, name, server: server.clone(), kind };
        match place.objection().await {
            Ok(None) => Ok(place),
            Ok(Some(objection)) => {
                place.remove().await?;
                Err(StoreError::Other(objection))
            }
            Err(error) => {
                place.remove().await?;
                Err(error)
            }
        }
    }

    /// A pooler between us and the server may lead sessions elsewhere: look before anything is
    /// written.
    async fn objection(&self) -> Result<Option<String>, StoreError> {
        let mut session = self.options.connect().await.map_err(store_error)?;
        let (database, schema): (String, Option<String>) =
            sqlx::query_as("SELECT current_database()::text, current_schema()::text")
                .fetch_one(&mut session)
                .await
                .map_err(store_error)?;
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace",
        )
        .fetch_one(&mut session)
        .await
        .map_err(store_error)?;
        session.close().await.map_err(store_error)?;
        let arrived = match self.kind {
            Kind::Database => database == self.name,
            Kind::Schema => schema.as_deref() == Some(self.name.as_str()),
        };
        let there = format!("database {database}, schema {}", schema.unwrap_or_default());
        Ok((!arrived || tables > 0).then(|| {
            format!("a session for {} arrived in {there}, which holds {tables} tables", self.name)
        }))
    }

    /// Drops it with all that is in it, sessions included.
    ///
    /// # Errors
    /// [`StoreError`]; it may still be there then.
    pub async fn remove(self) -> Result<(), StoreError> {
        assert!(self.name.starts_with(PREFIX), "only what was made here is dropped");
        let name = &self.name;
        let statement = match self.kind {
            Kind::Database => format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            Kind::Schema => format!("DROP SCHEMA IF EXISTS {name} CASCADE"),
        };
        let mut admin = self.server.connect().await.map_err(store_error)?;
        execute(&mut admin, statement).await.map_err(store_error)?;
        admin.close().await.map_err(store_error)
    }
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

/// The names are our own prefix and hexadecimal digits: nothing has to be quoted.
async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.map(|_| ())
}
