//! The database: a server of the benchmark's own (or an empty database that somebody names), many
//! wallets, one hot sale that nobody can empty, and the counters that tell what a cell did.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use flashdeal::adapters::postgres::embedded::{EmbeddedError, EmbeddedOptions, EmbeddedServer};
use flashdeal::adapters::postgres::seed_repo::insert_users;
use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::adapters::postgres::{audit_unhurried, connect, schema};
use flashdeal::app::demo;
use flashdeal::domain::Instant;
use flashdeal::domain::id::SaleId;
use flashdeal::domain::money::Money;
use flashdeal::domain::text::ShortText;
use flashdeal::domain::user::User;
use flashdeal::logic::ids::new_id;
use flashdeal::logic::sales::{CreateSale, create_sale};

use crate::Outcome;
use crate::options::Options;
use crate::process;

/// What each wallet holds: enough for every order of a run, and so much that all balances have the
/// same number of digits, which keeps every 201 at the same length.
pub(crate) const BALANCE_CENTS: u64 = 500_000_000;
/// The price of the only item.
pub(crate) const PRICE_CENTS: u64 = 100;
/// More units than any run sells.
const STOCK: u32 = 1_000_000_000;
/// Buyers written in one statement.
const SEED_BATCH: usize = 1_000;
/// How long a changed setting may take to reach every idle session.
const RELOAD: Duration = Duration::from_millis(300);

/// The database and what is in it.
pub(crate) struct World {
    server: Option<EmbeddedServer>,
    home: PathBuf,
    /// For services and pgbench.
    pub(crate) url: String,
    /// The hot sale.
    pub(crate) sale_id: SaleId,
    /// Wallets, numbered from 1.
    pub(crate) buyers: u32,
    session: PgConnection,
    counts_statements: bool,
}

/// Everything that only grows while orders are placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    /// Rows of `orders`.
    pub(crate) orders: i64,
    /// Bytes of write-ahead log.
    pub(crate) wal_bytes: i64,
    /// Processor time of the server's processes, where it is a child of ours.
    pub(crate) cpu: Option<Duration>,
}

impl World {
    /// Starts the server and fills the database.
    pub(crate) async fn start(options: &Options) -> Outcome<World> {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = tmp.join(format!("bench-orders-{}", std::process::id()));
        std::fs::create_dir_all(home.join("scratch"))?;
        let server = match options.database_url {
            Some(_) => None,
            None => Some(start_server(&home.join("data")).await?),
        };
        let own = server.as_ref().map(|server| server.connection().url());
        let url = options.database_url.clone().or(own).ok_or("there is no database")?;
        match fill(&url, options.buyers).await {
            Ok((session, sale_id, counts_statements)) => Ok(World {
                server,
                home,
                url,
                sale_id,
                buyers: options.buyers,
                session,
                counts_statements,
            }),
            Err(error) => {
                put_away(server, &home).await;
                Err(error)
            }
        }
    }

    /// Where scripts and logs of drivers may lie.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.home.join("scratch")
    }

    /// One row of one column of text.
    pub(crate) async fn text(&mut self, query: &'static str) -> Outcome<String> {
        let row: (String,) = sqlx::query_as(query).fetch_one(&mut self.session).await?;
        Ok(row.0)
    }

    /// Where everything stands now.
    pub(crate) async fn counters(&mut self) -> Outcome<Counters> {
        let (orders, wal_bytes): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM orders WHERE sale_id = $1),
                    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint",
        )
        .bind(self.sale_id.uuid())
        .fetch_one(&mut self.session)
        .await?;
        let postmaster = self.server.as_ref().and_then(EmbeddedServer::pid);
        Ok(Counters { orders, wal_bytes, cpu: postmaster.and_then(process::cpu_of_family) })
    }

    /// Puts every round behind a checkpoint of its own, so that none falls into one by chance.
    pub(crate) async fn checkpoint(&mut self) -> Outcome<()> {
        sqlx::query("CHECKPOINT").execute(&mut self.session).await?;
        Ok(())
    }

    /// Checks the books; the number of orders in them, or what is wrong.
    pub(crate) async fn audit(&mut self) -> Outcome<i64> {
        let audit = audit_unhurried(&mut self.session).await?;
        match audit.discrepancies.first() {
            None => Ok(audit.orders),
            Some(first) => Err(format!("the books do not balance: {first}").into()),
        }
    }

    /// Begins or ends counting statements. `false` where the server cannot.
    pub(crate) async fn count_statements(&mut self, track: Track) -> Outcome<bool> {
        if !self.counts_statements {
            return Ok(false);
        }
        for statement in [track.statement(), "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut self.session).await?;
        }
        tokio::time::sleep(RELOAD).await;
        if matches!(track, Track::All) {
            sqlx::query("SELECT pg_stat_statements_reset()").execute(&mut self.session).await?;
        }
        Ok(true)
    }

    /// Statements that were executed at least `calls_min` times since counting began.
    pub(crate) async fn statements(&mut self, calls_min: i64) -> Outcome<Vec<(String, i64)>> {
        let rows = sqlx::query_as(
            "SELECT regexp_replace(query, '\\s+', ' ', 'g'), calls FROM pg_stat_statements
             WHERE calls >= $1 ORDER BY calls DESC, query",
        );
        Ok(rows.bind(calls_min).fetch_all(&mut self.session).await?)
    }

    /// Stops the server and clears up.
    pub(crate) async fn stop(self) {
        // A session that is lost already needs no farewell.
        let _ = self.session.close().await;
        put_away(self.server, &self.home).await;
    }
}

/// What `pg_stat_statements` counts. It is loaded all the time and asleep while cells run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Track {
    /// Every statement of a client.
    All,
    /// Nothing.
    None,
}

impl Track {
    fn statement(self) -> &'static str {
        match self {
            Track::All => "ALTER SYSTEM SET pg_stat_statements.track = 'top'",
            Track::None => "ALTER SYSTEM SET pg_stat_statements.track = 'none'",
        }
    }
}

/// The shipped, durable server; with `pg_stat_statements` where it is installed.
async fn start_server(data: &Path) -> Result<EmbeddedServer, EmbeddedError> {
    let plain = EmbeddedOptions::new(data);
    let counting =
        plain.clone().with_test_setting("shared_preload_libraries", "pg_stat_statements");
    match EmbeddedServer::start(counting).await {
        Ok(server) => Ok(server),
        Err(_not_installed) => EmbeddedServer::start(plain).await,
    }
}

async fn put_away(server: Option<EmbeddedServer>, home: &Path) {
    if let Some(server) = server
        && let Err(error) = server.stop().await
    {
        eprintln!("orders: the server was not stopped: {error}");
    }
    if let Err(error) = std::fs::remove_dir_all(home) {
        eprintln!("orders: {} was not removed: {error}", home.display());
    }
}

async fn fill(url: &str, buyers: u32) -> Outcome<(PgConnection, SaleId, bool)> {
    let options: PgConnectOptions = connect::parse_url(url)?;
    let mut session = PgConnection::connect_with(&options).await?;
    if schema::version_found(&mut session).await? != 0 {
        return Err("the database is not empty: name one that may be filled with orders".into());
    }
    if let Some(objection) = connect::objection_to(&mut session).await? {
        return Err(objection.into());
    }
    let pool = connect::pool(options, 2);
    schema::migrate(&pool).await?;
    schema::settle_currency(&pool, "USD").await?;
    make_buyers(&mut session, buyers).await?;
    let sale_id = open_sale(&PgStore::admitted(pool.clone())).await?;
    pool.close().await;
    sqlx::raw_sql(include_str!("sql/setup.sql")).execute(&mut session).await?;
    let counts = sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    let loaded = counts.execute(&mut session).await.is_ok()
        && sqlx::query("SELECT count(*) FROM pg_stat_statements")
            .execute(&mut session)
            .await
            .is_ok();
    sqlx::query("VACUUM ANALYZE").execute(&mut session).await?;
    Ok((session, sale_id, loaded))
}

async fn make_buyers(session: &mut PgConnection, count: u32) -> Outcome<()> {
    let created_at: Instant =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *session).await?;
    let user = |number: u32| User {
        id: demo::buyer(number.into()),
        external_id: None,
        name: None,
        created_at,
    };
    let users: Vec<User> = (1..=count).map(user).collect();
    for batch in users.chunks(SEED_BATCH) {
        insert_users(session, batch, Money::from_cents(BALANCE_CENTS)).await?;
    }
    Ok(())
}

async fn open_sale(store: &PgStore) -> Outcome<SaleId> {
    let request = CreateSale {
        sale_id: new_id(),
        name: ShortText::parse("Hot sale")?,
        sku: None,
        unit_price: Money::from_cents(PRICE_CENTS),
        stock: STOCK,
        per_user_limit: None,
        starts_at: None,
        ends_at: None,
        key: None,
    };
    let sale_id = request.sale_id;
    create_sale(store, Duration::from_secs(10), request).await?;
    Ok(sale_id)
}
