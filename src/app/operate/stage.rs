//! Where a rehearsal plays: a database of its own and the real service on it. What was made is
//! cleared away however the rehearsal ends; where that fails, it is said what is left and how it is
//! removed by hand.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::interrupts::Interrupts;
use super::output::say;
use crate::adapters::http::AuthMode;
use crate::adapters::postgres::rehearsal_repo::OwnPlace;
use crate::app::commands::Failure;
use crate::app::config::Settings;
use crate::app::database::Database;

/// What is being made may go on after a signal for this long: half of it is harder to clear away
/// than all of it. A database or a cluster is usually made within two seconds.
const MAKING_GRACE: Duration = Duration::from_secs(5);

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
    ///
    /// # Errors
    /// Why there is none. What had been made is cleared away then.
    pub(super) async fn set(
        settings: &Settings,
        interrupts: &mut Interrupts,
    ) -> Result<Stage, Failure> {
        match &settings.database {
            Some(_) => on_their_server(settings, interrupts).await,
            None => on_a_server_of_its_own(settings, interrupts).await,
        }
    }

    /// Clears away what was made; troubles are said, not returned: the result stands.
    ///
    /// # Errors
    /// When a second signal left no time for it.
    pub(super) async fn clear(self, interrupts: &mut Interrupts) -> Result<(), Failure> {
        self.own.clear(self.database.release(), interrupts).await
    }
}

impl Own {
    /// Clears it away after `before`; errors as [`Stage::clear`].
    async fn clear(
        self,
        before: impl Future<Output = ()>,
        interrupts: &mut Interrupts,
    ) -> Result<(), Failure> {
        let cleared = async {
            before.await;
            self.remove().await
        };
        match interrupts.clearing(cleared).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                let left = self.left();
                say(format_args!("what the rehearsal made was not removed: {reason}; {left}"));
            }
            Err(name) => {
                let left = self.left();
                return Err(Failure::other(format_args!("{name} again: leaving at once; {left}")));
            }
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), String> {
        match self {
            Own::Directory(path) => remove(path).await.map_err(|error| error.to_string()),
            Own::Place(place) => place.remove().await.map_err(|error| error.to_string()),
        }
    }

    /// What may be left, and what to do about it.
    fn left(&self) -> String {
        match self {
            Own::Directory(path) => format!(
                "{} may be left: remove it by hand, and before it the directory that its file \
                 `elsewhere` names, if there is one",
                path.display()
            ),
            Own::Place(place) => place.removal().map_or_else(
                || "nothing was made".to_owned(),
                |statement| {
                    let name = &place.name;
                    format!("{name} may be left, by hand with DATABASE_URL: {statement}")
                },
            ),
        }
    }
}

async fn on_their_server(
    settings: &Settings,
    interrupts: &mut Interrupts,
) -> Result<Stage, Failure> {
    let server = Database::for_command(settings).await?;
    interrupts.phase(async { Ok(server.wait(settings).await?) }).await?;
    let mut place = Box::new(OwnPlace::on(server.servers.chosen()));
    let trouble = match interrupts.whole(MAKING_GRACE, place.make()).await {
        Some(Ok(())) => {
            let database = Database { servers: place.options().into(), embedded: None };
            return Ok(Stage {
                settings: of_service(settings, &database),
                database,
                place: format!("{} on the server of DATABASE_URL", place.name),
                own: Own::Place(place),
            });
        }
        Some(Err(error)) => Failure::other(format_args!(
            "no database of its own for the rehearsal (the role needs CREATEDB, or CREATE on its \
             database): {error}"
        )),
        None => interrupts.given_up(),
    };
    Own::Place(place).clear(async {}, interrupts).await?;
    Err(trouble)
}

async fn on_a_server_of_its_own(
    settings: &Settings,
    interrupts: &mut Interrupts,
) -> Result<Stage, Failure> {
    let name = format!("flashdeal-rehearsal-{}", Uuid::now_v7().simple());
    let path = std::env::temp_dir().join(name);
    let settings = Settings { data_dir: path.clone(), ..settings.clone() };
    let started = interrupts.whole(MAKING_GRACE, Database::for_service(&settings)).await;
    let trouble = match started {
        Some(Ok(database)) => {
            return Ok(Stage {
                settings: of_service(&settings, &database),
                database,
                place: format!("an embedded server in {}", path.display()),
                own: Own::Directory(path),
            });
        }
        Some(Err(error)) => error.into(),
        None => interrupts.given_up(),
    };
    // Half a cluster may be there, or nothing.
    Own::Directory(path).clear(async {}, interrupts).await?;
    Err(trouble)
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
async fn remove(path: &Path) -> std::io::Result<()> {
    let pointer = tokio::fs::read_to_string(path.join("elsewhere")).await.unwrap_or_default();
    if let Some(home) = pointer.lines().find(|line| line.starts_with('/')) {
        remove_all(Path::new(home)).await?;
    }
    remove_all(path).await
}

/// What is not there need not be removed.
async fn remove_all(path: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
