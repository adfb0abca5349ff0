//! Which of the installed PostgreSQL servers to use.
//!
//! What must stay true: an existing cluster is only ever opened by its own major version, even
//! when a newer one is installed; a new cluster gets the newest. Debian, Red Hat and Homebrew keep
//! servers out of `PATH` on purpose (several majors side by side), so their places are searched
//! too, and each find is asked for its version instead of being believed by its path.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::account::Account;
use super::error::EmbeddedError;
use super::place::Place;

/// The oldest major version that the migrations and statements are tested with.
const MAJOR_MIN: u32 = 14;

/// How long a program may take to say its version.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Directories with one entry for each major version: parent, what an entry's name starts with,
/// and where the programs lie below it.
const VERSIONED: [(&str, &str, &str); 10] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                  // PostgreSQL's own packages for Red Hat
    ("/usr/lib", "postgresql", "bin"),          // openSUSE
    ("/usr/libexec", "postgresql", ""),         // Alpine
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew on Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/opt/local/lib", "postgresql", "bin"), // MacPorts
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/local", "pgsql", "bin"), // built from source
];

/// A server's version. Ordered: newer is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Reads the answer of `postgres --version`, such as `postgres (PostgreSQL) 15.8 (Debian)`.
    fn parse(answer: &str) -> Option<Self> {
        let text = answer.split_once("(PostgreSQL)")?.1.trim_start();
        let number = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u32>().ok().map(|value| (value, end))
        };
        let (major, end) = number(text)?;
        // A development version has no minor: `19devel`, `19beta1`.
        let minor = text[end..].strip_prefix('.').and_then(number).map_or(0, |(minor, _)| minor);
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// An installed server.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    /// The directory of `postgres` and `initdb`.
    pub(super) bin_dir: PathBuf,
    /// What `postgres --version` said.
    pub(super) version: Version,
}

impl Binaries {
    /// The path of one of the server's programs.
    pub(super) fn tool(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// The server for a cluster of this major version, or for a new cluster.
pub(super) async fn find(
    place: &Place,
    cluster_major: Option<u32>,
) -> Result<Binaries, EmbeddedError> {
    let mut installed = Vec::new();
    for bin_dir in search(place).await {
        if let Some(version) = ask_version(&place.account, &bin_dir).await {
            installed.push(Binaries { bin_dir, version });
        }
    }
    let chosen = choose(installed, cluster_major, &place.cluster());
    #[cfg(feature = "download-postgres")]
    if chosen.is_err() {
        let major = cluster_major.unwrap_or(super::download::MAJOR);
        let fetched = super::download::fetch(place, major).await;
        return fetched.map_err(|reason| EmbeddedError::Download { reason });
    }
    chosen
}

/// The version of the server in this directory, asked as the account that must be able to run it.
pub(super) async fn ask_version(account: &Account, bin_dir: &Path) -> Option<Version> {
    let mut command = account.command(&bin_dir.join("postgres"));
    let output = said_by(command.arg("--version")).await?;
    Version::parse(&String::from_utf8_lossy(&output.stdout))
}

/// What a program answers to a question. One that does not end is as good as none.
async fn said_by(command: &mut Command) -> Option<Output> {
    let asked = command.stdout(Stdio::piped()).kill_on_drop(true).output();
    timeout(ANSWER_MAX, asked).await.ok()?.ok()
}

/// Newest first; among equals the one that was found first.
fn choose(
    mut installed: Vec<Binaries>,
    cluster_major: Option<u32>,
    cluster: &Path,
) -> Result<Binaries, EmbeddedError> {
    installed.sort_by_key(|found| std::cmp::Reverse(found.version));
    let Some(newest) = installed.first() else {
        return Err(EmbeddedError::NotInstalled);
    };
    let newest_version = newest.version;
    match cluster_major {
        None if newest_version.major < MAJOR_MIN => {
            Err(EmbeddedError::TooOld { found: newest_version.to_string() })
        }
        None => Ok(newest.clone()),
        Some(major) => {
            let own = installed.iter().find(|found| found.version.major == major).cloned();
            own.ok_or_else(|| {
                let mut versions: Vec<_> =
                    installed.iter().map(|found| found.version.to_string()).collect();
                versions.dedup();
                EmbeddedError::MajorMissing {
                    cluster: cluster.to_owned(),
                    needed: major,
                    installed: versions.join(", "),
                }
            })
        }
    }
}

/// Every directory that holds a server's two programs, each once, however many links lead to it.
async fn search(place: &Place) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.extend(ask_pg_config().await);
    for (parent, prefix, suffix) in VERSIONED {
        directories.extend(entries(Path::new(parent), prefix, suffix));
    }
    // What an earlier run with `download-postgres` fetched also serves a build without it.
    directories.extend(entries(&place.home.join("binaries"), "", "bin"));
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let Ok(postgres) = fs::canonicalize(directory.join("postgres")) else {
            continue;
        };
        // The programs find each other beside the real file, not beside a link to it.
        let Some(real) = postgres.parent() else {
            continue;
        };
        if real.join("initdb").is_file() && !found.iter().any(|known| known == real) {
            found.push(real.to_owned());
        }
    }
    found
}

/// Where the `pg_config` of `PATH` says that its server's programs are.
async fn ask_pg_config() -> Option<PathBuf> {
    let mut command = Account::Own.command(Path::new("pg_config"));
    let output = said_by(command.arg("--bindir")).await?;
    let directory = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(directory.trim())).filter(|directory| directory.is_absolute())
}

fn entries(parent: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(suffix))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(versions: &[(u32, u32)]) -> Vec<Binaries> {
        let one = |&(major, minor): &(u32, u32)| Binaries {
            bin_dir: PathBuf::from(format!("/pg/{major}.{minor}/bin")),
            version: Version { major, minor },
        };
        versions.iter().map(one).collect()
    }

    #[test]
    fn versions_are_read_from_what_servers_say() {
        let cases = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some((15, 18))),
            ("postgres (PostgreSQL) 14.0", Some((14, 0))),
            ("postgres (PostgreSQL) 19devel", Some((19, 0))),
            ("postgres (PostgreSQL) 18beta2", Some((18, 0))),
            ("postgres (PostgreSQL) 9.6.24", Some((9, 6))),
            ("postgres (EnterpriseDB) 15.1", None),
            ("postgres (PostgreSQL) x", None),
            ("", None),
        ];
        for (answer, expected) in cases {
            let found = Version::parse(answer).map(|version| (version.major, version.minor));
            assert_eq!(found, expected, "{answer:?}");
        }
    }

    #[test]
    fn a_new_cluster_gets_the_newest_server() {
        let found = choose(installed(&[(14, 9), (17, 2), (17, 10), (9, 6)]), None, Path::new("/c"));
        assert_eq!(found.expect("one fits").version, Version { major: 17, minor: 10 });
    }

    #[test]
    fn an_existing_cluster_gets_its_own_major_version() {
        let found = choose(installed(&[(18, 1), (15, 3), (15, 8)]), Some(15), Path::new("/c"));
        assert_eq!(found.expect("one fits").version, Version { major: 15, minor: 8 });
    }

    /// The clock is moved on as soon as nothing but the program is waited for.
    #[tokio::test(start_paused = true)]
    async fn a_program_that_never_says_its_version_is_none() {
        let directory = std::env::temp_dir().join(format!("flashdeal-mute-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let mute = directory.join("postgres");
        fs::write(&mute, "#!/bin/sh\nexec sleep 600\n").expect("a program");
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&mute, all).expect("its mode");
        assert_eq!(ask_version(&Account::Own, &directory).await, None);
        fs::remove_dir_all(&directory).expect("no trace");
    }

    #[test]
    fn what_is_missing_is_named() {
        let say = |versions: &[(u32, u32)], major| {
            choose(installed(versions), major, Path::new("/c")).expect_err("none fits").to_string()
        };
        assert!(say(&[], None).contains("apt install postgresql"));
        assert!(say(&[], Some(15)).contains("DATABASE_URL"));
        assert!(say(&[(13, 4), (12, 1)], None).contains("found is 13.4"));
        let other = say(&[(17, 1), (18, 0)], Some(15));
        assert!(other.contains("made by PostgreSQL 15, and only 18.0, 17.1 is installed"));
    }
}
