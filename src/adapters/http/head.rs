//! What a handler needs of a request's head, taken once before routing.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HOST, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
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
    /// The caller's id for this request, or ours: visible ASCII characters.
    request_id: HeaderValue,
    /// The caller's trace, if it is one.
    traceparent: Option<HeaderValue>,
    headers: HeaderMap,
    uri: Uri,
    /// Who called, behind trusted proxies.
    pub(super) client: Option<IpAddr>,
}

/// What one header says, where it may be said once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing.
    Absent,
    /// This.
    One(&'a HeaderValue),
    /// More than one thing.
    Several,
}

impl Head {
    /// Takes the head of a request; its lines go along, nobody behind looks for them.
    pub(super) fn of<B>(request: &mut Request<B>, client: Option<IpAddr>) -> Arc<Head> {
        let headers = std::mem::take(request.headers_mut());
        Arc::new(Head {
            request_id: request_id(&headers),
            traceparent: headers.get(TRACEPARENT).filter(|value| is_traceparent(value)).cloned(),
            uri: request.uri().clone(),
            headers,
            client,
        })
    }

    /// The caller's id for this request, or ours.
    pub(super) fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// The same, as a header.
    pub(super) fn request_id_header(&self) -> HeaderValue {
        self.request_id.clone()
    }

    /// The caller's trace, if it is one.
    pub(super) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_ref().and_then(|value| value.to_str().ok())
    }

    /// The same, as a header.
    pub(super) fn traceparent_header(&self) -> Option<HeaderValue> {
        self.traceparent.clone()
    }

    /// The path.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// What stands behind the `?`.
    pub(super) fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// What this header says.
    pub(super) fn line(&self, name: &HeaderName) -> Line<'_> {
        let mut lines = self.headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Line::Absent,
            (Some(line), None) => Line::One(line),
            (Some(_), Some(_)) => Line::Several,
        }
    }

    /// Whether it says once for which host it is meant, as HTTP/1.1 demands (RFC 9112, 3.2).
    pub(super) fn is_addressed(&self) -> bool {
        matches!(self.line(&HOST), Line::One(_))
    }

    /// What the body is said to weigh, in bytes.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
    }

    /// Every `If-None-Match` line that is text.
    pub(super) fn if_none_match(&self) -> impl Iterator<Item = &str> {
        self.headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok())
    }

    /// Whether the caller wants no stored answer (RFC 9111, 5.2.1.4).
    pub(super) fn no_cache(&self) -> bool {
        let mut lines = self.headers.get_all(CACHE_CONTROL).iter();
        let asks = |directive: &str| directive.trim().eq_ignore_ascii_case("no-cache");
        lines.any(|line| line.to_str().is_ok_and(|line| line.split(',').any(asks)))
    }
}

/// The caller's id when it is 1 to 128 visible ASCII characters, so that it can neither break a log
/// line nor fill one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let visible = |value: &&HeaderValue| {
        (1..=128).contains(&value.len())
            && value.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte))
    };
    headers.get(X_REQUEST_ID).filter(visible).cloned().unwrap_or_else(new_request_id)
}

fn new_request_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// `version-traceid-parentid-flags` in lower-case hexadecimal (W3C Trace Context, section 3.2).
fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zeros = |part: &str| part.bytes().all(|byte| byte == b'0');
    hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && parts.next().is_none()
        && !zeros(trace)
        && !zeros(parent)
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
