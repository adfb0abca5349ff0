//! As whom the server runs. PostgreSQL refuses root, so root lends it an unprivileged account.
//!
//! What must stay true: every program of PostgreSQL is started through [`Account::command`], so
//! identity, environment, directory and process group are decided here once. Dropping to another
//! uid also drops root's supplementary groups: the standard library calls `setgroups(0)` then.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use super::error::EmbeddedError;

/// Who may be lent to the server, in order: made for it, or at least harmless.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The identity of the server's processes and files.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// Ours: we are not root, children inherit it.
    Own,
    /// We are root, and this is who the server runs as.
    Lent {
        /// For messages.
        name: String,
        /// Owner of the cluster.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
}

impl Account {
    /// Ours, or as root: the owner of the cluster when there is one (it may have been made by an
    /// ordinary account before `sudo`), else the first candidate of the system.
    pub(super) fn choose(cluster: &Path) -> Result<Self, EmbeddedError> {
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        let owner = fs::symlink_metadata(cluster).ok().filter(|found| found.uid() != 0);
        if let Some(found) = owner {
            let (uid, gid) = (found.uid(), found.gid());
            return Ok(Self::Lent { name: name_of(uid), uid, gid });
        }
        CANDIDATES
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .map(|user| Self::Lent {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
            .ok_or_else(|| EmbeddedError::NoAccount {
                reason: "there is neither an account `postgres` nor `nobody`".to_owned(),
            })
    }

    /// The account's name, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Own => name_of(self.uid()),
            Self::Lent { name, .. } => name.clone(),
        }
    }

    /// Whose files the server's files are.
    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Own => geteuid().as_raw(),
            Self::Lent { uid, .. } => *uid,
        }
    }

    /// A program run as this account: own process group (Ctrl-C is for us alone), a directory that
    /// everybody can enter, and none of the environment that PostgreSQL would obey.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        // A locale that is not installed stops the server (on macOS also an unset one).
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Self::Lent { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Hands a file or directory over to the account; symbolic links are not followed.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Lent { uid, gid, .. } => lchown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Hands over a directory with everything in it.
    pub(super) fn give_all(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.give_all(&entry.path())?;
            } else {
                self.give(&entry.path())?;
            }
        }
        self.give(directory)
    }

    /// Makes a new directory that only this account (and root) can enter.
    pub(super) fn private_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)?;
        self.give(path)
    }

    /// Makes sure that an existing directory belongs to the account and is closed to others,
    /// through a handle, so that nobody can swap it in between. A copy or a careless `chmod -R`
    /// may have opened it; a symbolic link or a stranger's directory is refused.
    pub(super) fn keep_private(&self, directory: &Path) -> io::Result<()> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let handle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory)?;
        let found = handle.metadata()?;
        if found.uid() != self.uid() && found.uid() != geteuid().as_raw() {
            return Err(io::Error::other(format!("it belongs to {}", name_of(found.uid()))));
        }
        if found.mode() & 0o777 != 0o700 {
            handle.set_permissions(Permissions::from_mode(0o700))?;
        }
        match self {
            Self::Own => Ok(()),
            Self::Lent { uid, gid, .. } => fchown(&handle, Some(*uid), Some(*gid)),
        }
    }

    /// Whether the account can own and enter directories below `parent`. The kernel is asked by
    /// trying, because mode bits tell nothing about ACLs, network shares and user namespaces.
    /// Only a clear no is `false`: where the data live must not depend on a passing failure.
    pub(super) async fn can_live_in(&self, parent: &Path) -> io::Result<bool> {
        static PROBES: AtomicU32 = AtomicU32::new(0);
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let probe = parent.join(format!("probe-{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&probe)?;
        let entered = match self.give(&probe) {
            Ok(()) => {
                let mut shell = self.command(Path::new("/bin/sh"));
                shell.args(["-c", "cd -- \"$1\"", "sh"]).arg(&probe);
                shell.status().await.map(|status| status.success())
            }
            Err(_) => Ok(false),
        };
        // An empty directory of ours; if it stays, nothing is hurt.
        let _ = fs::remove_dir(&probe);
        entered
    }
}

/// The name of an account, or its number when the system has no name for it.
pub(super) fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}
