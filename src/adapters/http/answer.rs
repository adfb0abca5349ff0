//! Answers that are not problems.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use warp::reply::Response;

use super::problem::Problem;
use super::verdict::Settled;

/// Marks an answer that was given before.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Room for an order, so that the most frequent answer is written without growing.
const BODY_BYTES: usize = 512;

/// The end of every handler.
pub(super) type Handled = Result<Response, Problem>;

/// Turns a handler's end into a response; a rejection never leaves an endpoint.
pub(super) fn respond(handled: Handled) -> Response {
    handled.unwrap_or_else(Problem::into_response)
}

/// 200 with a JSON body.
pub(super) fn ok(body: &impl Serialize) -> Handled {
    json(StatusCode::OK, body)
}

/// Any status with a JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Handled {
    let mut bytes = Vec::with_capacity(BODY_BYTES);
    serde_json::to_writer(&mut bytes, body).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        super::verdict::failed(&crate::logic::fault::Fault::Internal(error.to_string()))
    })?;
    let mut response = with_type(HeaderValue::from_static("application/json"), bytes.into());
    *response.status_mut() = status;
    Ok(response)
}

/// 201 with `Location`, or the same again, marked as a replay.
pub(super) fn created(settled: &Settled<()>, location: String, body: &impl Serialize) -> Handled {
    let mut response = json(StatusCode::CREATED, body)?;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_maybe_shared(Bytes::from(location)) {
        headers.insert(LOCATION, location);
    }
    if matches!(settled, Settled::Replayed(())) {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

impl<V> Settled<V> {
    /// What was made, and whether it is a replay.
    pub(super) fn split(self) -> (V, Settled<()>) {
        match self {
            Settled::Made(value) => (value, Settled::Made(())),
            Settled::Replayed(value) => (value, Settled::Replayed(())),
        }
    }
}

/// 200 with bytes of a type.
pub(super) fn with_type(content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A file from the binary; it changes only with the binary.
pub(super) fn file(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = with_type(HeaderValue::from_static(content_type), body.into());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
