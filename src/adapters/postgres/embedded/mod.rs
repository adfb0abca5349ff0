//! A real PostgreSQL server that the program owns: found, made, started, watched, stopped.
//!
//! What must stay true:
//! * one owner for each data directory, kept by a lock that the kernel drops with its process;
//! * the server is our direct child in its own process group, so Ctrl-C reaches us and not it;
//! * it listens on a unix socket in a private directory only, and its settings are durable;
//! * whatever an earlier run left behind (half a cluster, a stale pid file, a zombie, an orphaned
//!   server) is cleared or waited for within limits, never an error that a second try would heal.
//!
//! This module hands out how to connect and knows no driver: it runs before a pool exists.
//!
//! | room | what it does |
//! |---|---|
//! | `options`, `connection`, `error` | what callers say, get and may have to read |
//! | `place`, `account`, `socket` | where the data lives, as whom, and where clients knock |
//! | `binaries`, `download` | which installed server to use |
//! | `cluster` | `initdb`, and the first files of the log |
//! | `settings` | the few settings that differ from the defaults |
//! | `lock`, `attach` | one owner; everybody else connects to its server |
//! | `guests` | whom an owner lets finish before it stops its server |
//! | `process`, `watchdog`, `log` | the child: spawn, readiness, stop, last words |
//! | `remains`, `census`, `pidfile` | what earlier runs left behind |
//! | `keeper` | the task that owns the child and starts it again when it dies |

mod account;
mod attach;
mod binaries;
mod census;
mod cluster;
mod connection;
#[cfg(feature = "download-postgres")]
mod download;
mod error;
mod guests;
mod keeper;
mod lock;
mod log;
mod options;
mod pidfile;
mod place;
mod process;
mod remains;
mod settings;
mod socket;
mod watchdog;

pub use connection::Connection;
pub use error::EmbeddedError;
pub use keeper::ServerState;
pub use options::{EmbeddedOptions, LOG_FILES};

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use attach::Claim;
use guests::{GUESTS_WAIT, Guest};
use lock::HomeLock;
use place::Place;
use process::Launch;

/// The database that is made with the cluster.
const DATABASE: &str = "flashdeal";
/// The cluster's superuser, whatever the operating system's account is called.
const USER: &str = "flashdeal";
/// Part of the socket's file name only: nothing listens on TCP, so checkouts cannot collide.
const PORT: u16 = 5432;

/// What [`EmbeddedServer::start_or_attach`] found.
#[derive(Debug)]
pub enum Found {
    /// No server ran: this one was started and must be stopped by the caller.
    Ours(EmbeddedServer),
    /// Another process owns a running server on the data directory.
    Attached(AttachedServer),
}

impl Found {
    /// How to connect, whoever owns the server.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Ours(server) => server.connection(),
            Self::Attached(server) => &server.connection,
        }
    }

    /// Stops the server when it is ours, and lets go of a foreign one.
    ///
    /// # Errors
    /// As [`EmbeddedServer::stop`].
    pub async fn release(self) -> Result<(), EmbeddedError> {
        match self {
            Self::Ours(server) => server.stop().await,
            Self::Attached(_) => Ok(()),
        }
    }
}

/// A running server of another process. A command that owns it keeps it for as long as this lives,
/// within limits; a service that stops does not wait.
#[derive(Debug)]
pub struct AttachedServer {
    connection: Connection,
    _guest: Guest,
}

/// A running PostgreSQL server that belongs to this process.
///
/// A task of this module owns the child: when the server dies it is started again with the same
/// connection parameters until [`stop`](Self::stop) begins. Dropping this value, the runtime or
/// the whole process (even by `kill -9`) also shuts the server down, but nobody waits for it then.
#[derive(Debug)]
pub struct EmbeddedServer {
    connection: Connection,
    version: String,
    log_file: PathBuf,
    states: watch::Receiver<ServerState>,
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<Result<(), EmbeddedError>>,
    place: Place,
    guests_wait: Duration,
}

impl EmbeddedServer {
    /// Makes the cluster when there is none, starts the server and waits until it is ready.
    ///
    /// # Errors
    /// [`EmbeddedError::InUse`] when another process owns the data directory; otherwise one
    /// sentence that says what is missing or what the server's log said last.
    pub async fn start(options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let place = place::settle(&options.data_dir).await?;
        let lock = attach::claim(&place).await?;
        // A service leaves within its grace; its guests are commands and can be run again.
        Self::run(options, place, lock, Duration::ZERO).await
    }

    /// Connects to the server that another process runs on this data directory (and waits for one
    /// that is just starting), or else starts one as [`start`](Self::start) does. Such a server is
    /// there for others, too: [`stop`](Self::stop) waits for them, at most ten minutes.
    ///
    /// # Errors
    /// As [`start`](Self::start), except that a foreign owner is no error as long as its server
    /// becomes ready within `start_timeout`. One that waits for others to leave may take ten
    /// minutes more.
    pub async fn start_or_attach(options: EmbeddedOptions) -> Result<Found, EmbeddedError> {
        let place = place::settle(&options.data_dir).await?;
        match attach::claim_or_attach(&place, options.start_timeout).await? {
            Claim::Attached(connection, guest) => {
                Ok(Found::Attached(AttachedServer { connection, _guest: guest }))
            }
            Claim::Ours(lock) => {
                Self::run(options, place, lock, GUESTS_WAIT).await.map(Found::Ours)
            }
        }
    }

    /// How to connect; stays the same when the server is started again.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The server's version, such as `15.8`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file that the server's own messages go to.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// The process id of the postmaster; `None` while it is being started again.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match *self.states.borrow() {
            ServerState::Running { pid } => Some(pid),
            ServerState::Restarting { .. } | ServerState::Stopped => None,
        }
    }

    /// Tells each change: running, being started again, stopped.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<ServerState> {
        self.states.clone()
    }

    /// Ends the supervision and shuts the server down: fast, then immediate, then by force.
    /// Open sessions are cut, so close the pool first. Returns when no process is left. Other
    /// processes that found this server may finish first when it came by
    /// [`start_or_attach`](Self::start_or_attach); from here on nobody else finds it.
    ///
    /// # Errors
    /// Only when the processes cannot be signalled or do not even go by force.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        // Closed until the server has ended.
        let door = guests::see_out(&self.place, self.guests_wait).await;
        if let Err(error) = &door {
            warn!("nobody knows who uses the embedded server, stopping it: {error}");
        }
        // The keeper may have ended by itself (lost data directory): then nobody listens.
        let _ = self.stop.send(());
        match self.keeper.await {
            Ok(result) => result,
            Err(_) => Err(EmbeddedError::KeeperGone),
        }
    }

    async fn run(
        options: EmbeddedOptions,
        place: Place,
        lock: HomeLock,
        guests_wait: Duration,
    ) -> Result<Self, EmbeddedError> {
        let started = Instant::now();
        if options.existing_only && !place.cluster().exists() {
            return Err(EmbeddedError::NoCluster { data_dir: options.data_dir });
        }
        let binaries = cluster::prepare(&place, options.log_files).await?;
        let socket_dir = socket::prepare(&place)?;
        let connection = Connection {
            socket_dir,
            port: PORT,
            user: USER.to_owned(),
            database: DATABASE.to_owned(),
        };
        let launch = Launch {
            arguments: settings::arguments(&place.cluster(), &connection, &options),
            postgres: binaries.tool("postgres"),
            socket_dir: connection.socket_dir.clone(),
            start_timeout: options.start_timeout,
            place,
        };
        let postmaster = process::start(&launch).await?;
        let (version, log_file) = (binaries.version.to_string(), launch.place.log_file());
        info!(
            version,
            pid = postmaster.pid(),
            socket_dir = %connection.socket_dir.display(),
            elapsed_ms = started.elapsed().as_millis(),
            "embedded PostgreSQL is ready"
        );
        let (stop, stop_asked) = oneshot::channel();
        let (state, states) = watch::channel(ServerState::Running { pid: postmaster.pid() });
        let place = launch.place.clone();
        let keeper = tokio::spawn(keeper::keep(postmaster, launch, lock, state, stop_asked));
        Ok(Self { connection, version, log_file, states, stop, keeper, place, guests_wait })
    }
}
