//! The service in this process, on a database of its own.

use std::path::Path;
use std::time::Duration;

use flashdeal::adapters::token::{Caller, TokenOptions, sign};
use flashdeal::app::cli::RawSettings;
use flashdeal::app::config::Settings;
use flashdeal::app::serve::{self, Running};
use flashdeal::domain::id::UserId;
use sqlx::PgConnection;

use super::api::Api;
use super::postgres::TestDatabase;
use super::relay::Relay;

/// The shared secret of services in mode `jwt`.
pub(crate) const SECRET: &str = "a test secret of more than thirty-two bytes";

/// A running service.
pub(crate) struct Service {
    /// A caller without a token.
    pub(crate) api: Api,
    /// Its database.
    pub(crate) database: TestDatabase,
    /// The service itself.
    pub(crate) running: Running,
}

/// Settings for a test: a port of its own, a quiet log, short waits.
pub(crate) fn raw_settings(database: &TestDatabase) -> RawSettings {
    let text = |text: &str| Some(text.to_owned());
    RawSettings {
        database_url: text(&database.url),
        listen: text("127.0.0.1:0"),
        log: Some(std::env::var("TEST_LOG").unwrap_or_else(|_| "off".to_owned())),
        shutdown_grace: text("5s"),
        // The suite holds for each engine: TEST_ENGINE=pessimistic cargo test
        engine: std::env::var("TEST_ENGINE").ok(),
        ..RawSettings::default()
    }
}

impl Service {
    /// With default settings.
    pub(crate) async fn start() -> Service {
        Service::start_with(|_| {}).await
    }

    /// With settings changed by `change`.
    pub(crate) async fn start_with(change: impl FnOnce(&mut RawSettings)) -> Service {
        let database = TestDatabase::create().await;
        Service::start_on(database, change).await
    }

    /// On a database of its own, with a wire in between that can be watched and broken.
    pub(crate) async fn behind_a_wire(change: impl FnOnce(&mut RawSettings)) -> (Service, Relay) {
        let database = TestDatabase::create().await;
        let relay = Relay::to(&database).await;
        let url = relay.url();
        let service = Service::start_on(database, |raw| {
            change(raw);
            raw.database_url = Some(url);
        })
        .await;
        (service, relay)
    }

    /// On a database that is already there.
    pub(crate) async fn start_on(
        database: TestDatabase,
        change: impl FnOnce(&mut RawSettings),
    ) -> Service {
        let mut raw = raw_settings(&database);
        change(&mut raw);
        let settings = Settings::read(&raw).unwrap_or_else(|bad| panic!("{bad:?}"));
        flashdeal::app::telemetry::start_logging(&settings.log, settings.log_format);
        let running = serve::start(&settings).await.expect("the service starts");
        Service { api: Api::at(running.address), database, running }
    }

    /// In mode `jwt`.
    pub(crate) async fn start_jwt() -> Service {
        Service::start_with(|raw| {
            raw.auth = Some("jwt".to_owned());
            raw.jwt_secret = Some(SECRET.to_owned());
        })
        .await
    }

    /// The operator, in mode `jwt`.
    pub(crate) fn admin(&self) -> Api {
        self.api.with_token(&token(Caller::Admin))
    }

    /// The shop's back end, in mode `jwt`.
    pub(crate) fn shop(&self) -> Api {
        self.api.with_token(&token(Caller::Service))
    }

    /// A buyer, in mode `jwt`.
    pub(crate) fn buyer(&self, user: &str) -> Api {
        self.api.with_token(&token(Caller::Buyer(UserId::parse(user).expect("an id"))))
    }

    /// Checks the books, stops the service and hands the database on.
    pub(crate) async fn finish(self) -> TestDatabase {
        let Service { database, running, .. } = self;
        let stopped = tokio::time::timeout(Duration::from_secs(30), running.stop());
        stopped.await.expect("the service stops in time");
        assert_balanced(&database).await;
        database
    }
}

/// Panics with every discrepancy unless the books balance.
pub(crate) async fn assert_balanced(database: &TestDatabase) {
    let mut session: PgConnection = database.session().await;
    let audit = flashdeal::adapters::postgres::audit_unhurried(&mut session);
    let audit = audit.await.expect("an audit");
    assert!(audit.balanced(), "{:#?}", audit.discrepancies);
}

/// A token that is good for an hour.
pub(crate) fn token(caller: Caller) -> String {
    let options = TokenOptions { issuer: "flashdeal".into(), audience: "flashdeal".into() };
    let expires_at = jsonwebtoken::get_current_timestamp() + 3600;
    sign(&options, SECRET.as_bytes(), caller, expires_at).expect("a token")
}

/// A directory for a test's files, empty.
pub(crate) fn scratch(name: &str) -> std::path::PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scratch").join(name);
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).expect("a scratch directory");
    place
}

/// Writes a file that only its owner can read.
pub(crate) fn secret_file(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("a mode");
}
