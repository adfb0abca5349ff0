//! The command line: every command, flag, environment name, default and unit.
//!
//! Values stay text here. `config` reads them all and names every bad one at once; clap would stop
//! at the first.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
}

/// What `seed` makes.
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// How many users, 1 to 1000000
    #[arg(long)]
    pub users: u32,
    /// What each wallet holds, such as 100.00
    #[arg(long)]
    pub balance: String,
    /// Units to sell, 0 to 1000000000
    #[arg(long)]
    pub stock: u32,
    /// Price of one unit, such as 9.90
    #[arg(long)]
    pub price: String,
    /// The sale's name
    #[arg(long, default_value = "Seeded sale")]
    pub name: String,
    /// The most units one user may own [default: no limit]
    #[arg(long)]
    pub limit: Option<u32>,
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
    /// How long it is valid, such as 30m or 12h
    #[arg(long, default_value = "1h")]
    pub ttl: String,
}

/// Every setting as text, from flag or environment.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct RawSettings {
    /// PostgreSQL 14 or newer, postgres://… [default: an embedded server]
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Where the embedded server keeps its cluster and log [default: .flashdeal]
    #[arg(long, global = true, env = "FLASHDEAL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
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
    /// HS256 key, at least 32 bytes; prefer the file, arguments can be seen by others
    #[arg(long, global = true, env = "FLASHDEAL_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// A file that holds the HS256 key
    #[arg(long, global = true, env = "FLASHDEAL_JWT_SECRET_FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// A JWK set with public keys (RS256, EdDSA)
    #[arg(long, global = true, env = "FLASHDEAL_JWKS_FILE")]
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
    /// Longest wait for one lock in the database [default: 2s]
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
    /// Networks whose Forwarded and X-Forwarded-For count, comma-separated [default: none]
    #[arg(long, global = true, env = "FLASHDEAL_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<String>,
    /// Origins whose pages may call, comma-separated [default: none]
    #[arg(long, global = true, env = "FLASHDEAL_CORS_ORIGINS")]
    pub cors_origins: Option<String>,
    /// A second address for /metrics, /livez, /readyz, /api/audit [default: none]
    #[arg(long, global = true, env = "FLASHDEAL_OPS_LISTEN")]
    pub ops_listen: Option<String>,
    /// What to log, in RUST_LOG syntax [default: info]
    #[arg(long, global = true, env = "FLASHDEAL_LOG")]
    pub log: Option<String>,
    /// pretty or json [default: pretty]
    #[arg(long, global = true, env = "FLASHDEAL_LOG_FORMAT")]
    pub log_format: Option<String>,
}
