//! The server's command line: where this server differs from PostgreSQL's defaults, and why.
//!
//! Settings go by `-c` and not into `postgresql.conf`, so a cluster made by an older FlashDeal gets
//! today's values, and distributions that patch the sample file cannot change them.

use std::path::Path;

use super::census;
use super::connection::Connection;
use super::options::EmbeddedOptions;

/// The arguments of `postgres`. The last `-c` of a name wins, so test settings come last.
pub(super) fn arguments(
    cluster: &Path,
    connection: &Connection,
    options: &EmbeddedOptions,
) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), cluster.to_string_lossy().into_owned()];
    let own = [
        ("port", connection.port.to_string()),
        ("unix_socket_directories", list_item(&connection.socket_dir.to_string_lossy())),
        ("cluster_name", census::cluster_name(cluster)),
        ("max_connections", options.max_connections.to_string()),
        ("shared_buffers", format!("{}MB", shared_buffers_mb(memory_mb()))),
    ];
    let fixed = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let tests = options.test_settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in own.into_iter().chain(fixed).chain(tests) {
        arguments.push("-c".to_owned());
        arguments.push(format!("{name}={value}"));
    }
    arguments
}

/// A quarter of the machine's memory, at most a gigabyte: the hot ends of a million orders' indexes
/// fit, and memory is only touched as it is used.
fn shared_buffers_mb(memory_mb: u64) -> u64 {
    (memory_mb / 4).clamp(128, 1_024)
}

/// The machine's memory; a small machine's where it does not say.
fn memory_mb() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let said = |variable| sysconf(variable).ok().flatten().and_then(|n| u64::try_from(n).ok());
    let bytes = said(SysconfVar::_PHYS_PAGES).zip(said(SysconfVar::PAGE_SIZE));
    bytes.map_or(512, |(pages, size)| pages.saturating_mul(size) / (1024 * 1024))
}

/// How much of the log is kept for later (`min_wal_size`).
pub(super) const LOG_KEPT: &str = "1GB";

const FIXED: [(&str, &str); 15] = [
    // Nothing on the network; the socket's directory is private (see `socket`).
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    // An answered order survives a crash. Said aloud: an edited postgresql.conf cannot undo it.
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    // A checkpoint each gigabyte, a million orders or so. Behind one the first touch of a page logs
    // all of it: at half a gigabyte (the default) more than half of what a shop with a million
    // orders logs in a rush is such pages. More would make the recovery from a crash in a rush
    // longer, by four seconds or so for each gigabyte (docs/performance.md).
    ("max_wal_size", "2GB"),
    // The files of the log that lie between two checkpoints are kept and used again. To make one of
    // 16 MB stops every COMMIT for tens of milliseconds, and a rush needs one a second. The first
    // ones come with the cluster.
    ("min_wal_size", LOG_KEPT),
    // Some distributions switch the collector on; our child writes to the file that we gave it.
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    // A refused statement is answered to the service, which counts it by SQLSTATE. One line for
    // each would let a flash sale fill the disk. LOG, FATAL and PANIC stay.
    ("log_min_messages", "log"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
    // In containers that forbid huge pages, "try" can kill the server on first touch.
    ("huge_pages", "off"),
    // Short statements only: compiling one costs more than running it.
    ("jit", "off"),
    // The audit must not take the cores that a sale needs.
    ("max_parallel_workers_per_gather", "0"),
];

/// One entry of a list setting: quoted, because commas and blanks would split the path.
fn list_item(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            socket_dir: "/srv/a, b".into(),
            port: 5432,
            user: "flashdeal".to_owned(),
            database: "flashdeal".to_owned(),
        }
    }

    #[test]
    fn the_service_is_durable_and_off_the_network() {
        let options = EmbeddedOptions::new("/srv/data");
        let line = arguments(Path::new("/srv/data/postgres"), &connection(), &options).join(" ");
        assert!(line.starts_with("-D /srv/data/postgres -c port=5432"), "{line}");
        for wanted in ["fsync=on", "full_page_writes=on", "synchronous_commit=on"] {
            assert!(line.contains(wanted), "{wanted} missing in {line}");
        }
        assert!(line.contains("-c listen_addresses= -c"), "{line}");
        assert!(line.contains("unix_socket_directories=\"/srv/a, b\""), "{line}");
    }

    #[test]
    fn a_small_machine_is_not_filled_and_a_large_one_not_used_up() {
        let shared = [256, 2_048, 262_144].map(shared_buffers_mb);
        assert_eq!(shared, [128, 512, 1_024]);
    }

    #[test]
    fn a_test_setting_comes_last_and_so_wins() {
        let options = EmbeddedOptions::not_durable_for_tests("/srv/data");
        let arguments = arguments(Path::new("/srv/data/postgres"), &connection(), &options);
        let position = |wanted: &str| arguments.iter().position(|argument| argument == wanted);
        assert!(position("fsync=on") < position("fsync=off"));
        assert!(position("fsync=off").is_some());
    }
}
