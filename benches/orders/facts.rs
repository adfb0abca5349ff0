//! Under which circumstances a run was made: server, machine, commit.

use crate::world::World;
use crate::{Outcome, process};

/// Lines for the report: name and value.
pub(crate) async fn settings(world: &mut World) -> Outcome<Vec<(&'static str, String)>> {
    let (processor, load) = process::machine();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut lines = vec![
        (
            "date (UTC)",
            world.text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')").await?,
        ),
        ("commit", commit().await),
        ("cores, shared by database, service and load", cores.to_string()),
        ("processor", processor.unwrap_or_else(|| "–".to_owned())),
        ("load of the minute before", load.unwrap_or_else(|| "–".to_owned())),
    ];
    for (name, query) in [
        ("PostgreSQL", "SELECT current_setting('server_version')"),
        ("fsync", "SELECT current_setting('fsync')"),
        ("synchronous_commit", "SELECT current_setting('synchronous_commit')"),
        ("full_page_writes", "SELECT current_setting('full_page_writes')"),
        ("wal_sync_method", "SELECT current_setting('wal_sync_method')"),
        ("shared_buffers", "SELECT current_setting('shared_buffers')"),
        ("commit_delay", "SELECT current_setting('commit_delay')"),
        ("max_wal_size", "SELECT current_setting('max_wal_size')"),
    ] {
        lines.push((name, world.text(query).await?));
    }
    // Every session of a run takes these, the service's and pgbench's alike.
    if let Ok(options) = std::env::var("PGOPTIONS") {
        lines.push(("PGOPTIONS", options));
    }
    Ok(lines)
}

/// The commit that is measured, and whether files differ from it.
async fn commit() -> String {
    let git = |arguments: &'static [&'static str]| async move {
        let mut command = tokio::process::Command::new("git");
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
        let output = command.output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(id) = git(&["rev-parse", "--short", "HEAD"]).await else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]).await {
        Some(changes) if changes.is_empty() => id,
        _ => format!("{id} with changes"),
    }
}
