//! One press of a buyer: the request that it is, and what an answer to it means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::Value;
use uuid::Uuid;

use crate::adapters::http::HttpReply;
use crate::domain::id::{OrderId, SaleId, UserId};

/// The longest that a buyer waits between two attempts, whatever the service asks for.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Between two attempts when the service named no time, or there was no answer at all.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// A buyer's decision: the same key as often as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// Who.
    pub buyer: UserId,
    /// The key.
    pub key: Uuid,
}

/// How a press ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made this order.
    Made(OrderId),
    /// It was answered with the order that an earlier attempt with its key had made.
    Replayed(OrderId),
    /// It was refused for good, with this code.
    Refused(String),
    /// It was given up; the last word was this.
    Undecided(String),
}

/// What one answer means.
pub(super) enum Word {
    /// The press has ended.
    Final(Outcome),
    /// The same press again, after a pause.
    Again { code: String, pause: Duration },
}

/// `POST /api/orders` for one unit.
pub fn order_request(sale_id: SaleId, press: Press) -> Request<Bytes> {
    let body = format!(r#"{{"user_id":"{}","sale_id":"{sale_id}"}}"#, press.buyer);
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/api/orders");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = HeaderValue::from_str(&press.key.to_string()).expect("a UUID is visible ASCII");
    headers.insert("idempotency-key", key);
    request
}

/// Busy, in progress, unknown: the same press again. Everything else is decided.
pub(super) fn judge(reply: &HttpReply) -> Word {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
    let code = |otherwise: &str| match text("code") {
        code if code.is_empty() => format!("{otherwise}_{}", reply.status.as_u16()),
        code => code,
    };
    match reply.status {
        StatusCode::CREATED => match OrderId::parse(&text("id")) {
            Some(id) if reply.headers.contains_key("idempotent-replayed") => {
                Word::Final(Outcome::Replayed(id))
            }
            Some(id) => Word::Final(Outcome::Made(id)),
            None => Word::Final(Outcome::Refused("order_without_id".to_owned())),
        },
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => again(reply, code("status")),
        status if status.is_server_error() => again(reply, code("status")),
        _ => Word::Final(Outcome::Refused(code("status"))),
    }
}

fn again(reply: &HttpReply, code: String) -> Word {
    let asked = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let pause = asked.map_or(PAUSE, Duration::from_secs).min(PAUSE_MAX);
    Word::Again { code, pause }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn reply(status: u16, replayed: bool, body: &'static str) -> HttpReply {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
        if replayed {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        let status = StatusCode::from_u16(status).unwrap();
        HttpReply { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn an_answer_decides_or_asks_for_the_same_press_again() {
        const ORDER: &str = r#"{"id":"0190c000-0000-7000-8000-000000000019"}"#;
        let id = OrderId::parse("0190c000-0000-7000-8000-000000000019").unwrap();
        let sold_out = Outcome::Refused("out_of_stock".to_owned());
        let wrong = Outcome::Refused("status_418".to_owned());
        let decided = [
            (reply(201, false, ORDER), Outcome::Made(id)),
            (reply(201, true, ORDER), Outcome::Replayed(id)),
            (reply(201, false, "{}"), Outcome::Refused("order_without_id".to_owned())),
            (reply(400, false, r#"{"code":"out_of_stock"}"#), sold_out),
            (reply(418, false, "tea"), wrong),
        ];
        for (reply, expected) in decided {
            assert!(matches!(judge(&reply), Word::Final(found) if found == expected), "{reply:?}");
        }
        for status in [409, 429, 500, 503] {
            let reply = reply(status, false, r#"{"code":"busy"}"#);
            let Word::Again { code, pause } = judge(&reply) else { panic!("{reply:?}") };
            assert_eq!((code.as_str(), pause), ("busy", PAUSE_MAX));
        }
    }
}
