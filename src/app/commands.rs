//! The commands. Each ends in an exit code; what went wrong is one sentence on standard error.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::arguments::secrets_in_arguments;
use super::cli::{Cli, Command, ImportCommand, SeedArgs, TokenArgs};
use super::config::{Settings, duration};
use super::database::{Database, DatabaseError};
use super::operate::{export, import, rehearse, report};
use super::serve::{self, StartError};
use super::signals::StopSignals;
use super::{banner, telemetry};
use crate::adapters::http::AuditDto;
use crate::adapters::postgres::audit_unhurried;
use crate::adapters::postgres::embedded::EmbeddedError;
use crate::adapters::postgres::schema;
use crate::adapters::postgres::seed_repo::insert_users;
use crate::adapters::postgres::store::PgStore;
use crate::adapters::token::{Caller, sign};
use crate::domain::Instant;
use crate::domain::id::UserId;
use crate::domain::money::Money;
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::logic::ids::new_id;
use crate::logic::sales::{CreateSale, create_sale};

/// Bad input: a setting, a flag, a second `serve`.
const EXIT_USAGE: u8 = 2;
/// Anything else that went wrong, and books that do not balance.
const EXIT_FAILURE: u8 = 1;
/// Users written in one statement.
const SEED_BATCH: usize = 1_000;

/// Runs a command to its end.
pub async fn run(cli: Cli) -> ExitCode {
    let mut settings = match Settings::read(&cli.settings) {
        Ok(settings) => settings,
        Err(bad) => {
            for line in bad.0 {
                eprintln!("flashdeal: {line}");
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    settings.warnings.extend(secrets_in_arguments(std::env::args()));
    let command = cli.command.unwrap_or(Command::Serve);
    let unsaid = cli.settings.log.as_deref().is_none_or(str::is_empty);
    let quiet = command.is_operators() && unsaid;
    telemetry::start_logging(if quiet { "error" } else { &settings.log }, settings.log_format);
    let result = match command {
        Command::Serve => return run_serve(&settings).await,
        Command::Token(args) => token(&settings, &args),
        Command::Migrate => on_database(&settings, async |on| migrate(on, &settings).await).await,
        Command::Seed(args) => {
            on_database(&settings, async |on| seed(on, &settings, &args).await).await
        }
        Command::Verify { json } => {
            on_database(&settings, async |on| verify(on, &settings, json).await).await
        }
        Command::Rehearse(args) => rehearse::run(&settings, &args).await,
        Command::Report(args) => report::run(&settings, &args).await,
        Command::Export(args) => export::run(&settings, &args).await,
        Command::Import(ImportCommand::Users { file }) => import::run(&settings, &file).await,
    };
    result.unwrap_or_else(|failure| {
        eprintln!("flashdeal: {}", failure.sentence);
        ExitCode::from(failure.code)
    })
}

impl Command {
    /// Whether people read what it says: then the log is about troubles only, unless it was asked.
    fn is_operators(&self) -> bool {
        use Command::{Export, Import, Rehearse, Report};
        matches!(self, Rehearse(_) | Report(_) | Export(_) | Import(_))
    }
}

/// A sentence and an exit code.
pub(super) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// The caller's own fault.
    pub(super) fn usage(sentence: impl Into<String>) -> Failure {
        Failure { code: EXIT_USAGE, sentence: sentence.into() }
    }

    /// Anything else.
    pub(super) fn other(error: impl std::fmt::Display) -> Failure {
        Failure { code: EXIT_FAILURE, sentence: error.to_string() }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Failure {
        match error {
            DatabaseError::Embedded(EmbeddedError::InUse { .. }) => {
                Failure::usage(error.to_string())
            }
            error => Failure::other(error),
        }
    }
}

/// How a command ends.
pub(super) type Done = Result<ExitCode, Failure>;

/// Opens the database for a command and lets go of it afterwards.
pub(super) async fn on_database(
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> Done,
) -> Done {
    let database = Database::for_command(settings).await?;
    let done = match database.wait(settings).await {
        Err(error) => Err(error.into()),
        Ok(()) => work(&database).await,
    };
    database.release().await;
    done
}

async fn run_serve(settings: &Settings) -> ExitCode {
    let mut signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("flashdeal: signals: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let started = tokio::select! {
        started = serve::start(settings) => started,
        name = signals.next() => {
            eprintln!("flashdeal: {name} during start-up");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let running = match started {
        Ok(running) => running,
        Err(StartError::Database(DatabaseError::Embedded(error @ EmbeddedError::InUse { .. }))) => {
            eprintln!("flashdeal: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => {
            eprintln!("flashdeal: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    // Whoever started us may have stopped listening; that is no reason to fall over.
    let _ = writeln!(std::io::stdout(), "{}", banner::text(&running, settings));
    tracing::info!(address = %running.address, "listening");
    let name = signals.next().await;
    tracing::info!(signal = name, "shutting down; once more to leave at once");
    tokio::select! {
        () = running.stop() => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        name = signals.next() => {
            eprintln!("flashdeal: {name} again: leaving at once; committed orders are safe");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

async fn migrate(database: &Database, settings: &Settings) -> Done {
    let pool = database.pool(settings);
    let applied = schema::migrate(&pool).await.map_err(Failure::other)?;
    for schema::Applied { version, description } in &applied {
        println!("applied {version:04} {description}");
    }
    if applied.is_empty() {
        println!("nothing to apply: the schema is at version {}", schema::version_expected());
    }
    schema::settle_currency(&pool, &settings.currency).await.map_err(Failure::other)?;
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn verify(database: &Database, settings: &Settings, json: bool) -> Done {
    let pool = database.pool(settings);
    let checked = schema::check_version(&pool).await;
    pool.close().await;
    checked.map_err(Failure::other)?;
    let mut connection = database.unhurried(settings).await?;
    let audit = audit_unhurried(&mut connection).await.map_err(Failure::other)?;
    connection.close().await.map_err(Failure::other)?;
    if json {
        let report =
            serde_json::to_string_pretty(&AuditDto::new(&audit)).map_err(Failure::other)?;
        println!("{report}");
    } else {
        for found in &audit.discrepancies {
            println!("{found}");
        }
        let (sales, wallets, orders) = (audit.sales, audit.wallets, audit.orders);
        let verdict = match audit.discrepancies.len() {
            0 => "the books balance".to_owned(),
            1 => "the books do not balance: 1 discrepancy".to_owned(),
            count => format!("the books do not balance: {count} discrepancies"),
        };
        println!("{verdict} ({sales} sales, {wallets} wallets, {orders} orders)");
    }
    Ok(if audit.balanced() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILURE) })
}

async fn seed(database: &Database, settings: &Settings, args: &SeedArgs) -> Done {
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
    println!("{}", serde_json::json!({ "sale_id": sale_id.to_string(), "user_ids": user_ids }));
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

fn token(settings: &Settings, args: &TokenArgs) -> Done {
    let secret = settings.jwt_secret.as_deref().ok_or_else(|| {
        Failure::usage("signing needs FLASHDEAL_JWT_SECRET or FLASHDEAL_JWT_SECRET_FILE")
    })?;
    let caller = match &args.user {
        Some(id) => Caller::Buyer(
            UserId::parse(id).ok_or_else(|| Failure::usage(format!("--user {id}: is no UUID")))?,
        ),
        None if args.admin => Caller::Admin,
        None => Caller::Service,
    };
    let ttl = duration(&args.ttl).ok_or_else(|| {
        Failure::usage(format!("--ttl {}: accepted is a time such as 30m or 12h", args.ttl))
    })?;
    let expires_at = jsonwebtoken::get_current_timestamp() + ttl.as_secs().max(1);
    let token = sign(&settings.token, secret, caller, expires_at).map_err(Failure::other)?;
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}
