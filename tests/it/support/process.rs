//! The real binary as a child process, for what only a process can suffer.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::api::Api;
use super::service::scratch;

/// How long a child may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(60);

/// The binary of this build.
pub(crate) const THIS_BUILD: &str = env!("CARGO_BIN_EXE_flashdeal");

/// A command of this build's binary with an environment of its own.
pub(crate) fn flashdeal(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    command_of(Path::new(THIS_BUILD), arguments, environment)
}

/// A command of a binary with an environment of its own.
pub(crate) fn command_of(
    binary: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().kill_on_drop(true).stdin(Stdio::null());
    for name in ["PATH", "HOME", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Ok(engine) = std::env::var("TEST_ENGINE") {
        command.env("FLASHDEAL_ENGINE", engine);
    }
    command.envs(environment.iter().copied());
    command
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let command = flashdeal(arguments, environment).output();
    tokio::time::timeout(START_MAX, command).await.expect("an end in time").expect("a child")
}

/// What a command printed on standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it printed on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A `serve` that has said where it listens.
pub(crate) struct ServeProcess {
    child: Child,
    /// A caller without a token.
    pub(crate) api: Api,
    /// Everything it printed on standard output until it listened.
    pub(crate) banner: String,
}

impl ServeProcess {
    /// Starts `serve` on a port that the system picks.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> ServeProcess {
        ServeProcess::of(flashdeal(&["serve", "--listen", "127.0.0.1:0"], environment)).await
    }

    /// Starts a command that serves, and waits until it says where.
    pub(crate) async fn of(mut command: Command) -> ServeProcess {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a child");
        let stdout = child.stdout.take().expect("its standard output");
        let mut lines = BufReader::new(stdout).lines();
        let mut banner = String::new();
        let mut address: Option<SocketAddr> = None;
        let read = async {
            while let Ok(Some(line)) = lines.next_line().await {
                banner.push_str(&line);
                banner.push('\n');
                if let Some((_, rest)) = line.split_once("metrics     http://") {
                    address = rest.trim_end_matches("/metrics").parse().ok();
                    break;
                }
            }
        };
        tokio::time::timeout(START_MAX, read).await.expect("a start in time");
        let address = address.unwrap_or_else(|| panic!("no address in {banner:?}"));
        // The rest of the banner is read so that the child never waits for us.
        let rest = async {
            while let Ok(Ok(Some(line))) =
                tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await
            {
                banner.push_str(&line);
                banner.push('\n');
            }
        };
        rest.await;
        ServeProcess { child, api: Api::at(address), banner }
    }

    /// Starts `serve` with its log, as JSON, in a file.
    pub(crate) async fn logged(name: &str, more: &[(&str, &str)]) -> (ServeProcess, PathBuf) {
        let log = scratch(name).join("log");
        let environment = [more, &[("FLASHDEAL_LOG_FORMAT", "json")]].concat();
        let mut command = flashdeal(&["serve", "--listen", "127.0.0.1:0"], &environment);
        command.stderr(File::create(&log).expect("a file"));
        (ServeProcess::of(command).await, log)
    }

    /// Ends one that logs into this file; what it had to say, line by line.
    pub(crate) async fn end_of_log(self, log: &Path) -> Vec<Value> {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.exit().await, Some(0));
        let text = std::fs::read_to_string(log).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The other end of its log, where that was a pipe.
    pub(crate) fn log_pipe(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("a pipe that was not taken yet")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        let id = self.child.id().expect("a running child");
        Pid::from_raw(i32::try_from(id).expect("a process id"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a signal");
    }

    /// Waits for its end; the exit code, `None` after a signal.
    pub(crate) async fn exit(mut self) -> Option<i32> {
        self.ended().await
    }

    /// The same for who keeps it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let status = tokio::time::timeout(START_MAX, self.child.wait());
        status.await.expect("an end in time").expect("a child").code()
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.exit().await;
    }
}
