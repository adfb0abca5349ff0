//! The stage: one PostgreSQL, a wire for each of two service processes, and what it takes to bring
//! each of them back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgConnection;

use crate::board::Board;
use crate::disk::SmallDisk;
use crate::support::api::Api;
use crate::support::data_dir::{DataDir, until};
use crate::support::locks::run;
use crate::support::postgres::TestDatabase;
use crate::support::process::{ServeProcess, THIS_BUILD, command_of};
use crate::support::relay::Relay;
use crate::support::service::scratch;

/// What both instances are started with. Short waits, so that a round has room for many faults.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("FLASHDEAL_LOCK_TIMEOUT", "500ms"),
    ("FLASHDEAL_REQUEST_TIMEOUT", "3s"),
    ("FLASHDEAL_DB_CONNECTIONS", "10"),
    ("FLASHDEAL_LOG", "error"),
];
/// How orders are decided: `DRILL_ENGINE`, else the default.
pub(crate) fn engine() -> String {
    std::env::var("DRILL_ENGINE").unwrap_or_else(|_| "grouped".to_owned())
}

/// How soon a service ends that has nothing left to do.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Sessions that the server takes: few enough to fill.
pub(crate) const MAX_CONNECTIONS: u16 = 60;

/// Where the instances are at the moment.
#[derive(Clone)]
pub(crate) struct Doors(Arc<[RwLock<SocketAddr>; 2]>);

impl Doors {
    /// Where one is.
    pub(crate) fn address(&self, instance: usize) -> SocketAddr {
        *self.0[instance].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, instance: usize, to: SocketAddr) {
        *self.0[instance].write().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

/// Everything that runs.
pub(crate) struct Stage {
    server: EmbeddedServer,
    /// The server's files.
    pub(crate) data_dir: DataDir,
    place: PathBuf,
    /// The one database.
    pub(crate) database: TestDatabase,
    /// The way of each instance to the database.
    pub(crate) wires: [Relay; 2],
    /// The `DATABASE_URL` of each.
    urls: [String; 2],
    instances: [ServeProcess; 2],
    /// What they run.
    binaries: [PathBuf; 2],
    /// Where they are.
    pub(crate) doors: Doors,
    /// What the orders lie on, when it can be filled.
    pub(crate) disk: Option<SmallDisk>,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn set() -> Stage {
        Stage::set_with(|options| options).await
    }

    /// Starts everything, with services that know a second server and need no wire.
    pub(crate) async fn set_beside(second: &TestDatabase) -> Stage {
        let urls = |first: &TestDatabase, _: &[Relay; 2]| {
            let url = first.beside(second);
            [url.clone(), url]
        };
        Stage::build(|options| options, urls, Path::new(THIS_BUILD)).await
    }

    /// Starts everything, with the orders on a disk that can be filled, where one can be had.
    pub(crate) async fn set_on_small_disk() -> Stage {
        let mut stage = Stage::set().await;
        stage.disk = SmallDisk::below_orders(&stage.data_dir.cluster(), &stage.database).await;
        stage
    }

    /// Starts everything, with services of another build.
    pub(crate) async fn set_of(binary: &Path) -> Stage {
        Stage::build(|options| options, by_wire, binary).await
    }

    /// Starts everything, with a server that differs.
    pub(crate) async fn set_with(change: impl FnOnce(EmbeddedOptions) -> EmbeddedOptions) -> Stage {
        Stage::build(change, by_wire, Path::new(THIS_BUILD)).await
    }

    async fn build(
        change: impl FnOnce(EmbeddedOptions) -> EmbeddedOptions,
        urls: impl FnOnce(&TestDatabase, &[Relay; 2]) -> [String; 2],
        binary: &Path,
    ) -> Stage {
        let place = scratch(&format!("drill-{}", std::process::id()));
        let mut options = EmbeddedOptions::new(&place);
        options.max_connections = MAX_CONNECTIONS;
        // Below `lock_timeout`, so that a deadlock is found and not waited out.
        let options = options.with_test_setting("deadlock_timeout", "100ms");
        let server = EmbeddedServer::start(change(options)).await.expect("a server");
        let database = TestDatabase { url: server.connection().url() };
        let wires = [Relay::to(&database).await, Relay::to(&database).await];
        let urls = urls(&database, &wires);
        let instances =
            [serve(&urls[0], &place, binary).await, serve(&urls[1], &place, binary).await];
        let binaries = [binary.to_owned(), binary.to_owned()];
        let addresses = [0, 1].map(|at| RwLock::new(instances[at].api.address()));
        let stage = Stage {
            data_dir: DataDir::at(place.clone()),
            doors: Doors(Arc::new(addresses)),
            disk: None,
            server,
            place,
            database,
            wires,
            urls,
            instances,
            binaries,
        };
        run(&mut stage.session().await, TRAPS).await;
        stage
    }

    /// A caller of one instance.
    pub(crate) fn api(&self, instance: usize) -> &Api {
        &self.instances[instance].api
    }

    /// The server's version.
    pub(crate) fn version(&self) -> &str {
        self.server.version()
    }

    /// A session beside the wires. Whatever the server's defaults are at the moment, it may write.
    pub(crate) async fn session(&self) -> PgConnection {
        let mut session = self.database.session().await;
        run(&mut session, "SET default_transaction_read_only = off; SET lock_timeout = '5s'").await;
        session
    }

    /// Sends a signal to an instance.
    pub(crate) fn signal(&self, instance: usize, signal: Signal) {
        self.instances[instance].signal(signal);
    }

    /// Ends an instance as a power cut would, and starts another in its place.
    pub(crate) async fn kill_service(&mut self, instance: usize) {
        self.signal(instance, Signal::SIGKILL);
        let next = self.serve(instance).await;
        self.instances[instance].ended().await;
        self.instances[instance] = next;
    }

    /// Ends an instance in order and starts another build in its place. How it ended.
    pub(crate) async fn exchange_service(&mut self, instance: usize, binary: &Path) -> Option<i32> {
        self.signal(instance, Signal::SIGTERM);
        let code = self.instances[instance].ended().await;
        binary.clone_into(&mut self.binaries[instance]);
        self.instances[instance] = self.serve(instance).await;
        code
    }

    async fn serve(&self, instance: usize) -> ServeProcess {
        let binary = &self.binaries[instance];
        let next = serve(&self.urls[instance], &self.place, binary).await;
        self.doors.moved(instance, next.api.address());
        next
    }

    /// Ends the postmaster as the kernel would, and waits until another takes sessions.
    pub(crate) async fn kill_postgres(&self) {
        let killed = self.data_dir.kill_postmaster();
        until("another server takes over", async || {
            self.server.pid().is_some_and(|pid| i64::from(pid) != i64::from(killed))
        })
        .await;
    }

    /// Waits until both instances say that they are ready.
    pub(crate) async fn until_ready(&self) {
        for instance in 0..2 {
            until("an instance is ready", async || {
                self.api(instance).get("/readyz").await.status == 200
            })
            .await;
        }
    }

    /// What the instances had to say at level error, since the beginning.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.place.join("service.log")).unwrap_or_default()
    }

    /// The server's data directory.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// The server's machine is lost, with its disk: nothing starts it again, so it is fenced.
    pub(crate) fn lose_server(&self) {
        let (processes, cluster) = (self.data_dir.servers(), self.data_dir.cluster());
        std::fs::rename(&cluster, cluster.with_extension("lost")).expect("a lost disk");
        for pid in processes {
            // Those that end by themselves meanwhile are lost as well.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Another server is the one. The place of the old one is free.
    pub(crate) async fn move_to(&mut self, server: EmbeddedServer, place: &std::path::Path) {
        self.database = TestDatabase { url: server.connection().url() };
        let old = std::mem::replace(&mut self.server, server);
        let lost = self.data_dir.cluster().with_extension("lost");
        self.data_dir = DataDir::at(place.to_owned());
        // What is lost does not end in order.
        let _ = old.stop().await;
        std::fs::remove_dir_all(lost).expect("a lost disk is thrown away");
    }

    /// Waits until both instances say that they take no orders.
    pub(crate) async fn until_away(&self) {
        for instance in 0..2 {
            until("an instance says that the database is away", async || {
                self.api(instance).get("/readyz").await.status == 503
            })
            .await;
        }
    }

    /// Stops everything. A service that does not end in order, and soon, is a violation.
    pub(crate) async fn close(self, board: &Board) {
        for instance in self.instances {
            instance.signal(Signal::SIGTERM);
            match tokio::time::timeout(END_WITHIN, instance.exit()).await {
                Ok(Some(0)) => {}
                Ok(code) => board.violation(format!("a service ended with {code:?}")),
                Err(_elapsed) => {
                    board.violation(format!("a service did not end within {END_WITHIN:?}"));
                }
            }
        }
        self.server.stop().await.expect("an orderly end");
    }
}

/// Clears away what a closed stage has left.
pub(crate) fn clear(place: &Path) {
    let cluster = DataDir::at(place.to_owned()).cluster();
    for left in [cluster.as_path(), place] {
        // What is gone already is as good.
        let _ = std::fs::remove_dir_all(left);
    }
}

/// Each instance reaches the database by its own wire.
fn by_wire(_: &TestDatabase, wires: &[Relay; 2]) -> [String; 2] {
    [wires[0].url(), wires[1].url()]
}

async fn serve(url: &str, place: &Path, binary: &Path) -> ServeProcess {
    let mut environment = SETTINGS.to_vec();
    environment.push(("DATABASE_URL", url));
    let engine = engine();
    environment.push(("FLASHDEAL_ENGINE", &engine));
    let mut command = command_of(binary, &["serve", "--listen", "127.0.0.1:0"], &environment);
    let log = std::fs::File::options().create(true).append(true).open(place.join("service.log"));
    command.stderr(Stdio::from(log.expect("a log")));
    ServeProcess::of(command).await
}

/// Stand-ins for a full disk (where none can be had) and for a server that has become read-only:
/// what PostgreSQL says then, at the moment when the order is written.
const TRAPS: &str = "
    CREATE FUNCTION drill_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END $$;
    CREATE FUNCTION drill_read_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'cannot execute INSERT in a read-only transaction'
          USING ERRCODE = '25006'; END $$;";
