//! Where a rehearsal plays: a database of its own and the real service on it. What was made is
//! cleared away however the rehearsal ends.

use std::net::SocketAddr;
use std::path::PathBuf;

use uuid::Uuid;

use crate::adapters::http::AuthMode;
use crate::adapters::postgres::rehearsal_repo::OwnPlace;
use crate::app::commands::Failure;
use crate::app::config::Settings;
use crate::app::database::Database;

/// A database of the rehearsal's own.
pub(super) struct Stage {
    /// The settings of a service on it: the operator's own, but for where it is and who may come.
    pub(super) settings: Settings,
    /// The database.
    pub(super) database: Database,
    /// What it is, for the person who watches.
    pub(super) place: String,
    own: Own,
}

enum Own {
    Directory(PathBuf),
    Place(Box<OwnPlace>),
}

impl Stage {
    /// Makes the database.
    pub(super) async fn set(settings: &Settings) -> Result<Stage, Failure> {
        match &settings.database {
            Some(_) => on_their_server(settings).await,
            None => on_a_server_of_its_own(settings).await,
        }
    }

    /// Clears away what was made; troubles are said, not returned: the result stands.
    pub(super) async fn clear(self) {
        self.database.release().await;
        let (what, cleared) = match self.own {
            Own::Directory(path) => {
                (path.display().to_string(), remove(path).await.map_err(|error| error.to_string()))
            }
            Own::Place(place) => {
                (place.name.clone(), place.remove().await.map_err(|error| error.to_string()))
            }
        };
        if let Err(error) = cleared {
            eprintln!("flashdeal: {what} of the rehearsal was not removed: {error}");
        }
    }
}

async fn on_their_server(settings: &Settings) -> Result<Stage, Failure> {
    let server = Database::for_command(settings).await?;
    server.wait(settings).await?;
    let place = OwnPlace::make(server.servers.chosen()).await.map_err(|error| {
        Failure::other(format_args!(
            "no database of its own for the rehearsal (the role needs CREATEDB, or CREATE on its \
             database): {error}"
        ))
    })?;
    let database = Database { servers: place.options.clone().into(), embedded: None };
    Ok(Stage {
        settings: of_service(settings, &database),
        database,
        place: format!("{} on the server of DATABASE_URL", place.name),
        own: Own::Place(Box::new(place)),
    })
}

async fn on_a_server_of_its_own(settings: &Settings) -> Result<Stage, Failure> {
    let name = format!("flashdeal-rehearsal-{}", Uuid::now_v7().simple());
    let path = std::env::temp_dir().join(name);
    let settings = Settings { data_dir: path.clone(), ..settings.clone() };
    let started = Database::for_service(&settings).await;
    let database = match started {
        Ok(database) => database,
        Err(error) => {
            // Half a cluster may be there, or nothing.
            let _ = remove(path).await;
            return Err(error.into());
        }
    };
    Ok(Stage {
        settings: of_service(&settings, &database),
        database,
        place: format!("an embedded server in {}", path.display()),
        own: Own::Directory(path),
    })
}

/// The service must not fill it with demo data, so it is told where the database is.
fn of_service(settings: &Settings, database: &Database) -> Settings {
    Settings {
        database: Some(database.servers.clone()),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        // The whole crowd comes from one address.
        rate_per_address: 0,
        max_connections_per_address: Some(0),
        ops_listen: None,
        auth: AuthMode::Open,
        migrate: true,
        ..settings.clone()
    }
}

/// Removes the directory, and the home elsewhere that the embedded server may have chosen for it
/// (`embedded::place`) because its account could not enter here.
async fn remove(path: PathBuf) -> std::io::Result<()> {
    let pointer = tokio::fs::read_to_string(path.join("elsewhere")).await.unwrap_or_default();
    if let Some(home) = pointer.lines().find(|line| line.starts_with('/')) {
        tokio::fs::remove_dir_all(home).await?;
    }
    tokio::fs::remove_dir_all(path).await
}
