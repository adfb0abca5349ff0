//! Ends the server when we are gone, however we went.
//!
//! After `kill -9` nobody is left to stop the child, and the kernel's own remedy (`PDEATHSIG`)
//! needs unsafe code, is bound to a thread and is unknown to macOS. So a small shell waits for the
//! end of a pipe whose other end only we hold: it comes with our last breath, and the shell then
//! asks the server for a fast shut-down. Without it, test runs (whose statics are never dropped)
//! and killed services would leave servers running until the next start finds them.

use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, ChildStdin};
use tracing::warn;

use super::account::Account;

/// Waits for the end of its input, then signals.
const SCRIPT: &str = r#"read -r _; kill -INT "$1""#;

/// A process that outlives us for a moment. Dropping it has the same effect as our death.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Option<Child>,
    // Held, never written to: its end is the message.
    _pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Watches over this server. Without a shell the server is simply not watched: the next start
    /// would still find and stop it.
    pub(super) fn set(account: &Account, server: u32) -> Self {
        let mut command = account.command(Path::new("/bin/sh"));
        command.args(["-c", SCRIPT, "flashdeal-watchdog"]).arg(server.to_string());
        match command.stdin(Stdio::piped()).spawn() {
            Ok(mut shell) => Self { _pipe: shell.stdin.take(), shell: Some(shell) },
            Err(error) => {
                warn!("PostgreSQL will not notice if this process is killed: {error}");
                Self { shell: None, _pipe: None }
            }
        }
    }

    /// To be called when the server has ended, before its process id can belong to anybody else.
    pub(super) async fn dismiss(mut self) {
        if let Some(shell) = &mut self.shell {
            // It may have been killed before us: then it is gone already, which is all we want.
            let _ = shell.kill().await;
        }
    }
}
