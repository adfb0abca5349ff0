//! Around every request: id, span, time, headers; and the assembly of all routes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;
use tower::Service;
use tracing::Instrument;
use warp::filters::BoxedFilter;
use warp::{Filter, Rejection};

use super::context::Context;
use super::head::{Head, TRACEPARENT, X_REQUEST_ID};
use super::ops::{self, Door};
use super::problem::{self, Problem};
use super::{docs, orders, routes, sales, storefront, users, wallets};
use crate::ports::read::Reads;
use crate::ports::signals;
use crate::ports::store::Store;

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Everything that warp answers.
pub(super) type Routes = BoxedFilter<(warp::reply::Response,)>;

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

/// All routes of the public address, the busiest first: each further one costs a look at the path.
pub(super) fn public_routes<S: Store, R: Reads>(context: &Context<S, R>) -> Routes {
    let api = orders::place(context.clone())
        .or(orders::get(context.clone()))
        .unify()
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
    let pages = storefront::page()
        .or(storefront::assets())
        .unify()
        .or(docs::openapi())
        .unify()
        .or(docs::swagger())
        .unify()
        .or(docs::problems())
        .unify()
        .boxed();
    let operator = operator(context, Door::Public);
    api.or(operator).unify().or(pages).unify().recover(|_| reject(Door::Public)).unify().boxed()
}

/// The routes of the operator's own address.
pub(super) fn operator_routes<S: Store, R: Reads>(context: &Context<S, R>) -> Routes {
    operator(context, Door::Operator).recover(|_| reject(Door::Operator)).unify().boxed()
}

fn operator<S: Store, R: Reads>(context: &Context<S, R>, door: Door) -> Routes {
    ops::livez()
        .or(ops::readyz(context.clone()))
        .unify()
        .or(ops::metrics(context.clone(), door))
        .unify()
        .or(ops::audit(context.clone(), door))
        .unify()
        .boxed()
}

/// What no route took: only path and method can be the reason. The endpoint knows the path and
/// writes the problem.
async fn reject(door: Door) -> Result<warp::reply::Response, Infallible> {
    let mut response = warp::reply::Response::default();
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
) -> Response<Body>
where
    B: http_body::Body + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let started = Instant::now();
    let mut waiting = Waiting { answered: false };
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = routes::find(&path);
    let template = route.map_or("unmatched", |route| route.template);
    let head = Head::of(&request, client);
    if method == Method::HEAD {
        // hyper remembers the real method and leaves the body out.
        *request.method_mut() = Method::GET;
    }
    request.extensions_mut().insert(Arc::clone(&head));

    let span = tracing::info_span!(
        "request",
        %method,
        route = template,
        request_id = %head.request_id,
        client = head.client.map(tracing::field::display),
        traceparent = head.traceparent.as_ref().and_then(|value| value.to_str().ok()),
    );
    let Ok(mut response) = warp::service(routes).call(request).instrument(span.clone()).await;
    if let Some(Unrouted(door)) = response.extensions_mut().remove::<Unrouted>() {
        let route = route.filter(|route| door.has(route.template));
        response = unrouted(&path, &method, route).into_response();
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let mut response = response.map(|body| body.map_err(Into::into).boxed_unsync());
    if let Some(problem) = &problem {
        let document = problem.document(method == Method::POST, &head.request_id);
        let body = http_body_util::Full::new(Bytes::from(document));
        *response.body_mut() = body.map_err(|never| match never {}).boxed_unsync();
    }
    write_headers(response.headers_mut(), &head, template);
    record(&method, template, response.status(), started, problem.as_ref(), &span);
    waiting.answered = true;
    response
}

fn unrouted(path: &str, method: &Method, route: Option<&'static routes::Route>) -> Problem {
    if let Some(route) = route {
        let detail = format!("{path} has {}, not {method}. Nothing was executed.", route.allow);
        return Problem::new(problem::METHOD_NOT_ALLOWED, detail).allow(route.allow);
    }
    let trimmed = path.trim_end_matches('/');
    let detail = if matches!(trimmed, "/api/purchase" | "/api/purchases") {
        "It is called an order here: POST /api/orders. Nothing was executed."
    } else {
        "There is nothing at this path; /docs lists every operation. Nothing was executed."
    };
    Problem::new(problem::ROUTE_NOT_FOUND, detail)
}

/// Pages and scripts may only come from here and be framed by nobody.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

fn write_headers(headers: &mut HeaderMap, head: &Head, template: &str) {
    if let Ok(id) = HeaderValue::from_str(&head.request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(trace) = &head.traceparent {
        headers.insert(TRACEPARENT, trace.clone());
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

fn record(
    method: &Method,
    template: &'static str,
    status: StatusCode,
    started: Instant,
    problem: Option<&Problem>,
    span: &tracing::Span,
) {
    let elapsed = started.elapsed();
    metrics::histogram!(
        signals::HTTP_DURATION,
        "method" => method_label(method),
        "route" => template,
        "status" => status.as_str().to_owned(),
    )
    .record(elapsed);
    let (code, seconds) = (problem.map(Problem::code), elapsed.as_secs_f64());
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), code, seconds, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), code, seconds, "answered");
        }
    });
}

/// A method as a label: a caller's invention must not become a new time series.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
