//! The echo service: `POST /api/orders` with everything but a database.
//!
//! It is the real server with the real routes (accept loop, layers, time-outs, routing, JSON,
//! validation, work that outlives its caller, metrics, a 201 of the same length), in a process of
//! its own, on an engine that says yes to everything. The route that only the benchmark has is this
//! process: what it answers per second is the most that any engine could ever reach behind this
//! HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use flashdeal::adapters::http::{
    AuthMode, Context, ContextOptions, Phase, PhaseCell, Rates, Server, ServerOptions, bind,
};
use flashdeal::adapters::memory::MemoryStore;
use flashdeal::adapters::postgres::connect;
use flashdeal::adapters::postgres::reads::PgReads;
use flashdeal::adapters::postgres::store::Gate;
use flashdeal::app::config::LogFormat;
use flashdeal::app::signals::StopSignals;
use flashdeal::app::telemetry;
use flashdeal::domain::Instant;
use flashdeal::domain::money::Money;
use flashdeal::domain::order::{Order, PlaceOrder};
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::{Deciding, Engine};

use crate::Outcome;
use crate::world::{BALANCE_CENTS, PRICE_CENTS};

/// The hidden argument with which the benchmark starts itself as the echo service.
pub(crate) const ARGUMENT: &str = "--serve-echo";
/// An arbitrary moment with six decimals, like every moment of the database's clock.
const MOMENT_MICROS: i64 = 1_800_000_000_123_456;

/// Says yes without looking.
struct Echo {
    moment: Instant,
}

impl Engine for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn place(&self, order: PlaceOrder) -> Deciding {
        let created_at = self.moment;
        Box::pin(async move { Ok(Answer::Made(confirmed(order, created_at))) })
    }

    fn waiting(&self) -> usize {
        0
    }

    fn oldest(&self) -> Duration {
        Duration::ZERO
    }

    fn close(&self) {}
}

/// The order that a buyer of the benchmark would get.
fn confirmed(order: PlaceOrder, created_at: Instant) -> Order {
    let total = Money::from_cents(PRICE_CENTS);
    Order {
        id: order.order_id,
        user_id: order.user_id,
        sale_id: order.sale_id,
        sequence: 1,
        quantity: order.quantity,
        unit_price: total,
        total,
        balance_after: Money::from_cents(BALANCE_CENTS - PRICE_CENTS),
        reference: order.reference,
        created_at,
    }
}

/// Runs until a signal comes.
pub(crate) async fn serve() -> Outcome<()> {
    telemetry::start_logging("info", LogFormat::Pretty);
    let metrics = telemetry::metrics()?;
    tokio::spawn(telemetry::keep_up(metrics.clone(), CancellationToken::new()));
    // Routes that read want a pool; nobody asks them, and it never opens a session.
    let nowhere = connect::parse_url("postgres://nobody@localhost/nowhere")?;
    let gate = Gate::new(1, Duration::from_secs(1));
    let reads = PgReads::new(connect::pool(nowhere.clone(), 2), gate, nowhere);
    let phase = PhaseCell::default();
    phase.set(Phase::Ready);
    let engine = Arc::new(Echo {
        moment: DateTime::from_timestamp_micros(MOMENT_MICROS).ok_or("no such moment")?,
    });
    let context = Context::new(
        MemoryStore::default(),
        reads,
        engine,
        ContextOptions {
            auth: AuthMode::Open,
            currency: "USD".to_owned(),
            request_timeout: Duration::from_secs(10),
            known_sales: Arc::default(),
            rates: Arc::new(Rates::new(0, 0)),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            ops_apart: false,
            render_metrics: Arc::new(move || metrics.render()),
        },
        phase,
        TaskTracker::new(),
    );
    let options = ServerOptions {
        connections_max: 16_384,
        header_timeout: Duration::from_secs(30),
        drain_max: Duration::from_secs(5),
    };
    let mut signals = StopSignals::listen()?;
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let server = tokio::spawn(Server::public(listener, &context, options).run(stop.clone()));
    tracing::info!(%address, "listening");
    signals.next().await;
    stop.cancel();
    server.await?;
    Ok(())
}
