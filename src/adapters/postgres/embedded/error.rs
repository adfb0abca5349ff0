//! Why there is no embedded server: one sentence each, with the next step where there is one.
//!
//! These reach the terminal of somebody who just typed `cargo run`, so each says what to do rather
//! than what a system call returned. Only failures of the server itself carry its log's last lines.

use std::io;
use std::path::PathBuf;

/// Why the embedded server cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No server is installed.
    #[error(
        "no PostgreSQL server (version 14 or newer) was found: install one (`apt install \
         postgresql`, `dnf install postgresql-server`, `brew install postgresql@17`), build with \
         `--features download-postgres`, or set DATABASE_URL"
    )]
    NotInstalled,
    /// Only servers older than the minimum are installed.
    #[error(
        "the newest PostgreSQL server found is {found}, and FlashDeal needs version 14 or newer: \
         install one, build with `--features download-postgres`, or set DATABASE_URL"
    )]
    TooOld {
        /// The newest version found.
        found: String,
    },
    /// The cluster was made by a major version that is not installed (any more).
    #[error(
        "the data in {} was made by PostgreSQL {needed}, and only {installed} is installed: \
         install PostgreSQL {needed}, or choose another FLASHDEAL_DATA_DIR", cluster.display()
    )]
    MajorMissing {
        /// The cluster.
        cluster: PathBuf,
        /// The major version that made it.
        needed: u32,
        /// The versions that were found, newest first.
        installed: String,
    },
    /// Another process owns the data directory.
    #[error(
        "another flashdeal{} already runs on {}: stop it, or choose another FLASHDEAL_DATA_DIR",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), data_dir.display()
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The owner, when it has written its id already.
        pid: Option<u32>,
    },
    /// There is no database, and the caller wants none made.
    #[error(
        "there is no database in {}: name the FLASHDEAL_DATA_DIR of one, or begin one there with \
         `flashdeal`",
        data_dir.display()
    )]
    NoCluster {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// Another process owns the data directory, and its server did not become ready.
    #[error(
        "another flashdeal{} owns {}, and its database was not ready within {seconds} s",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), data_dir.display()
    )]
    OwnerNotReady {
        /// The data directory.
        data_dir: PathBuf,
        /// The owner, when it has written its id.
        pid: Option<u32>,
        /// How long we waited.
        seconds: u64,
    },
    /// The path cannot be used at all.
    #[error("the data directory {path:?} cannot be used: {reason}")]
    BadDataDir {
        /// The path as given.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The data belong to an account that we are not.
    #[error(
        "{} belongs to the account {owner}: run as that account or as root, or choose another \
         FLASHDEAL_DATA_DIR", path.display()
    )]
    NotOurs {
        /// What belongs to somebody else.
        path: PathBuf,
        /// Its owner.
        owner: String,
    },
    /// The data lie where the account that must run the server cannot reach them.
    #[error(
        "PostgreSQL refuses to run as root, and the account {account} cannot reach the existing \
         data in {}: move the data directory, or run as an ordinary account", cluster.display()
    )]
    OutOfReach {
        /// The cluster.
        cluster: PathBuf,
        /// The unprivileged account.
        account: String,
    },
    /// The other place that an earlier run moved the data to has vanished.
    #[error(
        "the data of this directory were kept in {}, which is gone: delete {} to start with an \
         empty database", place.display(), pointer.display()
    )]
    ElsewhereGone {
        /// Where the data were.
        place: PathBuf,
        /// The file that says so.
        pointer: PathBuf,
    },
    /// Running as root without a way to become anybody else.
    #[error(
        "PostgreSQL refuses to run as root, and {reason}: run as an ordinary account, or set \
         DATABASE_URL"
    )]
    NoAccount {
        /// What stands in the way.
        reason: String,
    },
    /// No directory is short and private enough for the socket.
    #[error("no private directory for the database's socket: {reasons}")]
    NoSocketDir {
        /// What is wrong with each candidate.
        reasons: String,
    },
    /// A file or process could not be handled.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// `initdb` or a tool beside it failed.
    #[error("{tool} failed ({outcome}): {output}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// Its exit status, or that it took too long.
        outcome: String,
        /// Its last lines.
        output: String,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL did not start ({outcome}); {} says: {tail}", log.display())]
    StartFailed {
        /// How it ended.
        outcome: String,
        /// The log.
        log: PathBuf,
        /// What this start added to it.
        tail: String,
    },
    /// The server was not ready in time.
    #[error("PostgreSQL was not ready within {seconds} s; {} says: {tail}", log.display())]
    StartTimeout {
        /// How long we waited.
        seconds: u64,
        /// The log.
        log: PathBuf,
        /// What this start added to it.
        tail: String,
    },
    /// Processes of an earlier server survive every signal.
    #[error("a PostgreSQL server of an earlier run does not end: processes {pids:?}")]
    WillNotEnd {
        /// The processes.
        pids: Vec<u32>,
    },
    /// The data directory was removed or replaced under a running server.
    #[error("the data directory {} was removed while it was in use", home.display())]
    Lost {
        /// Where it was.
        home: PathBuf,
    },
    /// The task that owned the server ended without an answer.
    #[error("the task that looks after PostgreSQL ended unexpectedly")]
    KeeperGone,
    /// The download did not work.
    #[error("PostgreSQL could not be downloaded ({reason}): install it, or set DATABASE_URL")]
    Download {
        /// What went wrong.
        reason: String,
    },
}

/// Gives an I/O error the words for what was being done.
pub(super) fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> EmbeddedError {
    let doing = doing.into();
    move |source| EmbeddedError::Io { doing, source }
}
