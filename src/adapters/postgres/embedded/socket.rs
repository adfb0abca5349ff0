//! Where clients knock: a private directory with a path short enough for a unix socket.
//!
//! Access is the directory's mode: 0700, owned by the server's account (root enters anyway). Who
//! can reach the socket could also read the cluster's files, so a password would protect nothing;
//! therefore local sessions are trusted (`--auth-local=trust`) and hosts are rejected.
//!
//! A socket path has at most 107 bytes on Linux and 103 on macOS, and PostgreSQL only says "too
//! long". A deep data directory gets its socket elsewhere, under a name that follows from the
//! home, so that two checkouts never share one and a restart finds its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::PORT;
use super::account::Account;
use super::error::EmbeddedError;
use super::place::{Place, fingerprint};

/// Bytes of the socket's path on the stricter system (macOS: 104 with the final NUL).
const SOCKET_PATH_MAX: usize = 103;

/// The file name of the socket; PostgreSQL keeps a pid file `<name>.lock` beside it.
pub(super) fn file_name() -> String {
    format!(".s.PGSQL.{PORT}")
}

/// Makes (or checks) the first usable directory.
pub(super) fn prepare(place: &Place) -> Result<PathBuf, EmbeddedError> {
    let runtime_dir = match place.account {
        // A session's own runtime directory cannot be entered by a lent account.
        Account::Lent { .. } => Some(PathBuf::from("/run")),
        Account::Own => std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
    };
    let mut reasons = Vec::new();
    for directory in candidates(&place.home, runtime_dir.as_deref(), place.account.uid()) {
        match make_private(&directory, &place.account) {
            Ok(()) => return Ok(directory),
            Err(error) => reasons.push(format!("{} ({error})", directory.display())),
        }
    }
    Err(EmbeddedError::NoSocketDir { reasons: reasons.join(", ") })
}

/// Removes a directory outside the home when its server has ended: each home has a name of its own
/// there, and nobody would ever clear them away. To be called by who holds the home's lock.
pub(super) fn remove(place: &Place, directory: &Path) {
    if !directory.starts_with(&place.home) {
        // Only an empty one goes; if it stays, nothing is hurt, and the next start takes it.
        let _ = fs::remove_dir(directory);
    }
}

/// Beside the cluster if that is short enough, else in short places of this machine.
fn candidates(home: &Path, runtime_dir: Option<&Path>, uid: u32) -> Vec<PathBuf> {
    let name = format!("flashdeal-{uid}-{}", fingerprint(home));
    let runtime_dir = runtime_dir.filter(|directory| directory.is_absolute());
    let short = runtime_dir.map(|directory| directory.join(&name));
    [Some(home.join("socket")), short, Some(Path::new("/tmp").join(&name))]
        .into_iter()
        .flatten()
        .filter(|directory| directory.as_os_str().len() + 1 + file_name().len() <= SOCKET_PATH_MAX)
        .collect()
}

/// A real directory, of the account, closed to everybody else: in `/tmp` a stranger may have been
/// faster, so an existing one is checked like a foreign one.
fn make_private(directory: &Path, account: &Account) -> io::Result<()> {
    match account.private_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => account.keep_private(directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_home_keeps_its_socket_beside_the_cluster() {
        let found = candidates(Path::new("/srv/shop/.flashdeal"), None, 1000);
        assert_eq!(found[0], Path::new("/srv/shop/.flashdeal/socket"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_long_home_moves_its_socket_and_keeps_to_the_limit() {
        let home = PathBuf::from(format!("/srv/{}", "long".repeat(40)));
        let found = candidates(&home, Some(Path::new("/run/user/1000")), 1000);
        let name = format!("flashdeal-1000-{}", fingerprint(&home));
        let expected = [Path::new("/run/user/1000").join(&name), Path::new("/tmp").join(&name)];
        assert_eq!(found, expected);
        for directory in found {
            let path = directory.join(file_name());
            assert!(path.as_os_str().len() <= SOCKET_PATH_MAX);
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let fits = SOCKET_PATH_MAX - "/socket/".len() - file_name().len();
        let home = |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        assert!(candidates(&home(fits), None, 0)[0].ends_with("socket"));
        assert!(!candidates(&home(fits + 1), None, 0)[0].ends_with("socket"));
    }

    #[test]
    fn a_relative_runtime_directory_is_ignored() {
        let home = PathBuf::from(format!("/srv/{}", "long".repeat(40)));
        assert_eq!(candidates(&home, Some(Path::new("run")), 1000).len(), 1);
    }
}
