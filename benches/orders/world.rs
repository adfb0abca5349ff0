//! One database: many wallets, sales that nobody can empty, and the counters that tell what a cell
//! did.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::{Connection, PgConnection};

use flashdeal::adapters::postgres::connect::SessionLimits;
use flashdeal::adapters::postgres::seed_repo::insert_users;
use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::adapters::postgres::trust;
use flashdeal::adapters::postgres::{audit_unhurried, connect, schema};
use flashdeal::app::demo;
use flashdeal::domain::Instant;
use flashdeal::domain::id::SaleId;
use flashdeal::domain::money::Money;
use flashdeal::domain::text::ShortText;
use flashdeal::domain::user::User;
use flashdeal::logic::ids::new_id;
use flashdeal::logic::sales::{CreateSale, create_sale};

use crate::load::Asked;
use crate::server::Server;
use crate::{Outcome, process};

/// What each wallet holds: enough for every order of a run, and so much that all balances have the
/// same number of digits, which keeps every 201 at the same length.
pub(crate) const BALANCE_CENTS: u64 = 500_000_000;
/// The price of every item.
pub(crate) const PRICE_CENTS: u64 = 100;
/// More units than any run sells.
const STOCK: u32 = 1_000_000_000;
/// Buyers written in one statement.
const SEED_BATCH: usize = 1_000;
/// Orders written in one statement.
const ORDERS_AT_A_TIME: u32 = 50_000;

/// The database and what is in it.
pub(crate) struct World {
    /// For services and pgbench.
    pub(crate) url: String,
    /// The sales that are open. The first is the hot one.
    pub(crate) sales: Arc<[SaleId]>,
    /// Wallets, numbered from 1.
    pub(crate) buyers: u32,
    /// Where scripts and logs of drivers may lie.
    pub(crate) scratch: PathBuf,
    /// A session of the benchmark's own.
    pub(crate) session: PgConnection,
    postmaster: Option<u32>,
}

/// Everything that only grows while orders are placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    /// Orders, as the sales count them; the audit compares with the rows.
    pub(crate) orders: i64,
    /// Bytes of write-ahead log.
    pub(crate) wal_bytes: i64,
    /// Processor time of the server's processes, where it is a child of ours.
    pub(crate) cpu: Option<Duration>,
}

impl World {
    /// A new database with `buyers` wallets and so many sales.
    pub(crate) async fn new(server: &Server, buyers: u32, sales: usize) -> Outcome<World> {
        let url = server.make_database().await?;
        let options = connect::parse_url(&url)?;
        let mut session = PgConnection::connect_with(&options).await?;
        if let Some(objection) = trust::objection_to(&mut session).await? {
            return Err(objection.into());
        }
        let pool = connect::pool(options, 2);
        schema::migrate(&pool).await?;
        schema::settle_currency(&pool, "USD").await?;
        make_buyers(&mut session, buyers).await?;
        let store = PgStore::admitted(pool.clone());
        let mut ids = Vec::with_capacity(sales);
        for _ in 0..sales {
            ids.push(open_sale(&store, STOCK).await?);
        }
        pool.close().await;
        sqlx::raw_sql(include_str!("sql/setup.sql")).execute(&mut session).await?;
        sqlx::query("VACUUM ANALYZE").execute(&mut session).await?;
        let (sales, scratch) = (ids.into(), server.scratch());
        Ok(World { url, sales, buyers, scratch, session, postmaster: server.pid() })
    }

    /// One more sale, with so many units.
    pub(crate) async fn open_sale(&self, stock: u32) -> Outcome<SaleId> {
        let pool = self.pool(1)?;
        let id = open_sale(&PgStore::admitted(pool.clone()), stock).await?;
        pool.close().await;
        Ok(id)
    }

    /// Sessions as the service has them.
    pub(crate) fn pool(&self, sessions: u32) -> Outcome<PgPool> {
        let limits = SessionLimits::default();
        let options = connect::with_limits(connect::parse_url(&self.url)?, limits);
        Ok(connect::pool(options, sessions))
    }

    /// Orders of everybody from all sales.
    pub(crate) fn orders(&self) -> Asked {
        Asked::Orders { sales: Arc::clone(&self.sales), buyers: self.everybody() }
    }

    /// All buyers' numbers.
    pub(crate) fn everybody(&self) -> RangeInclusive<u32> {
        1..=self.buyers
    }

    /// One row of one column of text.
    pub(crate) async fn text(&mut self, query: &'static str) -> Outcome<String> {
        let row: (String,) = sqlx::query_as(query).fetch_one(&mut self.session).await?;
        Ok(row.0)
    }

    /// Where everything stands now.
    pub(crate) async fn counters(&mut self) -> Outcome<Counters> {
        let (orders, wal_bytes): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT sum(order_count) FROM sales)::bigint,
                    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint",
        )
        .fetch_one(&mut self.session)
        .await?;
        Ok(Counters { orders, wal_bytes, cpu: self.postmaster.and_then(process::cpu_of_family) })
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

    /// Writes so many orders of the hot sale as the service would have written them, spread over
    /// all wallets in turn.
    pub(crate) async fn grow(&mut self, orders: u32) -> Outcome<()> {
        let mut left = orders;
        while left > 0 {
            let some = left.min(ORDERS_AT_A_TIME);
            sqlx::query("SELECT bench_grow($1, $2, $3)")
                .bind(self.sales[0].uuid())
                .bind(i32::try_from(some)?)
                .bind(i32::try_from(self.buyers)?)
                .execute(&mut self.session)
                .await?;
            left -= some;
        }
        sqlx::query("VACUUM ANALYZE").execute(&mut self.session).await?;
        self.checkpoint().await
    }
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

async fn open_sale(store: &PgStore, stock: u32) -> Outcome<SaleId> {
    let request = CreateSale {
        sale_id: new_id(),
        name: ShortText::parse("Hot sale")?,
        sku: None,
        unit_price: Money::from_cents(PRICE_CENTS),
        stock,
        per_user_limit: None,
        starts_at: None,
        ends_at: None,
        key: None,
    };
    let sale_id = request.sale_id;
    create_sale(store, Duration::from_secs(10), request).await?;
    Ok(sale_id)
}
