//! Where the data live: in the data directory, or, when the server's account cannot enter it, in
//! another place that the data directory remembers.
//!
//! Root's clone under `/root` (mode 0700) is the case: PostgreSQL must not be root, and nobody else
//! may enter. Opening the home would be worse than moving the data, so they move, once, said in one
//! line, and a small file keeps the place for every later run. Lock, log, cluster and socket stay
//! together in this one *home*, so that two data directories which name the same home (a copied
//! checkout) meet at the same lock.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::info;

use super::account::{Account, name_of};
use super::error::{EmbeddedError, io_error};

/// Remembers, in the data directory, the home that was chosen elsewhere.
const POINTER: &str = "elsewhere";
/// Where root may keep data for an unprivileged account, best first.
const ELSEWHERE: [&str; 2] = ["/var/lib", "/var/tmp"];

/// The directory that everything of one server lives in, and its account.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Absolute, without symbolic links.
    pub(super) home: PathBuf,
    /// As whom the server runs.
    pub(super) account: Account,
}

impl Place {
    /// PostgreSQL's data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        cluster_in(&self.home)
    }

    /// The server's messages.
    pub(super) fn log_file(&self) -> PathBuf {
        self.home.join("postgres.log")
    }

    /// Whose lock says who owns all this.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.home.join("lock")
    }

    /// Locked by who uses the owner's server.
    pub(super) fn guests_file(&self) -> PathBuf {
        self.home.join("guests")
    }

    /// Locked by an owner that lets nobody else use its server.
    pub(super) fn door_file(&self) -> PathBuf {
        self.home.join("door")
    }
}

/// Makes the data directory when it is missing and finds the home that belongs to it.
pub(super) async fn settle(data_dir: &Path) -> Result<Place, EmbeddedError> {
    let data_dir = make(data_dir)?;
    if let Some(home) = remembered(&data_dir)? {
        let account = Account::choose(&cluster_in(&home))?;
        return Ok(Place { home, account });
    }
    let cluster = cluster_in(&data_dir);
    let account = Account::choose(&cluster)?;
    let doing = format!("use {} as {}", data_dir.display(), account.name());
    if matches!(account, Account::Own)
        || account.can_live_in(&data_dir).await.map_err(io_error(doing))?
    {
        return Ok(Place { home: data_dir, account });
    }
    if cluster.exists() {
        return Err(EmbeddedError::OutOfReach { cluster, account: account.name() });
    }
    move_elsewhere(&data_dir).await
}

/// Short, stable and different for different directories: FNV-1a, 64 bits, of the path.
pub(super) fn fingerprint(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn cluster_in(home: &Path) -> PathBuf {
    home.join("postgres")
}

/// The data directory, existing, absolute and without symbolic links.
fn make(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let bad = |reason| EmbeddedError::BadDataDir { path: data_dir.to_owned(), reason };
    let doing = || format!("make the data directory {}", data_dir.display());
    if data_dir.as_os_str().is_empty() {
        return Err(bad("it is empty"));
    }
    if !data_dir.exists() {
        fs::create_dir_all(data_dir).map_err(io_error(doing()))?;
        // Ours and new. The server's account must get through it whatever the umask says; what
        // must stay private is inside, in directories of mode 0700.
        fs::set_permissions(data_dir, Permissions::from_mode(0o755)).map_err(io_error(doing()))?;
    }
    let absolute = fs::canonicalize(data_dir).map_err(io_error(doing()))?;
    match absolute.to_str() {
        None => Err(bad("its path is not UTF-8")),
        // postmaster.pid and the log are read line by line.
        Some(path) if path.chars().any(char::is_control) => {
            Err(bad("its path contains a control character"))
        }
        Some(_) if !absolute.is_dir() => Err(bad("it is not a directory")),
        Some(_) => Ok(absolute),
    }
}

/// The home that an earlier run chose elsewhere.
fn remembered(data_dir: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    let pointer = data_dir.join(POINTER);
    let text = match fs::read_to_string(&pointer) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(format!("read {}", pointer.display()))(error)),
    };
    let Some(home) = text.lines().find(|line| line.starts_with('/')) else {
        return Ok(None);
    };
    match fs::canonicalize(home) {
        Ok(home) => Ok(Some(home)),
        Err(_) => Err(EmbeddedError::ElsewhereGone { place: home.into(), pointer }),
    }
}

/// Chooses a home outside the data directory and remembers it.
async fn move_elsewhere(data_dir: &Path) -> Result<Place, EmbeddedError> {
    let mut reason = String::from("no directory is left");
    for parent in ELSEWHERE {
        let home = Path::new(parent).join(format!("flashdeal-{}", fingerprint(data_dir)));
        if let Err(error) = make_home(&home) {
            reason = format!("{} cannot be used ({error})", home.display());
            continue;
        }
        let account = Account::choose(&cluster_in(&home))?;
        let doing = format!("use {} as {}", home.display(), account.name());
        if !account.can_live_in(&home).await.map_err(io_error(doing))? {
            reason = format!("`{}` cannot own files in {}", account.name(), home.display());
            // Removes it only if it is empty, as we made it.
            let _ = fs::remove_dir(&home);
            continue;
        }
        remember(data_dir, &home)?;
        info!(
            "the account {} cannot enter {}: the embedded database lives in {} (delete both to \
             start afresh)",
            account.name(),
            data_dir.display(),
            home.display()
        );
        return Ok(Place { home, account });
    }
    Err(EmbeddedError::NoAccount { reason })
}

/// A directory of ours that others may pass through and nobody else may change.
fn make_home(home: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(home) {
        Ok(()) => fs::set_permissions(home, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(home)?;
            if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
                return Ok(());
            }
            Err(io::Error::other(format!(
                "it is there already and belongs to {}",
                name_of(found.uid())
            )))
        }
        Err(error) => Err(error),
    }
}

/// Written aside and renamed: a killed run leaves no half a path.
fn remember(data_dir: &Path, home: &Path) -> Result<(), EmbeddedError> {
    let pointer = data_dir.join(POINTER);
    let draft = data_dir.join(format!("{POINTER}.new"));
    let text = format!(
        "# The embedded database of this directory lives here, because the unprivileged account\n\
         # that PostgreSQL runs as cannot enter this directory.\n{}\n",
        home.display()
    );
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, &pointer))
        .map_err(io_error(format!("write {}", pointer.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_stable_and_differ() {
        assert_eq!(fingerprint(Path::new("")), "cbf29ce484222325");
        assert_eq!(fingerprint(Path::new("a")), "af63dc4c8601ec8c");
        assert_ne!(fingerprint(Path::new("/a/b")), fingerprint(Path::new("/a/c")));
    }

    #[test]
    fn a_path_with_a_line_break_is_refused_with_a_sentence() {
        let path = std::env::temp_dir().join(format!("flashdeal\n{}", std::process::id()));
        let error = make(&path).expect_err("the path has a line break");
        fs::remove_dir(&path).expect("it was made");
        assert!(error.to_string().contains("control character"), "{error}");
    }
}
