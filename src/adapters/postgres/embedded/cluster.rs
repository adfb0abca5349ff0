//! Makes a cluster: `initdb`, the database and files for its log, in a side folder that is renamed
//! when it is whole.
//!
//! A killed `initdb` therefore leaves nothing that looks like a cluster. Side folders carry the
//! maker's process id, because an `initdb` whose parent was killed may still be writing to its own.
//! The steps run without `fsync`, and one `initdb --sync-only` at the end makes all of it durable.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::statvfs::{Statvfs, statvfs};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::info;

use super::account::{Account, name_of};
use super::binaries::{self, Binaries};
use super::error::{EmbeddedError, io_error};
use super::log::last_lines;
use super::place::Place;
use super::settings::LOG_KEPT;
use super::{DATABASE, USER};

/// `initdb` takes a second; a slow network disk takes a minute.
const TOOL_TIMEOUT: Duration = Duration::from_secs(120);
/// What one file of the log takes (`wal_segment_size`).
const LOG_FILE_BYTES: u128 = 16 * 1024 * 1024;
/// The name of a side folder, before the process id.
const SIDE: &str = "making-";

/// Makes the cluster when there is none, with `log_files` files for its log, and returns the
/// programs that belong to it.
pub(super) async fn prepare(place: &Place, log_files: u16) -> Result<Binaries, EmbeddedError> {
    remove_sides(&place.home);
    let cluster = place.cluster();
    let major = major_of(place)?;
    let binaries = binaries::find(place, major).await?;
    if major.is_none() {
        info!(version = %binaries.version, "making a new database in {}", cluster.display());
        make(place, &binaries, log_files.min(affordable(free(&place.home)))).await?;
    }
    // Root may have copied or restored the files; PostgreSQL insists that they are its account's.
    let owner = fs::metadata(&cluster).map(|found| found.uid());
    if matches!(place.account, Account::Lent { .. }) && owner.is_ok_and(|uid| uid == 0) {
        let doing = format!("hand {} to {}", cluster.display(), place.account.name());
        place.account.give_all(&cluster).map_err(io_error(doing))?;
    }
    let doing = format!("keep {} private", cluster.display());
    place.account.keep_private(&cluster).map_err(io_error(doing))?;
    Ok(binaries)
}

/// Bytes that are free on the disk of a directory; none where it does not say.
fn free(home: &Path) -> u128 {
    // The types of both numbers differ from system to system.
    let bytes =
        |disk: Statvfs| u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
    statvfs(home).map_or(0, bytes)
}

/// Files of the log that may be made ahead: at most a quarter of what is free. They only make the
/// first rush smoother; a small disk is worth more to the orders themselves.
fn affordable(free: u128) -> u16 {
    u16::try_from(free / 4 / LOG_FILE_BYTES).unwrap_or(u16::MAX)
}

/// The major version that made the cluster, if there is one.
fn major_of(place: &Place) -> Result<Option<u32>, EmbeddedError> {
    let file = place.cluster().join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| EmbeddedError::BadDataDir {
            path: file,
            reason: "it does not name a PostgreSQL version",
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match fs::read_dir(place.cluster()).is_ok_and(|mut entries| entries.next().is_some()) {
                false => Ok(None),
                true => Err(EmbeddedError::BadDataDir {
                    path: place.cluster(),
                    reason: "it holds something else than a PostgreSQL cluster",
                }),
            }
        }
        Err(error) => match fs::metadata(place.cluster()) {
            Ok(found) if found.uid() != place.account.uid() => {
                Err(EmbeddedError::NotOurs { path: place.cluster(), owner: name_of(found.uid()) })
            }
            Ok(_) | Err(_) => Err(io_error(format!("read {}", file.display()))(error)),
        },
    }
}

async fn make(place: &Place, binaries: &Binaries, log_files: u16) -> Result<(), EmbeddedError> {
    let side = place.home.join(format!("{SIDE}{}", std::process::id()));
    let made = make_in(&side, place, binaries, log_files).await;
    if made.is_err() {
        remove_sides(&place.home);
    }
    made
}

async fn make_in(
    side: &Path,
    place: &Place,
    binaries: &Binaries,
    log_files: u16,
) -> Result<(), EmbeddedError> {
    let cluster = place.cluster();
    place.account.private_dir(side).map_err(io_error(format!("make {}", side.display())))?;
    initdb(place, binaries, side).await?;
    create_database(place, binaries, side, log_files).await?;
    let mut sync = place.account.command(&binaries.tool("initdb"));
    sync.arg("--sync-only").arg("-D").arg(side);
    run("initdb --sync-only", sync, "").await?;
    fs::rename(side, &cluster)
        .and_then(|()| File::open(&place.home)?.sync_all())
        .map_err(io_error(format!("move the new database to {}", cluster.display())))
}

async fn initdb(place: &Place, binaries: &Binaries, side: &Path) -> Result<(), EmbeddedError> {
    let mut command = place.account.command(&binaries.tool("initdb"));
    command.arg("-D").arg(side).args(["-U", USER]);
    // The same order of text everywhere, and no dependence on the locales of this machine.
    command.args(["--locale=C", "--encoding=UTF8"]);
    // Who reaches the socket could read the files as well: see `socket`.
    command.args(["--auth-local=trust", "--auth-host=reject"]);
    // A rotten page becomes an error instead of a wrong balance.
    command.args(["--data-checksums", "--no-sync", "--no-instructions"]);
    run("initdb", command, "").await
}

/// In single-user mode: no port, no socket, nobody else can come in between.
///
/// Each switch leaves one file of the log behind, and the checkpoint of the shut-down keeps them
/// for later, up to `min_wal_size` ("WAL Configuration" in PostgreSQL's manual). A server with a
/// past has them anyway; a new one would make them in its first rush, each time with every COMMIT
/// waiting.
async fn create_database(
    place: &Place,
    binaries: &Binaries,
    side: &Path,
    log_files: u16,
) -> Result<(), EmbeddedError> {
    // A file in which nothing is written is not left.
    const SWITCH: &str = "SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()\n";
    let mut command = place.account.command(&binaries.tool("postgres"));
    command.args(["--single", "-F", "-c", "exit_on_error=on"]);
    command.args(["-c", &format!("min_wal_size={LOG_KEPT}"), "-D"]).arg(side).arg("postgres");
    let switches = SWITCH.repeat(log_files.into());
    run("postgres --single", command, &format!("CREATE DATABASE {DATABASE}\n{switches}")).await
}

/// Runs a program to its end, within limits; its last lines become the error.
async fn run(tool: &'static str, mut command: Command, input: &str) -> Result<(), EmbeddedError> {
    let doing = || format!("run {tool}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(io_error(doing()))?;
    let mut stdin = child.stdin.take();
    let exchange = async {
        if let Some(mut stdin) = stdin.take() {
            // A program that ends early tells why in its output; the broken pipe adds nothing.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match timeout(TOOL_TIMEOUT, exchange).await {
        Ok(output) => output.map_err(io_error(doing()))?,
        Err(_) => {
            let outcome = format!("no end within {} s", TOOL_TIMEOUT.as_secs());
            return Err(EmbeddedError::Tool { tool, outcome, output: String::new() });
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let (outcome, output) = (output.status.to_string(), last_lines(&text));
    Err(EmbeddedError::Tool { tool, outcome, output })
}

/// What killed makers left. Best effort: a folder that stays is only in nobody's way.
fn remove_sides(home: &Path) {
    let Ok(entries) = fs::read_dir(home) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(SIDE) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_not_filled_with_files_for_later() {
        let gigabytes = [0, 1, 2, 100].map(|free| affordable(free << 30));
        assert_eq!(gigabytes, [0, 16, 32, 1_600]);
        assert_eq!(affordable(u128::MAX), u16::MAX);
    }
}
