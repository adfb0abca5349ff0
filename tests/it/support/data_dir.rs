//! A data directory of the embedded server, seen from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flashdeal::adapters::postgres::connect::parse_url;
use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer, Found};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions, PgConnection};

/// An empty data directory with the environment of a process on it.
pub(crate) struct DataDir {
    /// Where.
    pub(crate) path: PathBuf,
    text: String,
}

impl DataDir {
    /// A fresh one.
    pub(crate) fn fresh(name: &str) -> DataDir {
        DataDir::at(super::service::scratch(name))
    }

    /// This one.
    pub(crate) fn at(path: PathBuf) -> DataDir {
        let text = path.to_str().expect("a path in UTF-8").to_owned();
        DataDir { path, text }
    }

    /// What a process needs to know, with `more`.
    pub(crate) fn environment<'a>(
        &'a self,
        more: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let mut environment = vec![("FLASHDEAL_DATA_DIR", self.text.as_str())];
        if !more.iter().any(|(name, _)| *name == "FLASHDEAL_LOG") {
            environment.push(("FLASHDEAL_LOG", "off"));
        }
        if !more.iter().any(|(name, _)| *name == "FLASHDEAL_WAL_FILES") {
            // Half a gigabyte for each cluster that a test makes, and no rush to smooth.
            environment.push(("FLASHDEAL_WAL_FILES", "0"));
        }
        environment.extend_from_slice(more);
        environment
    }

    /// The cluster: here, or where root's unprivileged account can enter.
    pub(crate) fn cluster(&self) -> PathBuf {
        let pointer = std::fs::read_to_string(self.path.join("elsewhere")).unwrap_or_default();
        let home = pointer.lines().find(|line| line.starts_with('/'));
        home.map_or(self.path.as_path(), Path::new).join("postgres")
    }

    /// The process id that the server wrote down.
    pub(crate) fn postmaster(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.cluster().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Ends the server as the kernel would when memory is short.
    pub(crate) fn kill_postmaster(&self) -> i32 {
        let pid = self.postmaster().expect("a server");
        assert!(self.servers().contains(&pid), "{pid} is no server of ours");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a signal");
        pid
    }

    /// Every process of a server on this cluster (Linux; elsewhere none is found).
    pub(crate) fn servers(&self) -> Vec<i32> {
        let cluster = self.cluster();
        let cluster = std::fs::canonicalize(&cluster).unwrap_or(cluster);
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|entry| {
                let at = entry.path();
                let name = std::fs::read_to_string(at.join("comm")).unwrap_or_default();
                name.trim() == "postgres"
                    && std::fs::read_link(at.join("cwd")).is_ok_and(|found| found == cluster)
            })
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// Where the database of a running service is reached.
    pub(crate) async fn url(&self) -> String {
        let found = EmbeddedServer::start_or_attach(EmbeddedOptions::new(&self.path)).await;
        match found.expect("a server") {
            found @ Found::Attached(_) => found.connection().url(),
            Found::Ours(_) => panic!("no service runs on {}", self.path.display()),
        }
    }

    /// A session beside a running service.
    pub(crate) async fn session(&self) -> PgConnection {
        let options = parse_url(&self.url().await).expect("our own URL");
        options.disable_statement_logging().connect().await.expect("a session")
    }
}

/// Asks again and again until the answer is yes; panics when it takes too long.
pub(crate) async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), asked).await;
    in_time.unwrap_or_else(|_| panic!("not within 30 s: {what}"));
}
