//! Behind PgBouncer in transaction mode, where a session belongs to whoever has a transaction.
//!
//! It must keep prepared statements (1.21 or newer, `max_prepared_statements`): sqlx sends a
//! statement and its values apart, so a pooler without that loses reads, whatever
//! `statement-cache-capacity` says. `TEST_PGBOUNCER` names the program, else it is looked for in
//! the usual places; where there is none the tests say so and pass.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use flashdeal::adapters::postgres::servers::Servers;
use flashdeal::app::config::Settings;
use flashdeal::app::serve;
use sqlx::Row;

use crate::isolation::rush;
use crate::support::locks::{execute, run, until};
use crate::support::postgres::TestDatabase;
use crate::support::service::raw_settings;
use crate::support::{ENGINES, Service};

/// The oldest that keeps prepared statements in transaction mode.
const VERSION_MIN: (u32, u32) = (1, 21);
/// Sessions of the server, fewer than the service's own.
const SESSIONS: usize = 4;

/// A PgBouncer in front of a test's server.
struct Pooler {
    child: Child,
    directory: PathBuf,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // What has ended already is as good, and files left behind harm nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.join("log"));
            let log = log.unwrap_or_default();
            log.lines().rev().take(20).for_each(|line| eprintln!("{line}"));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The program, if there is one that is new enough.
fn program() -> Option<PathBuf> {
    let said = std::env::var_os("TEST_PGBOUNCER").map(PathBuf::from);
    let usual = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
    let program = said.into_iter().chain(usual.map(PathBuf::from)).find(|path| path.is_file());
    let version = program.as_ref().and_then(version_of);
    if version.is_some_and(|version| version >= VERSION_MIN) {
        return program;
    }
    // Not by a macro, whose output a passing test would keep to itself.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: PgBouncer {VERSION_MIN:?} or newer is needed, found {version:?}"
    );
    None
}

fn version_of(program: &PathBuf) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.lines().next()?.strip_prefix("PgBouncer ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl Pooler {
    /// Starts one as the account that may reach the server's socket.
    async fn before(database: &TestDatabase) -> Option<Pooler> {
        let program = program()?;
        let options = database.options();
        let socket = options.get_socket().expect("an embedded server");
        let owner = std::fs::metadata(socket).expect("its directory");
        let name = options.get_database().expect("a database");
        let directory = std::env::temp_dir().join(format!("pooler-{name}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        let settings = format!(
            "[databases]\n* = host={} port={} user={}\n[pgbouncer]\nlisten_addr =\n\
             listen_port = 6432\nunix_socket_dir = {}\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = {SESSIONS}\nmax_prepared_statements = 200\n\
             ignore_startup_parameters = extra_float_digits,options\n",
            socket.display(),
            options.get_port(),
            options.get_username(),
            directory.display(),
        );
        let file = directory.join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("settings");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&directory, mode).expect("a mode");
        let mut command = Command::new(program);
        if nix::unistd::geteuid().is_root() {
            chown(&directory, Some(owner.uid()), Some(owner.gid())).expect("an owner");
            command.uid(owner.uid()).gid(owner.gid());
        }
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        let child = command.arg(&file).stderr(Stdio::from(log)).spawn().expect("PgBouncer");
        let pooler = Pooler { child, directory };
        let servers = Servers::parse(&pooler.url(database)).expect("our own URL");
        until("the pooler answers", async || servers.connect().await.is_ok()).await;
        Some(pooler)
    }

    fn url(&self, database: &TestDatabase) -> String {
        let options = database.options();
        let (user, name) = (options.get_username(), options.get_database().expect("a database"));
        let directory = self.directory.display();
        format!("postgres://{user}@localhost/{name}?host={directory}&port=6432&sslmode=disable")
    }
}

#[tokio::test]
async fn a_pooler_that_drops_the_limits_of_sessions_is_refused_with_what_to_do() {
    let database = TestDatabase::create().await;
    let Some(pooler) = Pooler::before(&database).await else { return };
    let mut raw = raw_settings(&database);
    raw.database_url = Some(pooler.url(&database));
    raw.migrate = Some("off".to_owned());
    let settings = Settings::read(&raw).unwrap();
    let refusal = serve::start(&settings).await.err().expect("no start").to_string();
    assert!(refusal.contains("ALTER ROLE") && refusal.contains("lock_timeout 0"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_does_not_notice_a_pooler_and_leaves_nothing_on_its_sessions() {
    let database = TestDatabase::create().await;
    // In the shop the role has them; here other tests have the same role.
    let limits = [
        ("idle_in_transaction_session_timeout", "1500ms"),
        ("lock_timeout", "2s"),
        ("statement_timeout", "4s"),
    ];
    for (name, value) in limits {
        let limit = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {name} = ''{value}''',
             current_database()); END $$"
        );
        execute(&database, &limit).await;
    }
    let Some(pooler) = Pooler::before(&database).await else { return };
    for engine in ENGINES {
        let url = pooler.url(&database);
        let service = Service::start_on(database.clone(), |raw| {
            raw.database_url = Some(url);
            raw.migrate = Some("off".to_owned());
            raw.engine = Some(engine.to_owned());
        })
        .await;
        rush(&service).await;
        let audit = service.api.get("/api/audit").await.expect(200);
        assert_eq!(audit.body["balanced"], true);
        service.finish().await;
    }
    let servers = Servers::parse(&pooler.url(&database)).unwrap();
    let mut held = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = servers.connect().await.unwrap();
        run(&mut session, "BEGIN").await;
        let shown = "SELECT current_setting('enable_nestloop') || current_setting('lock_timeout')";
        let row = sqlx::raw_sql(shown).fetch_one(&mut session).await.unwrap();
        assert_eq!(row.get::<String, _>(0), "on2s");
        held.push(session);
    }
}
