//! What a handler needs of a request's head, taken once before routing.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use uuid::Uuid;

/// The request header of the key.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The request and response header of the request's id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's head, shared by everyone who answers it.
#[derive(Debug)]
pub(super) struct Head {
    /// The caller's id for this request, or ours.
    pub(super) request_id: String,
    /// The caller's trace, if it is one.
    pub(super) traceparent: Option<HeaderValue>,
    /// What stands behind the `?`.
    pub(super) query: Option<String>,
    /// Every `Authorization` line.
    pub(super) authorization: Vec<HeaderValue>,
    /// Every `Idempotency-Key` line.
    pub(super) keys: Vec<HeaderValue>,
    /// Every `Content-Type` line.
    pub(super) content_types: Vec<HeaderValue>,
    /// What the body is said to weigh, in bytes.
    pub(super) content_length: Option<u64>,
    /// Every `If-None-Match` line.
    pub(super) if_none_match: Vec<HeaderValue>,
    /// Whether the caller wants no stored answer (RFC 9111, 5.2.1.4).
    pub(super) no_cache: bool,
    /// Who called, behind trusted proxies.
    pub(super) client: Option<IpAddr>,
}

impl Head {
    /// Reads the head of a request.
    pub(super) fn of<B>(request: &Request<B>, client: Option<IpAddr>) -> Arc<Head> {
        let headers = request.headers();
        Arc::new(Head {
            request_id: request_id(headers),
            traceparent: headers.get(TRACEPARENT).filter(|value| is_traceparent(value)).cloned(),
            query: request.uri().query().map(str::to_owned),
            authorization: all(headers, AUTHORIZATION),
            keys: all(headers, IDEMPOTENCY_KEY),
            content_types: all(headers, CONTENT_TYPE),
            content_length: headers
                .get(CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok()?.parse().ok()),
            if_none_match: all(headers, IF_NONE_MATCH),
            no_cache: all(headers, CACHE_CONTROL)
                .iter()
                .any(|line| line.to_str().is_ok_and(|line| line.contains("no-cache"))),
            client,
        })
    }
}

fn all(headers: &HeaderMap, name: HeaderName) -> Vec<HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}

/// The caller's id when it is 1 to 128 visible ASCII characters, so that it can neither break a log
/// line nor fill one.
fn request_id(headers: &HeaderMap) -> String {
    let visible = |text: &&str| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
    };
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(visible);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// `version-traceid-parentid-flags` in lower-case hexadecimal (W3C Trace Context, section 3.2).
fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zeros = |part: &str| part.bytes().all(|byte| byte == b'0');
    matches!(parts[..], [version, trace, parent, flags]
        if hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16)
            && hex(flags, 2) && !zeros(trace) && !zeros(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_is_a_trace() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(&HeaderValue::from_static(good)));
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_traceparent(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
