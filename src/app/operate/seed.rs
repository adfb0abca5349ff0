//! `flashdeal seed`: users with wallets and one live sale.

use std::process::ExitCode;
use std::time::Duration;

use sqlx::PgConnection;

use super::output::print;
use crate::adapters::postgres::seed_repo::insert_users;
use crate::adapters::postgres::store::PgStore;
use crate::app::cli::SeedArgs;
use crate::app::commands::{Done, Failure, on_database};
use crate::app::config::{Reader, Settings, within};
use crate::app::database::Database;
use crate::domain::Instant;
use crate::domain::id::UserId;
use crate::domain::money::Money;
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::logic::ids::new_id;
use crate::logic::sales::{CreateSale, create_sale};

/// Users written in one statement.
const SEED_BATCH: usize = 1_000;

/// What was asked for, checked.
pub(in crate::app) struct Plan {
    users: u32,
    balance: Money,
    stock: u32,
    price: Money,
    name: ShortText,
    limit: Option<u32>,
}

impl Plan {
    /// Reads the flags.
    ///
    /// # Errors
    /// All bad values, one sentence each.
    pub(in crate::app) fn read(args: &SeedArgs) -> Result<Plan, Vec<String>> {
        let mut reader = Reader(Vec::new());
        let users = whole(&mut reader, "--users", &args.users, 1, 1_000_000);
        let balance = amount(&mut reader, "--balance", &args.balance);
        let stock = whole(&mut reader, "--stock", &args.stock, 0, 1_000_000_000);
        let price = amount(&mut reader, "--price", &args.price);
        let named = ShortText::parse(&args.name);
        let reason = named.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let name =
            reader.flag("--name", &args.name.escape_debug().to_string(), reason, |_| named.ok());
        let limit = match &args.limit {
            Some(text) => whole(&mut reader, "--limit", text, 1, 1_000_000).map(Some),
            None => Some(None),
        };
        match (users, balance, stock, price, name, limit) {
            (Some(users), Some(balance), Some(stock), Some(price), Some(name), Some(limit)) => {
                Ok(Plan { users, balance, stock, price, name, limit })
            }
            _ => Err(reader.0),
        }
    }
}

fn whole(reader: &mut Reader, flag: &str, text: &str, min: u32, max: u32) -> Option<u32> {
    let accepted = format_args!("accepted is an integer from {min} to {max}");
    reader.flag(flag, text, accepted, |text| within(text, min, max))
}

fn amount(reader: &mut Reader, flag: &str, text: &str) -> Option<Money> {
    let most = Money::MAX;
    let accepted =
        format_args!("accepted is an amount with two decimals, such as 49.90, up to {most}");
    reader.flag(flag, text, accepted, |text| Money::parse(text).ok())
}

/// Makes them.
pub(in crate::app) async fn run(settings: &Settings, args: &SeedArgs) -> Done {
    let plan = Plan::read(args).map_err(Failure::bad_values)?;
    on_database(settings, async |database| on(database, settings, plan).await).await
}

async fn on(database: &Database, settings: &Settings, plan: Plan) -> Done {
    let pool = database.pool(settings);
    database.prepare(&pool, settings).await?;
    let mut connection = database.unhurried(settings).await?;
    let users = seed_users(&mut connection, plan.users, plan.balance).await?;
    let request = CreateSale {
        sale_id: new_id(),
        name: plan.name,
        sku: None,
        unit_price: plan.price,
        stock: plan.stock,
        per_user_limit: plan.limit,
        starts_at: None,
        ends_at: None,
        key: None,
    };
    let sale_id = request.sale_id;
    let store = PgStore::admitted(pool.clone());
    create_sale(&store, Duration::from_secs(10), request).await.map_err(Failure::other)?;
    pool.close().await;
    let user_ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    let made = serde_json::json!({ "sale_id": sale_id.to_string(), "user_ids": user_ids });
    print(&format!("{made}\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn seed_users(
    connection: &mut PgConnection,
    count: u32,
    balance: Money,
) -> Result<Vec<UserId>, Failure> {
    let created_at: Instant = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *connection)
        .await
        .map_err(Failure::other)?;
    let ids: Vec<UserId> = (0..count).map(|_| new_id()).collect();
    for batch in ids.chunks(SEED_BATCH) {
        let users: Vec<User> = batch
            .iter()
            .map(|id| User { id: *id, external_id: None, name: None, created_at })
            .collect();
        insert_users(connection, &users, balance).await.map_err(Failure::other)?;
    }
    Ok(ids)
}
