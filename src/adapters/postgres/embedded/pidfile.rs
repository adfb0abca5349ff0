//! `postmaster.pid`, the file in which a server says who it is and how far it got.
//!
//! Eight lines: process id, data directory, start time, port, socket directory, listen address,
//! shared memory key, status (`starting`, `ready`, `stopping`, `standby`). The server writes them
//! bit by bit, so every line but the first may be missing. The lock file beside a socket begins in
//! the same way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is known of the server that wrote the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    /// Line 1.
    pub(super) pid: u32,
    /// Line 4.
    pub(super) port: Option<u16>,
    /// Line 5, when the server listens on a unix socket.
    pub(super) socket_dir: Option<PathBuf>,
    /// Line 8.
    pub(super) status: Status,
}

/// How far the server got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Not yet ready, or not yet said.
    Starting,
    /// It takes connections.
    Ready,
    /// Somebody told it to stop.
    Stopping,
}

/// The pid file of a cluster.
pub(super) fn of_cluster(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

/// Reads a pid file; `None` when there is none or it says nothing yet.
pub(super) fn read(path: &Path) -> io::Result<Option<PidFile>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> Option<PidFile> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line = |number: usize| lines.get(number - 1).copied().filter(|line| !line.is_empty());
    Some(PidFile {
        // A server without a postmaster (`--single`) writes its id with a minus sign.
        pid: line(1)?.trim_start_matches('-').parse().ok()?,
        port: line(4).and_then(|line| line.parse().ok()),
        socket_dir: line(5).map(PathBuf::from),
        status: match line(8) {
            Some("ready") => Status::Ready,
            Some("stopping") => Status::Stopping,
            Some(_) | None => Status::Starting,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "4711\n/srv/data\n1700000000\n5432\n/srv/socket\n\n 123 456\nready   \n";

    #[test]
    fn a_ready_server_is_read_in_full() {
        let expected = PidFile {
            pid: 4711,
            port: Some(5432),
            socket_dir: Some("/srv/socket".into()),
            status: Status::Ready,
        };
        assert_eq!(parse(READY), Some(expected));
    }

    #[test]
    fn a_file_that_is_still_being_written_is_not_ready() {
        for end in 0..READY.len() - 5 {
            let found = parse(&READY[..end]);
            let status = found.map_or(Status::Starting, |found| found.status);
            assert_eq!(status, Status::Starting, "{:?}", &READY[..end]);
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("\n"), None);
        let status = |word| parse(&READY.replace("ready", word)).map(|found| found.status);
        assert_eq!(status("starting"), Some(Status::Starting));
        assert_eq!(status("stopping"), Some(Status::Stopping));
    }

    #[test]
    fn a_server_without_postmaster_is_recognised() {
        assert_eq!(parse("-99\n").map(|found| found.pid), Some(99));
    }
}
