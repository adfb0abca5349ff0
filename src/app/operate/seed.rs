//! `flashdeal seed`: users with wallets and one live sale.

use std::process::ExitCode;
use std::time::Duration;

use sqlx::PgConnection;

use super::output::print;
use crate::adapters::postgres::seed_repo::insert_users;
use crate::adapters::postgres::store::PgStore;
use crate::app::cli::SeedArgs;
use crate::app::commands::{Done, Failure, on_database};
use crate::app::config::Settings;
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

/// Makes them.
pub(in crate::app) async fn run(settings: &Settings, args: &SeedArgs) -> Done {
    on_database(settings, async |database| on(database, settings, args).await).await
}

async fn on(database: &Database, settings: &Settings, args: &SeedArgs) -> Done {
    let amount = |name: &str, text: &str| {
        Money::parse(text).map_err(|error| Failure::usage(format!("--{name} {text}: {error}")))
    };
    let (balance, price) = (amount("balance", &args.balance)?, amount("price", &args.price)?);
    let name =
        ShortText::parse(&args.name).map_err(|error| Failure::usage(format!("--name: {error}")))?;
    let million = 1..=1_000_000;
    if !million.contains(&args.users)
        || args.stock > 1_000_000_000
        || args.limit.is_some_and(|limit| !million.contains(&limit))
    {
        return Err(Failure::usage(
            "--users takes 1 to 1000000, --stock 0 to 1000000000, --limit 1 to 1000000",
        ));
    }
    let pool = database.pool(settings);
    database.prepare(&pool, settings).await?;
    let mut connection = database.unhurried(settings).await?;
    let users = seed_users(&mut connection, args.users, balance).await?;
    let request = CreateSale {
        sale_id: new_id(),
        name,
        sku: None,
        unit_price: price,
        stock: args.stock,
        per_user_limit: args.limit,
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
