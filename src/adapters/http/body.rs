//! Bodies: how much, how long, of which type. Chunked bodies are welcome up to the limit.

use std::pin::pin;

use bytes::{Buf, BytesMut};
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tokio::time::{Duration, Instant};

use super::fields::Fields;
use super::head::{Head, IDEMPOTENCY_KEY, Line};
use super::problem::{self, Problem};
use crate::domain::key::IdempotencyKey;

/// The largest body, in bytes: the longest valid one has under 3 KiB.
pub(super) const BODY_MAX_BYTES: usize = 16 * 1024;
/// How long a body may take. Short enough for a slow client to be cut off, long enough for a phone.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Reads a JSON object.
///
/// # Errors
/// 415, 413, 408 or 400, in this order.
pub(super) async fn read_object<S, B, E>(head: &Head, body: S) -> Result<Fields, Problem>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    require_json(head)?;
    Fields::parse(&read_bytes(head, body).await?)
}

fn require_json(head: &Head) -> Result<(), Problem> {
    let essence = match head.line(&CONTENT_TYPE) {
        Line::One(one) => {
            one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim()
        }
        _ => "",
    };
    let is_plain = match head.line(&CONTENT_ENCODING) {
        Line::Absent => true,
        Line::One(one) => one.as_bytes().eq_ignore_ascii_case(b"identity"),
        Line::Several => false,
    };
    let detail = match essence.eq_ignore_ascii_case("application/json") {
        true if is_plain => return Ok(()),
        true => "Send the body as it is, without a Content-Encoding. Nothing was executed.",
        false => "Send one `Content-Type: application/json`. Nothing was executed.",
    };
    Err(Problem::new(problem::UNSUPPORTED_MEDIA_TYPE, detail))
}

async fn read_bytes<S, B, E>(head: &Head, body: S) -> Result<BytesMut, Problem>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let too_large = || {
        let detail = format!("A body has at most {BODY_MAX_BYTES} bytes. Nothing was executed.");
        Problem::new(problem::BODY_TOO_LARGE, detail).close()
    };
    if head.content_length().is_some_and(|length| length > BODY_MAX_BYTES as u64) {
        return Err(too_large());
    }
    let deadline = Instant::now() + BODY_TIME_MAX;
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout_at(deadline, body.next()).await.map_err(|_| {
            let detail = "The body was not complete within 10 s. Nothing was executed.";
            Problem::new(problem::REQUEST_TIMEOUT, detail).close()
        })?;
        match chunk {
            None => return Ok(bytes),
            Some(Ok(mut chunk)) => {
                if bytes.len() + chunk.remaining() > BODY_MAX_BYTES {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            }
            Some(Err(_)) => {
                let fault = problem::FieldError {
                    field: "body".to_owned(),
                    message: "broke off before its end".to_owned(),
                };
                return Err(Problem::invalid(&[fault]).close());
            }
        }
    }
}

/// The key, if one was sent.
///
/// # Errors
/// `idempotency_key_invalid` when it is malformed or there are several lines.
pub(super) fn optional_key(head: &Head) -> Result<Option<IdempotencyKey>, Problem> {
    let line = match head.line(&IDEMPOTENCY_KEY) {
        Line::Absent => return Ok(None),
        Line::One(line) => line,
        Line::Several => {
            let detail = "Send one Idempotency-Key header, not several. Nothing was executed.";
            return Err(Problem::new(problem::KEY_INVALID, detail));
        }
    };
    IdempotencyKey::parse(line.as_bytes()).map(Some).map_err(|not_a_key| {
        Problem::new(problem::KEY_INVALID, format!("{not_a_key}. Nothing was executed."))
    })
}

/// Tells someone who sent none, and does not know how it ended, what is left to do.
pub(super) fn look_first(keyed: bool) -> impl FnOnce(Problem) -> Problem {
    move |problem| {
        if keyed {
            return problem;
        }
        problem.without_key(
            "It had no Idempotency-Key, so a second one may do it a second time: look for the \
             first before you ask again.",
        )
    }
}

/// The key where money moves.
///
/// # Errors
/// Also `idempotency_key_missing`.
pub(super) fn required_key(head: &Head) -> Result<IdempotencyKey, Problem> {
    optional_key(head)?.ok_or_else(key_missing)
}

/// Money was about to move without a key.
pub(super) fn key_missing() -> Problem {
    Problem::new(
        problem::KEY_MISSING,
        "Send an Idempotency-Key header: make one when the person decides, keep it for every \
         retry. Nothing was executed.",
    )
}
