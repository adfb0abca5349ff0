//! Problem documents (RFC 9457): the only place with status codes of failures.
//!
//! Each code has one status, one title and, on a POST, one default for what the caller should do
//! next; the detail and the members that go with a code are filled in where the problem is made.

use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::keyless::keyless;

/// What a problem says about the caller's key: was an order made under it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charged {
    /// No order exists under the key, and this attempt will not make one.
    No,
    /// An order exists.
    Yes,
    /// An attempt may still be undecided.
    Unknown,
}

/// What a caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The same request with the same key.
    SameKey,
    /// A new decision, with a new key.
    NewKey,
    /// As it stands it cannot succeed.
    Never,
}

/// One code of the contract.
#[derive(Debug)]
pub struct ProblemKind {
    /// The code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The title, the same for every occurrence.
    pub title: &'static str,
    /// What it means and what to do, for the page `/problems/{code}`.
    pub meaning: &'static str,
    charged: Charged,
    retry: Retry,
}

macro_rules! problems {
    ($(
        $name:ident = $code:literal, $status:literal, $charged:ident, $retry:ident,
        $title:literal, $meaning:literal;
    )*) => {
        $(pub(super) const $name: &ProblemKind = &ProblemKind {
            code: $code, status: $status, title: $title, meaning: $meaning,
            charged: Charged::$charged, retry: Retry::$retry,
        };)*
        /// Every code, in the order of the contract.
        pub const PROBLEMS: &[&ProblemKind] = &[$($name),*];
    };
}

problems! {
    VALIDATION_FAILED = "validation_failed", 400, No, Never, "The request is not valid",
        "A header, parameter or member is missing, malformed or not known. `errors` names each one and says what is accepted. Nothing was executed.";
    KEY_MISSING = "idempotency_key_missing", 400, No, Never, "An Idempotency-Key is required",
        "Where money moves, a request carries an Idempotency-Key, made when the person decides and kept for every retry. Nothing was executed.";
    KEY_INVALID = "idempotency_key_invalid", 400, No, Never, "The Idempotency-Key is not valid",
        "A key is 1 to 255 visible ASCII characters, bare or as a quoted string, in exactly one header line. Nothing was executed.";
    OUT_OF_STOCK = "out_of_stock", 400, No, SameKey, "Not enough items are left",
        "`stock` says how many are left. No money was taken and the key stays free.";
    INSUFFICIENT_BALANCE = "insufficient_balance", 400, No, SameKey, "The wallet holds too little",
        "`balance` is what the wallet holds, `total` what the order costs. No money was taken and the key stays free.";
    SALE_NOT_OPEN = "sale_not_open", 400, No, SameKey, "The sale is not open",
        "`starts_at` and `ends_at` give the window, by the database's clock. No money was taken and the key stays free.";
    LIMIT_REACHED = "purchase_limit_reached", 400, No, SameKey, "The limit for each user is reached",
        "`limit` is how many units one user may own, `bought` how many this user owns. No money was taken and the key stays free.";
    ORDER_EXPIRED = "order_expired", 400, No, NewKey, "The order came too late",
        "The request's `valid_until` had passed when it was decided. No money was taken; decide again, with a new key.";
    BALANCE_LIMIT = "balance_limit_exceeded", 400, No, Never, "The balance would become too large",
        "A wallet holds at most 99999999999.99. Nothing was deposited.";
    UNAUTHENTICATED = "unauthenticated", 401, No, Never, "A valid token is required",
        "Send `Authorization: Bearer TOKEN` once, with a token that is signed, current, and meant for this service. Nothing was executed.";
    FORBIDDEN = "forbidden", 403, No, Never, "Not allowed for this token",
        "The token is valid, its role does not allow this. Nothing was executed.";
    SALE_NOT_FOUND = "sale_not_found", 404, No, Never, "There is no such sale",
        "No sale has this id. Nothing was executed.";
    USER_NOT_FOUND = "user_not_found", 404, No, Never, "There is no such user",
        "No user has this id. Nothing was executed.";
    ORDER_NOT_FOUND = "order_not_found", 404, No, Never, "There is no such order",
        "No order of yours has this id.";
    ROUTE_NOT_FOUND = "route_not_found", 404, No, Never, "There is nothing at this path",
        "See /openapi.yaml or /docs for every path.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, No, Never, "This path has other methods",
        "`Allow` lists the methods of this path. Nothing was executed.";
    REQUEST_TIMEOUT = "request_timeout", 408, No, Never, "The request came too slowly",
        "The body was not complete in time. Nothing was executed.";
    CONFLICT = "concurrent_conflict", 409, No, SameKey, "Others held the row for too long",
        "The database could not give this request its turn in time. No money was taken; try again with the same key.";
    IN_PROGRESS = "request_in_progress", 409, Unknown, SameKey, "The same request is being decided",
        "Another request with this key is under way. Ask again with the same key to learn how it ended.";
    ALREADY_EXISTS = "already_exists", 409, No, Never, "This id is taken",
        "Another user has this external_id. Nothing was made.";
    BODY_TOO_LARGE = "body_too_large", 413, No, Never, "The body is too large",
        "A body has at most 16384 bytes. Nothing was executed.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, No, Never, "The body must be JSON",
        "Send `Content-Type: application/json`. Nothing was executed.";
    KEY_REUSED = "idempotency_key_reused", 422, Yes, NewKey, "The key was used for something else",
        "A request with another meaning was committed under this key; it stands, and this one was not executed. A new decision needs a new key.";
    HEADERS_TOO_LARGE = "headers_too_large", 431, No, Never, "The headers are too large",
        "Headers have at most 64 lines and 16 KiB. Nothing was executed.";
    RATE_LIMITED = "rate_limited", 429, Unknown, SameKey, "Too many requests",
        "Wait for `Retry-After` seconds, then try again with the same key. This attempt was not executed and never will be.";
    INTERNAL = "internal", 500, Unknown, SameKey, "Something is wrong here",
        "A defect on our side, logged under the request id in `instance`. Ask again with the same key to learn how it ended.";
    OVERLOADED = "overloaded", 503, Unknown, SameKey, "No place was free in time",
        "Wait for `Retry-After` seconds, then try again with the same key. This attempt was not executed and never will be; an earlier one with the key may have been.";
    DRAINING = "draining", 503, Unknown, SameKey, "This instance is shutting down",
        "Try again with the same key; another instance answers. This attempt was not executed and never will be.";
    DATABASE_UNAVAILABLE = "database_unavailable", 503, Unknown, SameKey, "The database is away",
        "Try again with the same key. This attempt was not executed and never will be; an earlier one with the key may have been.";
    OUTCOME_UNKNOWN = "outcome_unknown", 503, Unknown, SameKey, "It is not known how this ended",
        "The database went away in the middle of the commit, or time ran out. Try again with the same key: it is executed once at most.";
}

/// A failure on its way to its caller.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    kind: &'static ProblemKind,
    detail: String,
    charged: Charged,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    reason: Option<String>,
}

impl Problem {
    /// A problem of this kind. `detail` is a sentence with the values.
    pub(super) fn new(kind: &'static ProblemKind, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            detail: detail.into(),
            charged: kind.charged,
            members: Map::new(),
            headers: Vec::new(),
            reason: None,
        }
    }

    /// A request with faulty members: each with what is accepted, up to a number that a person
    /// reads. A request of 16 KiB can hold thousands.
    pub(super) fn invalid(errors: &[FieldError]) -> Problem {
        let more = errors.len().saturating_sub(FAULTS_MAX);
        let errors = &errors[..errors.len() - more];
        let mut detail: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        if more > 0 {
            detail.push(format!("and {more} more"));
        }
        let errors = errors
            .iter()
            .map(|error| json!({ "field": error.field, "message": error.message }))
            .collect();
        Problem::new(VALIDATION_FAILED, detail.join("; ")).with("errors", Value::Array(errors))
    }

    /// Adds a member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Says when to come back.
    pub(super) fn retry_after(mut self, seconds: u32) -> Problem {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// Lists the methods of the path.
    pub(super) fn allow(mut self, methods: &'static str) -> Problem {
        self.headers.push((ALLOW, HeaderValue::from_static(methods)));
        self
    }

    /// Ends the connection behind this answer.
    pub(super) fn close(mut self) -> Problem {
        self.headers.push((CONNECTION, HeaderValue::from_static("close")));
        self
    }

    /// Says what is for the log only.
    pub(super) fn because(mut self, reason: &str) -> Problem {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Who sent no key has no "same key". Where the end is not known, says what to do instead.
    pub(super) fn without_key(mut self, instead: &str) -> Problem {
        self.detail = match [OUTCOME_UNKNOWN.code, INTERNAL.code].contains(&self.code()) {
            true => format!("It is not known whether this request was executed. {instead}"),
            false => keyless(&self.detail),
        };
        self
    }

    /// What is for the log only.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The code.
    pub(super) fn code(&self) -> &'static str {
        self.kind.code
    }

    /// The answer without its body: the endpoint writes it when it knows method and request id.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() =
            StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if self.kind.status == 401 {
            let challenge = HeaderValue::from_static("Bearer realm=\"flashdeal\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(self);
        response
    }

    /// The document. Only a POST can have had a key.
    pub(super) fn document(&self, is_post: bool, request_id: &str) -> Vec<u8> {
        let detail = if is_post { self.detail.clone() } else { keyless(&self.detail) };
        let mut document = json!({
            "type": format!("/problems/{}", self.kind.code),
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": detail,
            "code": self.kind.code,
            "instance": request_id,
        });
        if let Value::Object(members) = &mut document {
            members.extend(self.members.clone());
            if is_post {
                members.insert("charged".to_owned(), self.charged.name().into());
                members.insert("retry".to_owned(), self.kind.retry.name().into());
            }
        }
        document.to_string().into_bytes()
    }
}

/// The most faults that one answer names.
const FAULTS_MAX: usize = 20;

/// One faulty member, header or parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldError {
    /// Where.
    pub(super) field: String,
    /// What is accepted.
    pub(super) message: String,
}

/// A caller's own name for something as it may be told back: visible, and short also after its
/// strange characters were spelled out.
pub(super) fn shown(name: &str) -> String {
    let shown: String = name.chars().flat_map(char::escape_default).take(80).collect();
    if shown.is_empty() { "\"\"".to_owned() } else { shown }
}

impl Charged {
    fn name(self) -> &'static str {
        match self {
            Charged::No => "no",
            Charged::Yes => "yes",
            Charged::Unknown => "unknown",
        }
    }
}

impl Retry {
    fn name(self) -> &'static str {
        match self {
            Retry::SameKey => "same_key",
            Retry::NewKey => "new_key",
            Retry::Never => "never",
        }
    }
}
