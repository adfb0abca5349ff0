//! The command line: every command, flag, environment name, default and unit.
//!
//! Values stay text here. `config` reads them all and names every bad one at once; clap would stop
//! at the first.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A flash-sale order service: wallet, stock and order in one PostgreSQL transaction, once per
/// click, never one too many.
#[derive(Debug, Parser)]
#[command(name = "flashdeal", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to do it.
    #[command(flatten)]
    pub settings: RawSettings,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service (the default)
    Serve,
    /// Apply migrations and say which (the same table as `sqlx migrate run`)
    Migrate,
    /// Make users with wallets and one live sale; prints one JSON object on stdout
    Seed(SeedArgs),
    /// Check the books in one snapshot: exit 0 when they balance, 1 with each discrepancy named
    Verify {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign a token for mode `jwt` with FLASHDEAL_JWT_SECRET
    Token(TokenArgs),
    /// Rehearse a sale: N buyers press Buy at the real service; exit 0 when all went well, else 1
    ///
    /// The service runs with the settings given here, on a free port, on a database of the
    /// rehearsal's own, never the shop's: an embedded server in a temporary directory (TMPDIR
    /// chooses the disk), or with DATABASE_URL a new database (or schema, where the role may not
    /// make databases) on that server, named flashdeal_rehearsal_… and dropped at the end.
    /// Service, database and buyers share this machine. Every buyer can pay for several orders and
    /// wants one unit; an attempt that was not decided is tried again with its key.
    Rehearse(RehearseArgs),
    /// One sale in figures: sold, revenue, moments, peak, refusals, books; exit 1 when they are off
    Report(ReportArgs),
    /// Write orders, ledger entries or sales to standard output, in one snapshot
    ///
    /// Any number of rows in constant memory. Money is exact (two decimals), times are RFC 3339 in
    /// UTC, ids are UUIDs. In CSV a text (name, sku, external_id, reference) that begins with = + -
    /// @ or an apostrophe gets an apostrophe in front, so that no spreadsheet runs it; ndjson has
    /// every text as it is. The snapshot stays open until the last row is read: beside a running
    /// sale, write into a file, not into a pager.
    Export(ExportArgs),
    /// Bring data in from a file
    #[command(subcommand)]
    Import(ImportCommand),
}

/// How a rehearsal is done.
#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// How many buyers press Buy, 1 to 100000
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub buyers: u32,
    /// Units to sell, 0 to 1000000
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub stock: u32,
    /// Connections that the buyers share, each with one press at a time, 1 to 2000
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u16).range(1..=2_000))]
    pub connections: u16,
    /// How many buyers press twice at once, with one key [default: one in ten]
    #[arg(long)]
    pub duplicates: Option<u32>,
    /// The longest time for all presses, 1s to 10m; what is left then is a failure
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub time_limit: String,
}

/// What is reported.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The sale's id
    #[arg(long, value_name = "ID")]
    pub sale: String,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// /metrics of a running service, http://HOST:PORT/metrics, for refusals: the whole service's
    /// since its start, all sales together [default: not known]
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,
}

/// What is exported.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Which table
    #[arg(value_enum)]
    pub table: ExportTable,
    /// Only this sale; of the ledger: the debits of its orders [default: all]
    #[arg(long, value_name = "ID")]
    pub sale: Option<String>,
    /// csv has a header line; ndjson has one JSON object in each line
    #[arg(long, value_enum, default_value = "csv")]
    pub format: ExportFormat,
}

/// A table of the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportTable {
    /// Orders, by sale, in the order of decision
    Orders,
    /// Ledger entries, by wallet, oldest first
    Ledger,
    /// Sales, oldest first
    Sales,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated, RFC 4180, lines end in LF
    Csv,
    /// Newline-delimited JSON
    Ndjson,
}

/// What can be imported.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Users with wallets and opening balances from a CSV file with a header line
    ///
    /// Columns: id (a UUID, required), external_id, name (1 to 200 characters, or empty), balance
    /// (such as 100.00, or empty), in any order; UTF-8, comma-separated, at most 1000000 rows and
    /// 512 MiB. The whole file is checked first: a bad row is named with its line, and nothing is
    /// written. Then rows are written in batches of 1000, each whole or not at all; a batch with a
    /// row that contradicts the database is left out, its lines are named, and the exit code is 1.
    /// A balance becomes one deposit in the ledger, under a key of its own: running the same file
    /// again changes nothing. A user who is there already gets it only while the wallet has no
    /// entry.
    Users {
        /// The file
        file: PathBuf,
    },
}

/// What `seed` makes.
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// How many users, 1 to 1000000
    #[arg(long)]
    pub users: String,
    /// What each wallet holds, such as 100.00
    #[arg(long)]
    pub balance: String,
    /// Units to sell, 0 to 1000000000
    #[arg(long)]
    pub stock: String,
    /// Price of one unit, such as 9.90
    #[arg(long)]
    pub price: String,
    /// The sale's name
    #[arg(long, default_value = "Seeded sale")]
    pub name: String,
    /// The most units one user may own, 1 to 1000000 [default: no limit]
    #[arg(long)]
    pub limit: Option<String>,
}

/// For whom a token is.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true))]
pub struct TokenArgs {
    /// For the buyer with this user id
    #[arg(long, group = "who", value_name = "ID")]
    pub user: Option<String>,
    /// For the shop's back end
    #[arg(long, group = "who")]
    pub service: bool,
    /// For the operator
    #[arg(long, group = "who")]
    pub admin: bool,
    /// How long it is valid, 1s to 24h, such as 30m or 12h
    #[arg(long, default_value = "1h")]
    pub ttl: String,
}

/// Every setting as text, from flag or environment.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct RawSettings {
    /// PostgreSQL 14 or newer, postgres://…, several hosts as libpq writes them [default: an
    /// embedded server]
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Where the embedded server keeps its cluster and log [default: .flashdeal]
    #[arg(long, global = true, env = "FLASHDEAL_DATA_DIR", value_parser = any_path())]
    pub data_dir: Option<PathBuf>,
    /// Files of 16 MB that the write-ahead log of a new embedded server begins with, 0 to 64, at
    /// most a quarter of the free disk [default: 32]
    #[arg(long, global = true, env = "FLASHDEAL_WAL_FILES")]
    pub wal_files: Option<String>,
    /// Address and port; port 0 picks one [default: 127.0.0.1:3000]
    #[arg(long, global = true, env = "FLASHDEAL_LISTEN")]
    pub listen: Option<String>,
    /// How orders are decided: grouped, pessimistic or optimistic [default: grouped]
    #[arg(long, global = true, env = "FLASHDEAL_ENGINE")]
    pub engine: Option<String>,
    /// Connections to the database, 2 to 1000 [default: 10]
    #[arg(long, global = true, env = "FLASHDEAL_DB_CONNECTIONS")]
    pub db_connections: Option<String>,
    /// Apply migrations at start: auto or off [default: auto]
    #[arg(long, global = true, env = "FLASHDEAL_MIGRATE")]
    pub migrate: Option<String>,
    /// How long to wait for a database that is not there yet [default: 60s]
    #[arg(long, global = true, env = "FLASHDEAL_STARTUP_TIMEOUT")]
    pub startup_timeout: Option<String>,
    /// open or jwt; must be said on any address but loopback [default: open on loopback]
    #[arg(long, global = true, env = "FLASHDEAL_AUTH")]
    pub auth: Option<String>,
    /// HS256 key, at least 32 bytes and no word said twice; prefer the file, arguments can be seen
    /// by others
    #[arg(long, global = true, env = "FLASHDEAL_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// A file with up to four HS256 keys, one a line, read again within seconds when it changes;
    /// the first signs; its mode gives others nothing (its last digit is 0, as in 0640)
    #[arg(long, global = true, env = "FLASHDEAL_JWT_SECRET_FILE", value_parser = any_path())]
    pub jwt_secret_file: Option<PathBuf>,
    /// A JWK set with public keys (RS256, EdDSA), read again within seconds when it changes
    #[arg(long, global = true, env = "FLASHDEAL_JWKS_FILE", value_parser = any_path())]
    pub jwks_file: Option<PathBuf>,
    /// The `iss` of tokens [default: flashdeal]
    #[arg(long, global = true, env = "FLASHDEAL_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// The `aud` of tokens [default: flashdeal]
    #[arg(long, global = true, env = "FLASHDEAL_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// ISO 4217 code with two decimals, for the installation's whole life [default: USD]
    #[arg(long, global = true, env = "FLASHDEAL_CURRENCY")]
    pub currency: Option<String>,
    /// Longest wait for one lock in the database, from 2ms [default: 2s]
    #[arg(long, global = true, env = "FLASHDEAL_LOCK_TIMEOUT")]
    pub lock_timeout: Option<String>,
    /// Longest wait of a caller for a decision, more than twice the lock's [default: 10s]
    #[arg(long, global = true, env = "FLASHDEAL_REQUEST_TIMEOUT")]
    pub request_timeout: Option<String>,
    /// Longest shut-down [default: 30s]
    #[arg(long, global = true, env = "FLASHDEAL_SHUTDOWN_GRACE")]
    pub shutdown_grace: Option<String>,
    /// Orders that may wait per sale before the service sheds, 1 to 1000000 [default: 16384]
    #[arg(long, global = true, env = "FLASHDEAL_MAX_QUEUE")]
    pub max_queue: Option<String>,
    /// Orders a second for each user, twice as many at once, per instance; 0 for no limit
    /// [default: none in mode open, 10 in mode jwt]
    #[arg(long, global = true, env = "FLASHDEAL_RATE_PER_USER")]
    pub rate_per_user: Option<String>,
    /// Orders a second for each address of buyers, twice as many at once, per instance; 0 for no
    /// limit [default: none in mode open, 200 in mode jwt]
    #[arg(long, global = true, env = "FLASHDEAL_RATE_PER_ADDRESS")]
    pub rate_per_address: Option<String>,
    /// Connections open at a time, 1 to 1000000, at most what `ulimit -n` allows; more wait to be
    /// accepted [default: 16384]
    #[arg(long, global = true, env = "FLASHDEAL_MAX_CONNECTIONS")]
    pub max_connections: Option<String>,
    /// Connections of one address at a time (an IPv6 /64 is one; trusted proxies have no limit);
    /// 0 for no limit [default: a quarter of all, no limit on loopback]
    #[arg(long, global = true, env = "FLASHDEAL_MAX_CONNECTIONS_PER_ADDRESS")]
    pub max_connections_per_address: Option<String>,
    /// Networks whose Forwarded and X-Forwarded-For count, comma-separated [default: none]
    #[arg(long, global = true, env = "FLASHDEAL_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<String>,
    /// Origins whose pages may call, comma-separated [default: none]
    #[arg(long, global = true, env = "FLASHDEAL_CORS_ORIGINS")]
    pub cors_origins: Option<String>,
    /// A second address for /metrics, /livez, /readyz, /api/audit [default: none]
    #[arg(long, global = true, env = "FLASHDEAL_OPS_LISTEN")]
    pub ops_listen: Option<String>,
    /// What to log, in RUST_LOG syntax [default: info; error in rehearse, report, export, import]
    #[arg(long, global = true, env = "FLASHDEAL_LOG")]
    pub log: Option<String>,
    /// pretty or json [default: pretty]
    #[arg(long, global = true, env = "FLASHDEAL_LOG_FORMAT")]
    pub log_format: Option<String>,
}

/// A path as it stands, also an empty one: empty settings count as unset, and clap would stop here.
fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
