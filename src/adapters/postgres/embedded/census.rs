//! Who is alive: is this process a PostgreSQL server on this cluster?
//!
//! A process id from a file proves nothing. The process may be gone, a zombie that nobody reaped
//! (`kill(pid, 0)` still succeeds, and PostgreSQL then refuses to start), or a stranger that got
//! the number after a reboot. A server is known by its name and by its working directory, which is
//! always its cluster. Linux is asked through `/proc`, other systems through `ps`.

use std::path::Path;

use super::place::fingerprint;

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// There is no such process.
    Gone,
    /// It is dead and keeps its number until its parent looks.
    Zombie,
    /// It is a server process on the cluster in question.
    Server,
    /// It is somebody else.
    Stranger,
}

pub(super) use system::{life_of, servers_on};

#[cfg(target_os = "linux")]
mod system {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::{fs, io};

    use super::{Life, is_server_name};

    /// What the process is, seen from this cluster.
    pub(in super::super) fn life_of(pid: u32, cluster: &Path) -> Life {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return Life::Gone;
        };
        match parse_stat(&stat) {
            Some((_, 'Z' | 'X')) => Life::Zombie,
            Some((name, _)) if is_server_name(name) && works_in(pid, cluster) => Life::Server,
            Some(_) | None => Life::Stranger,
        }
    }

    /// Every server process on this cluster: postmaster, backends, workers.
    pub(in super::super) fn servers_on(cluster: &Path) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| life_of(*pid, cluster) == Life::Server)
            .collect()
    }

    /// A server whose cluster was deleted under it still holds the socket's lock, so it counts.
    fn works_in(pid: u32, cluster: &Path) -> bool {
        let directory = match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(directory) => directory,
            // Another account's process, and we are a root without CAP_SYS_PTRACE, as in a
            // container: its command line is for everyone.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                return names(&line, cluster);
            }
            Err(_) => return false,
        };
        let mut deleted = cluster.as_os_str().to_owned();
        deleted.push(" (deleted)");
        directory == cluster || directory.as_os_str() == deleted
    }

    /// Whether a command line is a server's on this cluster: `-D` and its directory for the
    /// postmaster, the cluster's name in the title of everyone else.
    fn names(line: &[u8], cluster: &Path) -> bool {
        let mut arguments = line.split(|byte| *byte == 0);
        let title = format!("postgres: {}:", super::cluster_name(cluster));
        line.starts_with(title.as_bytes())
            || (arguments.any(|argument| argument == b"-D")
                && arguments.next() == Some(cluster.as_os_str().as_bytes()))
    }

    #[test]
    fn a_command_line_names_its_cluster_or_another() {
        let (here, title) = (Path::new("/a b/c"), super::cluster_name(Path::new("/a b/c")));
        assert!(names(b"/usr/bin/postgres\0-D\0/a b/c\0-k\0x\0", here));
        assert!(names(format!("postgres: {title}: checkpointer \0").as_bytes(), here));
        for other in [&b"postgres\0-D\0/a b/cd\0"[..], b"postgres: flashdeal-0: walwriter", b""] {
            assert!(!names(other, here));
        }
    }

    /// Name and state from `/proc/PID/stat`. The name stands in parentheses and may hold some.
    fn parse_stat(stat: &str) -> Option<(&str, char)> {
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        Some((name, rest.trim_start().chars().next()?))
    }

    #[test]
    fn name_and_state_are_read_whatever_the_name_is() {
        assert_eq!(parse_stat("7 (postgres) S 1 7 7"), Some(("postgres", 'S')));
        assert_eq!(parse_stat("7 (odd) name) Z 1 7"), Some(("odd) name", 'Z')));
        assert_eq!(parse_stat("7 (cut off"), None);
        assert_eq!(parse_stat(""), None);
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;
    use std::process::Command;

    use super::{Life, is_server_name};

    /// What the process is, seen from this cluster: our command line names it after `-D`.
    pub(in super::super) fn life_of(pid: u32, cluster: &Path) -> Life {
        let line = |column: &str| {
            let output = Command::new("ps").args(["-p", &pid.to_string(), "-o", column]).output();
            let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            text.unwrap_or_default().trim().to_owned()
        };
        let state = line("state=");
        if state.is_empty() {
            return Life::Gone;
        }
        if state.starts_with('Z') {
            return Life::Zombie;
        }
        let command = line("command=");
        let program = command.split_once(" -D ").map_or("", |(program, _)| program);
        let name = program.rsplit('/').next().unwrap_or_default();
        let here = command.contains(&format!(" -D {} ", cluster.display()));
        if here && is_server_name(name) { Life::Server } else { Life::Stranger }
    }

    /// Every process that carries the cluster's name in its title: backends and workers. The
    /// postmaster has none, and is known by its pid file.
    pub(in super::super) fn servers_on(cluster: &Path) -> Vec<u32> {
        let title = format!("postgres: {}: ", super::cluster_name(cluster));
        let output = Command::new("ps").args(["-A", "-o", "pid=,command="]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let lines = text.unwrap_or_default();
        let pids = lines.lines().filter(|line| line.contains(&title));
        pids.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
    }
}

/// The name that the server's processes carry in their titles, for `ps` and for people.
pub(super) fn cluster_name(cluster: &Path) -> String {
    format!("flashdeal-{}", fingerprint(cluster))
}

fn is_server_name(name: &str) -> bool {
    name == "postgres" || name == "postmaster"
}

/// Whether the process is a live server on this cluster.
pub(super) fn is_server(pid: u32, cluster: &Path) -> bool {
    life_of(pid, cluster) == Life::Server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_stranger_and_number_zero_is_gone() {
        let cluster = Path::new("/nowhere");
        assert_eq!(life_of(std::process::id(), cluster), Life::Stranger);
        assert_eq!(life_of(0, cluster), Life::Gone);
    }
}
