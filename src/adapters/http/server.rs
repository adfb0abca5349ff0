//! The accept loop: `warp::service` under hyper, with every wait bounded.
//!
//! warp's own server has no time-out for headers, no cap on connections, no `TCP_NODELAY` and no
//! deadline for shutting down, so the loop is ours (docs/adr/0005-accept-loop.md).

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    LOCATION, RETRY_AFTER,
};
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};
use warp::reply::Response;

use super::answer::IDEMPOTENT_REPLAYED;
use super::client_address::{TrustedProxies, client_address};
use super::context::Context;
use super::endpoint::{Routes, answer, operator_routes, public_routes, secure};
use super::head::{IDEMPOTENCY_KEY, TRACEPARENT, X_REQUEST_ID};
use super::places::{Place, Places};
use super::rates::{RATE_LIMIT, RATE_LIMIT_POLICY};
use super::stalled::Stalled;
use crate::ports::read::Reads;
use crate::ports::store::Store;

/// What the loop needs to exist.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Connections open at a time; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a request's head may take, and how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long connections may take to finish once the loop ends.
    pub drain_max: Duration,
}

/// The largest head, in bytes; hyper answers 431 beyond it.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// The most header lines.
const HEADERS_MAX: usize = 64;
/// Connections that may wait in the kernel: ten thousand buyers in one second.
const BACKLOG: u32 = 16_384;

/// What the kernel keeps of answers that were sent and not received (Linux takes twice as much).
const SEND_BUFFER_BYTES: u32 = 128 * 1024;

/// A bound address with its routes.
pub struct Server {
    listener: TcpListener,
    routes: Routes,
    cors: Option<CorsLayer>,
    trusted: Arc<TrustedProxies>,
    options: ServerOptions,
    per_address: Option<usize>,
}

/// Binds an address; port 0 picks one.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Connections inherit it. What the kernel would otherwise keep for a client who does not read
    // is a megabyte and more, and counted by nobody.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Everything, on the public address.
    pub fn public<S: Store, R: Reads>(
        listener: TcpListener,
        context: &Context<S, R>,
        options: ServerOptions,
    ) -> Server {
        let origins = &context.options().cors_origins;
        Server {
            listener,
            routes: public_routes(context),
            cors: (!origins.is_empty()).then(|| cors(origins.clone())),
            trusted: Arc::new(TrustedProxies(context.options().trusted_proxies.clone())),
            options,
            per_address: None,
        }
    }

    /// The operator's routes, on an address of their own.
    pub fn operator<S: Store, R: Reads>(
        listener: TcpListener,
        context: &Context<S, R>,
        options: ServerOptions,
    ) -> Server {
        let trusted = Arc::new(TrustedProxies(Vec::new()));
        let routes = operator_routes(context);
        Server { listener, routes, cors: None, trusted, options, per_address: None }
    }

    /// Gives one address this many connections, 0 for as many as there are. Without it one address
    /// has a quarter, and loopback as many as there are.
    pub fn per_address(mut self, connections: Option<usize>) -> Server {
        self.per_address = connections;
        self
    }

    /// Serves until `stop`, then lets open connections finish under the deadline. The number of
    /// those that did not make it is returned.
    pub async fn run(self, stop: CancellationToken) -> usize {
        let max = self.options.connections_max;
        let places = Places::new(max, self.per_address, Arc::clone(&self.trusted));
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.accept(&places, Some(&graceful)) => {}
        }
        let open = places.open();
        let drained = tokio::time::timeout(self.options.drain_max, graceful.shutdown());
        // Who comes while others are finished is told so, and to go elsewhere.
        let drained = tokio::select! {
            drained = drained => drained,
            () = self.accept(&places, None) => Ok(()),
        };
        if drained.is_ok() {
            return 0;
        }
        let left = places.open();
        tracing::warn!(open, left, "connections did not finish in time");
        left
    }

    /// Accepts and serves for ever. Without somebody who ends connections gracefully, each has one
    /// answer.
    async fn accept(&self, places: &Arc<Places>, graceful: Option<&GracefulShutdown>) {
        while let Some(vacancy) = places.vacancy().await {
            match self.listener.accept().await {
                Ok((stream, peer)) => match places.take(vacancy, peer.ip()) {
                    Some(place) => self.serve(stream, peer, place, graceful),
                    None => drop(stream),
                },
                Err(error) => {
                    // Out of file descriptors, or a client that left: neither ends the loop.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        graceful: Option<&GracefulShutdown>,
    ) {
        // An answer is one small packet: waiting to fill it only adds latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a client left at once");
            return;
        }
        let (routes, trusted) = (self.routes.clone(), Arc::clone(&self.trusted));
        let respond = service_fn(move |request: Request<Incoming>| {
            let client: Option<IpAddr> = client_address(request.headers(), peer.ip(), &trusted);
            let routes = routes.clone();
            async move { Ok::<_, Infallible>(answer(routes, request, client).await) }
        });
        let stream = TokioIo::new(Stalled::over(stream));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .keep_alive(graceful.is_some())
            .header_read_timeout(self.options.header_timeout)
            .max_buf_size(HEAD_MAX_BYTES)
            .max_headers(HEADERS_MAX);
        match &self.cors {
            None => {
                let connection = http.serve_connection(stream, TowerToHyperService::new(respond));
                match graceful {
                    Some(graceful) => tokio::spawn(finish(graceful.watch(connection), place)),
                    None => tokio::spawn(finish(connection, place)),
                };
            }
            Some(cors) => {
                let secured = cors.layer(respond.clone()).map_response(|mut response: Response| {
                    secure(response.headers_mut());
                    response
                });
                // The layer takes each OPTIONS for a preflight; another is a method like any other.
                let service = service_fn(move |request: Request<Incoming>| {
                    let (respond, secured) = (respond.clone(), secured.clone());
                    async move {
                        let asks = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
                        if request.method() == Method::OPTIONS && !asks {
                            return respond.oneshot(request).await;
                        }
                        secured.oneshot(request).await
                    }
                });
                let service = TowerToHyperService::new(service);
                let connection = http.serve_connection(stream, service);
                match graceful {
                    Some(graceful) => tokio::spawn(finish(graceful.watch(connection), place)),
                    None => tokio::spawn(finish(connection, place)),
                };
            }
        }
    }
}

/// Drives one connection to its end.
async fn finish(connection: impl Future<Output = hyper::Result<()>>, place: Place) {
    let _open = Open::count();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}

/// Connections of this process that are open now.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many connections are open; the monitor makes a gauge of it.
pub fn open_connections() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// One open connection; counted while in scope.
struct Open;

impl Open {
    fn count() -> Open {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn cors(origins: Vec<http::HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT])
        .allow_headers([
            AUTHORIZATION,
            CACHE_CONTROL,
            CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            IF_NONE_MATCH,
            TRACEPARENT,
            X_REQUEST_ID,
        ])
        .expose_headers([
            ETAG,
            IDEMPOTENT_REPLAYED,
            LOCATION,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            RETRY_AFTER,
            X_REQUEST_ID,
        ])
        .max_age(Duration::from_secs(600))
}
