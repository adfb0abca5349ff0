//! What a caller may decide about the embedded server.
//!
//! The service uses [`EmbeddedOptions::new`] only. Settings that trade durability for speed can be
//! reached solely through names that say "tests", so that a reader of the service's start-up sees
//! at once that it never does so.

use std::path::PathBuf;
use std::time::Duration;

/// How long a start may take. Recovery after a crash replays up to `max_wal_size` of log.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Sessions: a pool of 10 for each of a few processes and a `psql` beside it, with room to spare.
const MAX_CONNECTIONS: u16 = 100;

/// Files of 16 MB that the log of a new cluster begins with: room for the first 400,000 orders,
/// half of what a rush writes between two checkpoints.
pub const LOG_FILES: u16 = 32;

/// Where the embedded server keeps its data and what it may use.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The directory that holds cluster, log and socket; made when missing.
    pub data_dir: PathBuf,
    /// How long to wait until the server takes connections (default 60 s).
    pub start_timeout: Duration,
    /// PostgreSQL's `max_connections` (default 100).
    pub max_connections: u16,
    /// Files that the log of a new cluster begins with (default 32, half a gigabyte), as far as a
    /// quarter of the free disk allows. Each that is missing in the first rush stops every COMMIT
    /// while it is made.
    pub log_files: u16,
    /// Whether a missing cluster is an error instead of being made (default no).
    pub existing_only: bool,
    pub(super) test_settings: Vec<(String, String)>,
}

impl EmbeddedOptions {
    /// A durable server with the defaults.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            start_timeout: START_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            log_files: LOG_FILES,
            existing_only: false,
            test_settings: Vec::new(),
        }
    }

    /// A server that forgets everything in a power cut: for tests, which throw it away anyway.
    #[must_use]
    pub fn not_durable_for_tests(data_dir: impl Into<PathBuf>) -> Self {
        Self { log_files: 0, ..Self::new(data_dir) }
            .with_test_setting("fsync", "off")
            .with_test_setting("full_page_writes", "off")
            .with_test_setting("synchronous_commit", "off")
    }

    /// Makes nothing: without a cluster there is an error.
    #[must_use]
    pub fn existing_only(self) -> Self {
        Self { existing_only: true, ..self }
    }

    /// So many files for the log of a new cluster (see [`EmbeddedOptions::log_files`]).
    #[must_use]
    pub fn with_log_files(self, log_files: u16) -> Self {
        Self { log_files, ..self }
    }

    /// Adds a server setting (`-c name=value`); a later one wins over an earlier or built-in one.
    #[must_use]
    pub fn with_test_setting(mut self, name: &str, value: &str) -> Self {
        self.test_settings.push((name.to_owned(), value.to_owned()));
        self
    }
}
