//! A full disk. Where the drill may have a mount namespace of its own (root on Linux), the orders
//! lie on a file system of limited size, and a full disk is that limit drawn in to what is used:
//! PostgreSQL then meets ENOSPC itself. The namespace ends with the drill, and the mount with it.
//! Elsewhere a trigger says what PostgreSQL would say.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::statvfs::statvfs;

use crate::support::locks::run;
use crate::support::postgres::TestDatabase;

/// Says that the namespace is there.
const OWN_NAMESPACE: &str = "DRILL_OWN_NAMESPACE";
/// Larger than ever needed: a million orders are about 200 MiB. It takes what is used.
const SIZE: u64 = 4 << 30;

/// A file system of limited size with the orders on it.
pub(crate) struct SmallDisk {
    at: PathBuf,
}

/// Starts this program again in a mount namespace of its own, where that is allowed.
pub(crate) fn enter_own_namespace() {
    if std::env::var_os(OWN_NAMESPACE).is_some() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    let allowed = unshare().arg("true").output().is_ok_and(|done| done.status.success());
    if let (true, Ok(program)) = (allowed, std::env::current_exe()) {
        let mut again = unshare();
        again.arg(program).args(std::env::args_os().skip(1)).env(OWN_NAMESPACE, "1");
        // It returns only when it fails: then there is the stand-in.
        let error = again.exec();
        eprintln!("drill: no namespace: {error}");
    }
}

impl SmallDisk {
    /// Mounts one beside the cluster and moves the orders, of which there are none yet.
    pub(crate) async fn below_orders(cluster: &Path, database: &TestDatabase) -> Option<SmallDisk> {
        std::env::var_os(OWN_NAMESPACE)?;
        let at = cluster.parent()?.join("small");
        std::fs::create_dir_all(&at).ok()?;
        let disk = SmallDisk { at };
        disk.mount(&format!("size={SIZE}")).then_some(())?;
        let owner = std::fs::metadata(cluster).ok()?;
        chown(&disk.at, Some(owner.uid()), Some(owner.gid())).ok()?;
        let mut session = database.session().await;
        let place = disk.at.display();
        run(&mut session, format!("CREATE TABLESPACE small LOCATION '{place}'")).await;
        run(&mut session, "ALTER TABLE orders SET TABLESPACE small").await;
        Some(disk)
    }

    /// From now on there is no room for another page.
    pub(crate) fn fill(&self) -> bool {
        let Ok(found) = statvfs(&self.at) else { return false };
        let used = (found.blocks() - found.blocks_free()) * found.fragment_size();
        self.mount(&format!("remount,size={used}"))
    }

    /// There is room again.
    pub(crate) fn empty(&self) -> bool {
        self.mount(&format!("remount,size={SIZE}"))
    }

    fn mount(&self, options: &str) -> bool {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "drill"])
            .arg(&self.at)
            .output();
        mounted.is_ok_and(|done| done.status.success())
    }
}
