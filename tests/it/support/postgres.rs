//! The one server of a test run, and databases made from a migrated template.
//!
//! `TEST_DATABASE_URL` names another server: its role must be allowed to create databases.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use flashdeal::adapters::postgres::connect::parse_url;
use flashdeal::adapters::postgres::embedded::{EmbeddedError, EmbeddedOptions, EmbeddedServer};
use flashdeal::adapters::postgres::schema;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// The template that every test's database is cloned from.
const TEMPLATE: &str = "flashdeal_template";

/// A server and the runtime that keeps it: tests have runtimes of their own that end with them.
struct Shared {
    url: String,
    runtime: tokio::runtime::Runtime,
    _server: Option<EmbeddedServer>,
}

static SHARED: OnceLock<Shared> = OnceLock::new();
static CLONING: Mutex<()> = Mutex::new(());
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A database of a test's own.
#[derive(Clone)]
pub(crate) struct TestDatabase {
    /// How to reach it.
    pub(crate) url: String,
}

impl TestDatabase {
    /// A fresh, migrated, empty database.
    pub(crate) async fn create() -> TestDatabase {
        let database = tokio::task::spawn_blocking(|| {
            let shared = SHARED.get_or_init(start);
            // Cloning needs the template for itself.
            let _turn = CLONING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.runtime.block_on(clone_template(&shared.url))
        })
        .await
        .expect("a database can be made");
        // The suite holds for each: TEST_ISOLATION=serializable cargo test
        if let Ok(isolation) = std::env::var("TEST_ISOLATION") {
            database.default_isolation(&isolation).await;
        }
        database
    }

    /// Sets what its sessions default to, those of the test's own included.
    pub(crate) async fn default_isolation(&self, isolation: &str) {
        let default = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation
             = ''{isolation}''', current_database()); END $$"
        );
        execute(&mut self.session().await, default).await;
    }

    /// A `DATABASE_URL` that names the server of this database first and another's second. Both are
    /// embedded servers, so all that differs is the socket's directory.
    pub(crate) fn beside(&self, second: &TestDatabase) -> String {
        let socket = |database: &TestDatabase| {
            let directory = database.options().get_socket().cloned().expect("a socket");
            directory.to_str().expect("a path in UTF-8").to_owned()
        };
        let (base, query) = self.url.split_once('?').expect("a URL with a socket");
        let others = query.split('&').filter(|pair| !pair.starts_with("host="));
        let others: String = others.map(|pair| format!("&{pair}")).collect();
        let (first, second) = (socket(self), socket(second));
        format!("{base}?host={first},{second}&target_session_attrs=read-write{others}")
    }

    /// Connection options for sessions of the test's own.
    pub(crate) fn options(&self) -> PgConnectOptions {
        parse_url(&self.url).expect("our own URL").disable_statement_logging()
    }

    /// A session of the test's own.
    pub(crate) async fn session(&self) -> PgConnection {
        self.options().connect().await.expect("a session")
    }

    /// A small pool of the test's own.
    pub(crate) async fn pool(&self) -> PgPool {
        let pool = PgPoolOptions::new().max_connections(4);
        pool.connect_with(self.options()).await.expect("a pool")
    }
}

fn start() -> Shared {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (url, server) = match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            let server = runtime.block_on(embedded());
            (server.connection().url(), Some(server))
        }
    };
    runtime.block_on(make_template(&url));
    Shared { url, runtime, _server: server }
}

/// The cluster is kept between runs (a fresh one costs a second); a run beside this one takes the
/// next place.
async fn embedded() -> EmbeddedServer {
    for place in 1..=16 {
        let data_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{place}"));
        // Each test's database is some 160 files to flush, and whoever drops one waits for all that
        // were made since the last checkpoint: half a minute of a busy machine for a whole suite's.
        let mut options =
            EmbeddedOptions::new(data_dir).with_test_setting("checkpoint_timeout", "30s");
        options.max_connections = 400;
        options.log_files = 0;
        match EmbeddedServer::start(options).await {
            Ok(server) => return server,
            Err(EmbeddedError::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("sixteen test runs at once")
}

async fn make_template(url: &str) {
    let options = parse_url(url).expect("TEST_DATABASE_URL");
    let mut admin = options.clone().connect().await.expect("the server");
    let own = format!("{}\\_%", prefix().replace('_', "\\_"));
    let old: Vec<String> = sqlx::query_scalar(
        "SELECT datname FROM pg_database
         WHERE (datname LIKE $1 OR datname = $2) AND datname NOT IN
           (SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL)",
    )
    .bind(own)
    .bind(TEMPLATE)
    .fetch_all(&mut admin)
    .await
    .expect("old databases");
    for name in old {
        execute(&mut admin, format!("ALTER DATABASE {name} IS_TEMPLATE false")).await;
        execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    }
    execute(&mut admin, format!("CREATE DATABASE {TEMPLATE}")).await;
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options.database(TEMPLATE)).await.expect("the template");
    schema::migrate(&pool).await.expect("migrations");
    pool.close().await;
    execute(&mut admin, format!("ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")).await;
    admin.close().await.expect("an orderly end");
}

async fn clone_template(url: &str) -> TestDatabase {
    let options = parse_url(url).expect("our own URL");
    let mut admin = options.connect().await.expect("the server");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}_{}_{number}", prefix(), std::process::id());
    execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
    admin.close().await.expect("an orderly end");
    TestDatabase { url: with_database(url, &name) }
}

fn prefix() -> &'static str {
    "flashdeal_test"
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = base.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}?{query}")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}
