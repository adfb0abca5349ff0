//! Start-up, and shut-down as its reverse.
//!
//! | start | stop |
//! |---|---|
//! | 1 embedded server, if any | 7 stop it |
//! | 2 pool (opens sessions when needed) | 6 close it |
//! | 3 engine and its queue | 5 close the queue, wait for tasks |
//! | 4 listen: `/livez` 200, `/readyz` 503 | 4 finish open requests under a deadline |
//! | 5 wait for the database, migrate, seed | 3 stop accepting |
//! | 6 `/readyz` 200 | 2 `/readyz` 503 |
//! | 7 say where | 1 a signal |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::capacity::{OPS_CONNECTIONS_MAX, connections_max, engine, reserved};
use super::config::Settings;
use super::database::{Database, DatabaseError};
use super::gauges::Gauges;
use super::{demo, monitor, telemetry};
use crate::adapters::http::{
    AuthMode, Context, ContextOptions, Phase, PhaseCell, Rates, Server, ServerOptions, bind,
};
use crate::adapters::postgres::connect::SessionLimits;
use crate::adapters::postgres::reads::PgReads;
use crate::adapters::postgres::sessions::Sessions;
use crate::adapters::postgres::store::{Gate, PgStore};
use crate::logic::known_sales::KnownSales;
use crate::logic::orders::Engine;

/// How long a request's head may take and an idle connection is kept. Longer than a person thinks.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Reads and administration wait this long for their share of the pool.
const GATE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why the service did not start. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The address.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// Metrics.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Demo data.
    #[error("demo data: {0}")]
    Demo(String),
}

/// A running service.
pub struct Running {
    /// The public address.
    pub address: SocketAddr,
    /// The operator's address, if apart.
    pub ops_address: Option<SocketAddr>,
    /// The line that opens `psql` on the embedded server.
    pub psql_line: Option<String>,
    database: Database,
    sessions: Sessions,
    engine: Arc<dyn Engine>,
    phase: PhaseCell,
    tasks: TaskTracker,
    servers: Vec<JoinHandle<usize>>,
    stop_accepting: CancellationToken,
    stop_monitors: CancellationToken,
    monitors: Vec<JoinHandle<()>>,
    grace: Duration,
}

/// Starts everything.
///
/// # Errors
/// [`StartError`]; whatever had been started is stopped again.
pub async fn start(settings: &Settings) -> Result<Running, StartError> {
    let database = Database::for_service(settings).await?;
    let sessions = database.sessions(settings);
    let running = match listen(settings, database, sessions).await {
        Ok(running) => running,
        Err((error, database)) => {
            database.release().await;
            return Err(error);
        }
    };
    match running.prepare(settings).await {
        Ok(()) => Ok(running),
        Err(error) => {
            running.stop().await;
            Err(error)
        }
    }
}

async fn listen(
    settings: &Settings,
    database: Database,
    sessions: Sessions,
) -> Result<Running, (StartError, Database)> {
    let handle = telemetry::metrics().map_err(StartError::Metrics);
    let (sockets, handle) = match bind_all(settings).and_then(|them| Ok((them, handle?))) {
        Ok(both) => both,
        Err(error) => return Err((error, database)),
    };
    let (phase, tasks) = (PhaseCell::default(), TaskTracker::new());
    let gate = Gate::new(reserved(settings.db_connections) as usize, GATE_WAIT_MAX);
    let limits = SessionLimits::under(settings.lock_timeout);
    let reads = PgReads::new(sessions.clone(), gate.clone(), database.limited(settings));
    let known = Arc::<KnownSales>::default();
    let engine = engine(settings, sessions.clone(), reads.clone(), Arc::clone(&known));
    telemetry::begin_orders_at_zero(engine.name(), &settings.currency);
    let context = Context::new(
        PgStore::gated(sessions.clone(), gate).under(limits),
        reads.clone(),
        Arc::clone(&engine),
        context_options(settings, &handle, Arc::clone(&known)),
        phase.clone(),
        tasks.clone(),
    );
    let (address, ops_address) = (local(&sockets.0), sockets.1.as_ref().and_then(local));
    let (stop_accepting, stop_monitors) = (CancellationToken::new(), CancellationToken::new());
    let connections_max = connections_max(settings.max_connections, settings.db_connections);
    let options = ServerOptions {
        connections_max,
        header_timeout: HEADER_TIMEOUT,
        // The rest of the grace is for work whose callers have left, and for the pool.
        drain_max: settings.shutdown_grace * 4 / 5,
    };
    let servers = serve_on(sockets, &context, settings, options, &stop_accepting, &stop_monitors);
    let gauges = Gauges {
        sessions: sessions.clone(),
        reads,
        engine: Arc::clone(&engine),
        phase: phase.clone(),
        known,
        connections_max,
    };
    let gauges = gauges.keep(stop_monitors.clone());
    let upkeep = telemetry::keep_up(handle, stop_monitors.clone());
    let monitors = vec![tokio::spawn(gauges), tokio::spawn(upkeep)];
    Ok(Running {
        address: address.unwrap_or(settings.listen),
        ops_address,
        psql_line: database.embedded.as_ref().map(|found| found.connection().psql_line()),
        database,
        sessions,
        engine,
        phase,
        tasks,
        servers,
        stop_accepting,
        stop_monitors,
        monitors,
        grace: settings.shutdown_grace,
    })
}

fn context_options(
    settings: &Settings,
    metrics: &PrometheusHandle,
    known_sales: Arc<KnownSales>,
) -> ContextOptions {
    let metrics = metrics.clone();
    ContextOptions {
        auth: settings.auth.clone(),
        currency: settings.currency.clone(),
        request_timeout: settings.request_timeout,
        trusted_proxies: settings.trusted_proxies.clone(),
        cors_origins: settings.cors_origins.clone(),
        ops_apart: settings.ops_listen.is_some(),
        known_sales,
        rates: Arc::new(Rates::new(settings.rate_per_user, settings.rate_per_address)),
        render_metrics: Arc::new(move || metrics.render()),
    }
}

/// The public server first. The operator's goes on until the very end: it tells of the draining.
fn serve_on(
    (public, ops): Sockets,
    context: &Context<PgStore, PgReads>,
    settings: &Settings,
    options: ServerOptions,
    stop_accepting: &CancellationToken,
    stop_monitors: &CancellationToken,
) -> Vec<JoinHandle<usize>> {
    let public = Server::public(public, context, options);
    let public = public.per_address(settings.max_connections_per_address);
    let mut servers = vec![tokio::spawn(public.run(stop_accepting.clone()))];
    if let Some(ops) = ops {
        let options = ServerOptions { connections_max: OPS_CONNECTIONS_MAX, ..options };
        let server = Server::operator(ops, context, options);
        servers.push(tokio::spawn(server.run(stop_monitors.clone())));
    }
    servers
}

fn local(socket: &TcpListener) -> Option<SocketAddr> {
    socket.local_addr().ok()
}

type Sockets = (TcpListener, Option<TcpListener>);

fn bind_all(settings: &Settings) -> Result<Sockets, StartError> {
    let bind = |address| bind(address).map_err(|error| StartError::Listen { address, error });
    Ok((bind(settings.listen)?, settings.ops_listen.map(bind).transpose()?))
}

impl Running {
    /// Waits for the database and makes it ready, then lets orders in.
    async fn prepare(&self, settings: &Settings) -> Result<(), StartError> {
        self.database.wait(settings).await?;
        let pool = self.sessions.pool();
        self.database.lead(pool, settings);
        self.database.prepare(pool, settings).await?;
        if self.database.embedded.is_some()
            && demo::is_due(pool).await.map_err(DatabaseError::Sqlx)?
        {
            demo::fill(pool).await.map_err(StartError::Demo)?;
            tracing::info!(buyers = %demo::BUYERS, sales = 3, "demo data is in place");
        }
        tracing::info!(
            pool_max = settings.db_connections,
            pool_for_orders = settings.db_connections - reserved(settings.db_connections),
            pool_open = pool.size(),
            pool_idle = self.sessions.idle(),
            engine = self.engine.name(),
            auth = if matches!(settings.auth, AuthMode::Open) { "open" } else { "jwt" },
            "ready"
        );
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        self.phase.set(Phase::Ready);
        let watch = monitor::Watch {
            servers: self.database.limited(settings),
            pool: pool.clone(),
            limits: SessionLimits::under(settings.lock_timeout),
            phase: self.phase.clone(),
        };
        self.tasks.spawn(watch.keep(self.stop_monitors.clone()));
        Ok(())
    }

    /// Orders that wait to be decided.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// Stops, in the reverse of the start, under the grace period.
    pub async fn stop(self) {
        let deadline = Instant::now() + self.grace;
        self.phase.set(Phase::Draining);
        self.stop_accepting.cancel();
        let mut servers = self.servers.into_iter();
        if let Some(public) = servers.next() {
            // The server bounds itself by the same grace.
            let _ = public.await;
        }
        self.engine.close();
        self.stop_monitors.cancel();
        self.tasks.close();
        if timeout_at(deadline + Duration::from_secs(1), self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some work did not finish in time");
        }
        for mut task in servers {
            // The operator's door began to drain just now, and has no grace of its own.
            if timeout_at(deadline + Duration::from_secs(1), &mut task).await.is_err() {
                task.abort();
            }
        }
        for task in self.monitors {
            task.abort();
            let _ = task.await;
        }
        if timeout_at(deadline + Duration::from_secs(2), self.sessions.close()).await.is_err() {
            tracing::warn!("the pool did not close in time");
        }
        self.database.release().await;
    }
}
