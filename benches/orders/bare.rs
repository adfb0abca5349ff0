//! Bare hyper with the same parse: reads the body, parses the same JSON into ids, answers a 201 of
//! the same length. No routes, layers, limits, time-outs, metrics or validation beyond the parse:
//! what the echo service is measured against.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use uuid::Uuid;

use flashdeal::app::signals::StopSignals;

use crate::Outcome;

/// The hidden argument with which the benchmark starts itself as this service.
pub(crate) const ARGUMENT: &str = "--serve-bare";
/// The length of a 201's body, in bytes.
const BODY_BYTES: usize = 301;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    user_id: String,
    sale_id: String,
}

/// Runs until a signal comes.
pub(crate) async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let mut signals = StopSignals::listen()?;
    eprintln!("listening address={}", listener.local_addr()?);
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                let service = service_fn(answer);
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    let wish = body.ok().and_then(|body| serde_json::from_slice::<Wish>(&body).ok());
    let ids = wish.and_then(|wish| {
        Some((Uuid::try_parse(&wish.user_id).ok()?, Uuid::try_parse(&wish.sale_id).ok()?))
    });
    let mut response = Response::new(Full::default());
    let Some((user, sale)) = ids else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let order = Uuid::now_v7();
    let mut text = format!(r#"{{"id":"{order}","user_id":"{user}","sale_id":"{sale}","rest":""#);
    while text.len() < BODY_BYTES - 2 {
        text.push('0');
    }
    text.push_str("\"}");
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/orders/{order}")) {
        headers.insert(LOCATION, location);
    }
    *response.body_mut() = Full::new(Bytes::from(text));
    Ok(response)
}
