//! Around every request: id, span, time, headers; and the assembly of all routes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use tokio::time::{Duration, Instant};
use tower::Service;
use tracing::Instrument;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::context::Context;
use super::head::{Head, TRACEPARENT, X_REQUEST_ID};
use super::ops::{self, Door};
use super::problem::{self, FieldError, Problem};
use super::{docs, meters, orders, routes, sales, storefront, users, wallets};
use crate::ports::read::Reads;
use crate::ports::signals;
use crate::ports::store::Store;

/// Everything that warp answers.
pub(super) type Routes = BoxedFilter<(Response,)>;

/// Hands the shared context to a handler.
pub(super) fn with<C: Clone + Send + Sync + 'static>(
    context: C,
) -> impl Filter<Extract = (C,), Error = Infallible> + Clone {
    warp::any().map(move || context.clone())
}

/// Hands the request's head to a handler.
pub(super) fn head() -> impl Filter<Extract = (Arc<Head>,), Error = Rejection> + Copy {
    warp::ext::get::<Arc<Head>>()
}

/// All routes of the public address, the busiest first and by itself: each further one costs a look
/// at the path, each box around it an allocation.
pub(super) fn public_routes<S: Store, R: Reads>(context: &Context<S, R>) -> Routes {
    let door = if context.options().ops_apart { Door::Public } else { Door::Only };
    let api = orders::get(context.clone())
        .or(orders::list(context.clone()))
        .unify()
        .or(sales::get(context.clone()))
        .unify()
        .or(sales::list(context.clone()))
        .unify()
        .or(wallets::get(context.clone()))
        .unify()
        .or(wallets::entries(context.clone()))
        .unify()
        .or(wallets::deposits(context.clone()))
        .unify()
        .or(users::get(context.clone()))
        .unify()
        .or(users::put(context.clone()))
        .unify()
        .or(users::create(context.clone()))
        .unify()
        .or(users::list(context.clone()))
        .unify()
        .or(sales::create(context.clone()))
        .unify()
        .boxed();
    let pages = storefront::page(door)
        .or(storefront::assets())
        .unify()
        .or(docs::openapi())
        .unify()
        .or(docs::swagger())
        .unify()
        .or(docs::problems())
        .unify()
        .boxed();
    let operator = operator(context, door);
    let rest = api.or(operator).unify().or(pages).unify().recover(move |_| reject(door)).unify();
    orders::place(context.clone()).or(rest.boxed()).unify().boxed()
}

/// The routes of the operator's own address.
pub(super) fn operator_routes<S: Store, R: Reads>(context: &Context<S, R>) -> Routes {
    operator(context, Door::Operator).recover(|_| reject(Door::Operator)).unify().boxed()
}

fn operator<S: Store, R: Reads>(context: &Context<S, R>, door: Door) -> Routes {
    let health = ops::livez().or(ops::readyz(context.clone())).unify();
    if !door.has("/metrics") {
        return health.boxed();
    }
    health
        .or(ops::metrics(context.clone(), door))
        .unify()
        .or(ops::audit(context.clone(), door))
        .unify()
        .boxed()
}

/// What no route took: only path and method can be the reason. The endpoint knows the path and
/// writes the problem.
async fn reject(door: Door) -> Result<Response, Infallible> {
    let mut response = Response::default();
    response.extensions_mut().insert(Unrouted(door));
    Ok(response)
}

/// Marks an answer that no route behind this door gave.
#[derive(Clone)]
struct Unrouted(Door);

/// Counts a caller who leaves before the answer; their work goes on in its own task.
struct Waiting {
    answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            metrics::counter!(signals::CLIENT_DISCONNECTS).increment(1);
        }
    }
}

/// Answers one request.
pub(super) async fn answer<B>(
    routes: Routes,
    mut request: Request<B>,
    client: Option<IpAddr>,
) -> Response
where
    B: http_body::Body + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let started = Instant::now();
    let mut waiting = Waiting { answered: false };
    let (method, version) = (request.method().clone(), request.version());
    let head = Head::of(&mut request, client);
    let route = routes::find(head.path());
    let asked = Asked { method, route: route.map_or("unmatched", |route| route.template), head };
    if asked.method == Method::HEAD {
        // hyper remembers the real method and leaves the body out.
        *request.method_mut() = Method::GET;
    }
    request.extensions_mut().insert(Arc::clone(&asked.head));

    let span = asked.span();
    let mut response = if version == Version::HTTP_11 && !asked.head.is_addressed() {
        unaddressed().into_response()
    } else {
        let Ok(response) = warp::service(routes).call(request).instrument(span.clone()).await;
        response
    };
    if let Some(Unrouted(door)) = response.extensions_mut().remove::<Unrouted>() {
        response = unrouted(asked.head.path(), &asked.method, route, door).into_response();
    }
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let document = problem.document(asked.method == Method::POST, asked.head.request_id());
        *response.body_mut() = document.into();
    }
    write_headers(response.headers_mut(), &asked.head, asked.route);
    let elapsed = started.elapsed();
    meters::answered(&asked.method, asked.route, response.status(), elapsed);
    span.in_scope(|| asked.log(response.status(), elapsed, problem.as_ref()));
    waiting.answered = true;
    response
}

/// A request, as logs name it.
struct Asked {
    method: Method,
    route: &'static str,
    head: Arc<Head>,
}

impl Asked {
    /// Goes with everything that is logged while the request is answered, for those who log at
    /// `debug`: at `info` only faults are logged, and every order would pay for it.
    fn span(&self) -> tracing::Span {
        tracing::debug_span!(
            "request",
            method = %self.method,
            route = self.route,
            request_id = self.head.request_id(),
            client = self.head.client.map(tracing::field::display),
            traceparent = self.head.traceparent(),
        )
    }

    /// A fault is told with all that the span would say.
    fn log(&self, status: StatusCode, elapsed: Duration, problem: Option<&Problem>) {
        let (code, seconds) = (problem.map(Problem::code), elapsed.as_secs_f64());
        let status = status.as_u16();
        if status < 500 {
            tracing::debug!(status, code, seconds, "answered");
            return;
        }
        tracing::warn!(
            method = %self.method,
            route = self.route,
            request_id = self.head.request_id(),
            client = self.head.client.map(tracing::field::display),
            traceparent = self.head.traceparent(),
            status,
            code,
            seconds,
            reason = problem.and_then(Problem::reason),
            "answered"
        );
    }
}

/// Two lines, or none, are how one request is made to look like another on its way through proxies.
fn unaddressed() -> Problem {
    let message = "must be exactly one header line (RFC 9112, section 3.2)".to_owned();
    Problem::invalid(&[FieldError { field: "Host".to_owned(), message }])
}

fn unrouted(path: &str, method: &Method, route: Option<&routes::Route>, door: Door) -> Problem {
    if let Some(route) = route.filter(|route| door.has(route.template)) {
        let detail = format!("{path} has {}, not {method}. Nothing was executed.", route.allow);
        return Problem::new(problem::METHOD_NOT_ALLOWED, detail).allow(route.allow);
    }
    let trimmed = path.trim_end_matches('/');
    let old_word = matches!(trimmed, "/api/purchase" | "/api/purchases");
    let detail = if old_word && door.has("/api/orders") {
        "It is called an order here: POST /api/orders. Nothing was executed."
    } else {
        door.absent(route.map_or("", |route| route.template))
    };
    Problem::new(problem::ROUTE_NOT_FOUND, detail)
}

/// Pages and scripts may only come from here and be framed by nobody.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

fn write_headers(headers: &mut HeaderMap, head: &Head, template: &str) {
    headers.insert(X_REQUEST_ID, head.request_id_header());
    if let Some(trace) = head.traceparent_header() {
        headers.insert(TRACEPARENT, trace);
    }
    secure(headers);
    if template.starts_with("/api") || template == "unmatched" {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    } else {
        // Pages change with the binary and never in between.
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
}

/// What every answer carries, also a preflight's, which the CORS layer gives by itself.
pub(super) fn secure(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
}
