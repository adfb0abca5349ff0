//! What everyone looks at while they wait: sales, read once for many readers.
//!
//! An answer is written once and given to everyone for [`FRESH`]; those who come when it has grown
//! old wait together for one reading. So a hundred thousand readers cost the database a handful of
//! queries a second, and a reader sees a sale as it was at most a quarter of a second ago. Whoever
//! needs the present says `Cache-Control: no-cache`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, StatusCode};
use moka::future::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use warp::reply::Response;

use super::answer::with_type;
use super::head::Head;
use super::problem::Problem;
use super::verdict::failed;
use crate::logic::fault::Fault;

/// How long an answer is given again. With the time of the reading itself it is less than 250 ms.
const FRESH: Duration = Duration::from_millis(200);
/// Answers kept at a time.
const KEPT: usize = 4_096;

/// Written answers by what was asked. The board is what everyone looks at; behind it, readers who
/// find nothing fresh wait together for one reading.
#[derive(Clone)]
pub(super) struct SalesBoard {
    board: Arc<RwLock<HashMap<String, Rendered>>>,
    readings: Cache<String, Rendered>,
}

/// An answer, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    body: Bytes,
    etag: HeaderValue,
    written: Instant,
}

impl Default for SalesBoard {
    fn default() -> Self {
        let readings = Cache::builder().max_capacity(KEPT as u64).time_to_live(FRESH).build();
        SalesBoard { board: Arc::default(), readings }
    }
}

impl SalesBoard {
    /// The answer to `question`, from the board or read now.
    pub(super) async fn answer(
        &self,
        head: &Head,
        question: &str,
        read: impl Future<Output = Result<Rendered, Problem>>,
    ) -> Result<Response, Problem> {
        if head.no_cache() {
            return Ok(read.await?.respond(head));
        }
        if let Some(known) = self.board.read().unwrap_or_else(PoisonError::into_inner).get(question)
            && known.written.elapsed() < FRESH
        {
            return Ok(known.respond(head));
        }
        let reading = self.readings.try_get_with(question.to_owned(), read).await;
        let rendered = reading.map_err(|problem: Arc<Problem>| (*problem).clone())?;
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        if board.len() >= KEPT {
            board.retain(|_, known| known.written.elapsed() < FRESH);
        }
        if board.len() < KEPT {
            board.insert(question.to_owned(), rendered.clone());
        }
        drop(board);
        Ok(rendered.respond(head))
    }
}

impl Rendered {
    /// Writes a body and names it by its content.
    pub(super) fn new(body: &impl Serialize) -> Result<Rendered, Problem> {
        let defect = |error: String| failed(&Fault::Internal(error));
        let body = serde_json::to_vec(body).map_err(|error| defect(error.to_string()))?;
        let digest = Sha256::digest(&body);
        let name: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{name}\""));
        let etag = etag.map_err(|error| defect(error.to_string()))?;
        Ok(Rendered { body: body.into(), etag, written: Instant::now() })
    }

    /// 200, or 304 to whoever has these bytes already (RFC 9110, 13.1.2).
    fn respond(&self, head: &Head) -> Response {
        let known = head.if_none_match();
        let mut known = known.flat_map(|line| line.split(',')).map(str::trim);
        let etag = self.etag.to_str().unwrap_or_default();
        let same = known.any(|name| name == "*" || name.trim_start_matches("W/") == etag);
        let mut response = if same {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            with_type(HeaderValue::from_static("application/json"), self.body.clone())
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
        response
    }
}
