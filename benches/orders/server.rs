//! The database server: one of the benchmark's own, durable as shipped, or one that somebody names.
//! Each section gets databases of its own, so that nobody works on what another left behind.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use flashdeal::adapters::postgres::connect;
use flashdeal::adapters::postgres::embedded::{EmbeddedError, EmbeddedOptions, EmbeddedServer};

use crate::Outcome;
use crate::options::Options;

/// Room for the pools of three services and 64 sessions of pgbench beside them.
const SESSIONS_MAX: u16 = 200;

/// The server.
pub(crate) struct Server {
    own: Option<EmbeddedServer>,
    home: PathBuf,
    url: String,
    made: Mutex<Vec<String>>,
}

impl Server {
    /// Starts it, or takes the one that is named.
    pub(crate) async fn start(options: &Options) -> Outcome<Server> {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = tmp.join(format!("bench-orders-{}", std::process::id()));
        std::fs::create_dir_all(home.join("scratch"))?;
        let own = match options.database_url {
            Some(_) => None,
            None => Some(start(&home.join("data")).await?),
        };
        let own_url = own.as_ref().map(|server| server.connection().url());
        let url = options.database_url.clone().or(own_url).ok_or("there is no database")?;
        Ok(Server { own, home, url, made: Mutex::default() })
    }

    /// Whether it is the benchmark's own, and may be told what to do.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Its first process, where it is a child of ours.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.own.as_ref().and_then(EmbeddedServer::pid)
    }

    /// Where scripts and logs of drivers may lie.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.home.join("scratch")
    }

    /// Makes an empty database; the answer is its URL.
    pub(crate) async fn make_database(&self) -> Outcome<String> {
        let name = {
            let mut made = self.made.lock().map_err(|_| "a poisoned lock")?;
            let name = format!("bench_orders_{}_{}", std::process::id(), made.len());
            made.push(name.clone());
            name
        };
        self.execute(format!("CREATE DATABASE {name}")).await?;
        with_database(&self.url, &name).ok_or_else(|| "a URL names its database".into())
    }

    /// Drops what was made: a section is over.
    pub(crate) async fn clear(&self) -> Outcome<()> {
        let made = self.made.lock().map_err(|_| "a poisoned lock")?.clone();
        for name in made {
            self.execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        }
        self.execute("CHECKPOINT".to_owned()).await
    }

    /// The names are made here, from numbers.
    async fn execute(&self, statement: String) -> Outcome<()> {
        let mut session = PgConnection::connect_with(&connect::parse_url(&self.url)?).await?;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut session).await?;
        session.close().await?;
        Ok(())
    }

    /// Stops it and clears up.
    pub(crate) async fn stop(self) {
        if let Err(error) = self.clear().await {
            eprintln!("orders: databases were not dropped: {error}");
        }
        if let Some(server) = self.own
            && let Err(error) = server.stop().await
        {
            eprintln!("orders: the server was not stopped: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.home) {
            eprintln!("orders: {} was not removed: {error}", self.home.display());
        }
    }
}

/// The shipped, durable server; with `pg_stat_statements` where it is installed.
async fn start(data: &Path) -> Result<EmbeddedServer, EmbeddedError> {
    let mut plain = EmbeddedOptions::new(data);
    plain.max_connections = SESSIONS_MAX;
    let counting = plain
        .clone()
        .with_test_setting("shared_preload_libraries", "pg_stat_statements")
        .with_test_setting("pg_stat_statements.track", "none");
    match EmbeddedServer::start(counting).await {
        Ok(server) => Ok(server),
        Err(_not_installed) => EmbeddedServer::start(plain).await,
    }
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let (server, _) = base.rsplit_once('/')?;
    Some(format!("{server}/{name}{query}"))
}
