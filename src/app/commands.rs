//! The commands. Each ends in an exit code; what went wrong is one sentence on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use sqlx::Connection;

use super::arguments::secrets_in_arguments;
use super::cli::{Cli, Command, ImportCommand, RawSettings};
use super::config::{BadSettings, Settings};
use super::database::{Database, DatabaseError};
use super::log_writer::say;
use super::operate::output::print;
use super::operate::{export, import, rehearse, report, seed};
use super::serve::{self, StartError};
use super::signals::StopSignals;
use super::{banner, telemetry, token};
use crate::adapters::http::AuditDto;
use crate::adapters::postgres::audit_unhurried;
use crate::adapters::postgres::embedded::EmbeddedError;
use crate::adapters::postgres::schema;

/// Bad input: a setting, a flag, a second `serve`.
const EXIT_USAGE: u8 = 2;
/// Anything else that went wrong, and books that do not balance.
const EXIT_FAILURE: u8 = 1;

/// Runs a command to its end.
pub async fn run(cli: Cli) -> ExitCode {
    let command = cli.command.unwrap_or(Command::Serve);
    let mut settings = match read(&cli.settings, &command) {
        Ok(settings) => settings,
        Err(bad) => return Failure::bad_values(bad).end(),
    };
    let arguments = std::env::args_os().map(|one| one.to_string_lossy().into_owned());
    settings.warnings.extend(secrets_in_arguments(arguments));
    let unsaid = cli.settings.log.as_deref().is_none_or(str::is_empty);
    let quiet = command.is_operators() && unsaid;
    telemetry::start_logging(if quiet { "error" } else { &settings.log }, settings.log_format);
    let result = match command {
        Command::Serve => return run_serve(&settings).await,
        Command::Token(args) => token::run(&settings, &args),
        Command::Migrate => on_database(&settings, async |on| migrate(on, &settings).await).await,
        Command::Seed(args) => seed::run(&settings, &args).await,
        Command::Verify { json } => {
            on_books(&settings, async |on| verify(on, &settings, json).await).await
        }
        Command::Rehearse(args) => rehearse::run(&settings, &args).await,
        Command::Report(args) => report::run(&settings, &args).await,
        Command::Export(args) => export::run(&settings, &args).await,
        Command::Import(ImportCommand::Users { file }) => import::run(&settings, &file).await,
    };
    result.unwrap_or_else(Failure::end)
}

/// Reads the settings, and looks at the command's own flags before anything is begun: every bad
/// value of either is named.
fn read(raw: &RawSettings, command: &Command) -> Result<Settings, Vec<String>> {
    let of_flags = command.bad_values();
    match Settings::read(raw) {
        Ok(settings) if of_flags.is_empty() => Ok(settings),
        Ok(_) => Err(of_flags),
        Err(BadSettings(of_settings)) => Err([of_settings, of_flags].concat()),
    }
}

impl Command {
    /// Whether people read what it says: then the log is about troubles only, unless it was asked.
    fn is_operators(&self) -> bool {
        use Command::{Export, Import, Rehearse, Report};
        matches!(self, Rehearse(_) | Report(_) | Export(_) | Import(_))
    }

    /// Bad values of flags that only this command takes, one sentence each.
    fn bad_values(&self) -> Vec<String> {
        let found = match self {
            Command::Seed(args) => seed::Plan::read(args).err(),
            Command::Token(args) => token::Wish::read(args).err(),
            Command::Rehearse(args) => rehearse::Plan::read(args).err(),
            _ => None,
        };
        found.unwrap_or_default()
    }
}

/// Sentences, mostly one, and an exit code.
pub(super) struct Failure {
    code: u8,
    sentences: Vec<String>,
}

impl Failure {
    /// The caller's own fault.
    pub(super) fn usage(sentence: impl Into<String>) -> Failure {
        Failure::bad_values(vec![sentence.into()])
    }

    /// The same, more than once.
    pub(super) fn bad_values(sentences: Vec<String>) -> Failure {
        Failure { code: EXIT_USAGE, sentences }
    }

    /// Anything else.
    pub(super) fn other(error: impl std::fmt::Display) -> Failure {
        Failure { code: EXIT_FAILURE, sentences: vec![error.to_string()] }
    }

    /// Says what went wrong.
    fn end(self) -> ExitCode {
        for sentence in self.sentences {
            say(sentence);
        }
        ExitCode::from(self.code)
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Failure {
        match error {
            DatabaseError::Embedded(
                EmbeddedError::InUse { .. } | EmbeddedError::NoCluster { .. },
            ) => Failure::usage(error.to_string()),
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
    on(Database::for_command(settings).await?, settings, work).await
}

/// The same for a command that only reads: it makes no database where there is none.
pub(super) async fn on_books(
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> Done,
) -> Done {
    on(Database::for_reading(settings).await?, settings, work).await
}

async fn on(
    database: Database,
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> Done,
) -> Done {
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
            say(format_args!("signals: {error}"));
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let started = tokio::select! {
        started = serve::start(settings) => started,
        name = signals.next() => {
            say(format_args!("{name} during start-up"));
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let running = match started {
        Ok(running) => running,
        Err(StartError::Database(DatabaseError::Embedded(error @ EmbeddedError::InUse { .. }))) => {
            say(error);
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => {
            say(error);
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
            say(format_args!("{name} again: leaving at once; committed orders are safe"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

async fn migrate(database: &Database, settings: &Settings) -> Done {
    let pool = database.pool(settings);
    let applied = schema::migrate(&pool).await.map_err(Failure::other)?;
    for schema::Applied { version, description } in &applied {
        print(&format!("applied {version:04} {description}\n"))?;
    }
    if applied.is_empty() {
        let version = schema::version_expected();
        print(&format!("nothing to apply: the schema is at version {version}\n"))?;
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
        print(&format!("{report}\n"))?;
    } else {
        for found in &audit.discrepancies {
            print(&format!("{found}\n"))?;
        }
        let (sales, wallets, orders) = (audit.sales, audit.wallets, audit.orders);
        let verdict = match audit.discrepancies.len() {
            0 => "the books balance".to_owned(),
            1 => "the books do not balance: 1 discrepancy".to_owned(),
            count => format!("the books do not balance: {count} discrepancies"),
        };
        print(&format!("{verdict} ({sales} sales, {wallets} wallets, {orders} orders)\n"))?;
    }
    Ok(if audit.balanced() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILURE) })
}
