//! What is fuzzed and what must hold, one function for each target: input in, a panic if a reader
//! said yes to what is none. Fed three times: with the committed corpus and its mutations in every
//! run of the tests, and by a fuzzer that watches coverage (`fuzz/`).

use flashdeal::adapters::http::readers::{self, Refused};
use flashdeal::adapters::token::{Caller, TokenOptions, Verifier, sign};
use flashdeal::domain::id::UserId;
use flashdeal::domain::key::IdempotencyKey;
use flashdeal::domain::money::Money;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

#[path = "bodies.rs"]
mod bodies;

use bodies::json;

/// A target: its name, its corpus, its longest input, and what is done with an input.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) corpus: &'static str,
    pub(crate) found: &'static str,
    pub(crate) length_max: usize,
    pub(crate) eat: fn(&[u8]),
}

macro_rules! target {
    ($name:literal, $length_max:literal, $eat:ident) => {
        Target {
            name: $name,
            corpus: include_str!(concat!($name, ".txt")),
            found: include_str!(concat!("found/", $name, ".txt")),
            length_max: $length_max,
            eat: $eat,
        }
    };
}

/// All of them.
pub(crate) const TARGETS: [Target; 8] = [
    target!("json", 2_000, json),
    target!("key", 300, key),
    target!("cursor", 80, cursor),
    target!("token", 4_000, token),
    target!("claims", 1_000, claims),
    target!("money", 40, money),
    target!("traceparent", 200, head),
    target!("query", 1_000, query),
];

/// The ids that stand for USER and SALE in a corpus.
pub(crate) const USER: &str = "0190a000-0000-7000-8000-000000000001";
pub(crate) const SALE: &str = "0190b000-0000-7000-8000-000000000001";
const SECRET: &[u8] = b"a test secret of more than thirty-two bytes";

/// The inputs of a corpus as they are eaten.
pub(crate) fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let text = [target.corpus, target.found].join("\n");
    let text = text.replace("USER", USER).replace("SALE", SALE).replace("GOOD", &good());
    text.lines().filter(|line| !line.starts_with("# ")).map(unescaped).collect()
}

/// Bytes from a line of a corpus.
pub(crate) fn unescaped(line: &str) -> Vec<u8> {
    let (bytes, mut found) = (line.as_bytes(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let hex = line.get(at + 2..at + 4).filter(|_| bytes[at..].starts_with(b"\\x"));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                found.push(byte);
                at += 4;
            }
            None => {
                found.push(bytes[at]);
                at += 1;
            }
        }
    }
    found
}

pub(crate) fn buyer() -> Caller {
    Caller::Buyer(UserId::parse(USER).expect("an id"))
}

/// A refusal is one of the codes that a reader may give, and shorter than the longest request.
pub(crate) fn fair(refused: &Refused, codes: &[&str]) {
    assert!(codes.contains(&refused.code), "{refused:?}");
    assert!(refused.document.len() < 16 * 1024, "{} bytes", refused.document.len());
    let document: Value = serde_json::from_slice(&refused.document).expect("JSON");
    assert_eq!(document["charged"], "no");
    let detail = document["detail"].as_str().expect("a detail");
    assert!(!detail.chars().any(char::is_control), "{detail:?}");
}

/// A key is visible ASCII, and its two spellings are one.
fn key(input: &[u8]) {
    let Ok(key) = IdempotencyKey::parse(input) else {
        return;
    };
    let text = key.as_str();
    assert!((1..=255).contains(&text.len()));
    assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(IdempotencyKey::parse(quoted.as_bytes()).as_ref(), Ok(&key), "{quoted}");
}

/// A cursor that is taken is written again as one that means the same, on one list only.
fn cursor(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = readers::cursors(&text);
    assert!(read.iter().flatten().count() <= 1, "{read:?}");
    for (list, again) in read.iter().enumerate() {
        if let Some(again) = again {
            assert!(
                again.len() <= 60 && again.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            );
            assert_eq!(readers::cursors(again)[list].as_ref(), Some(again));
        }
    }
}

/// Queries: a filter never reaches further than its caller.
fn query(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for caller in [Caller::Service, buyer()] {
        match readers::order_query(&text, caller) {
            Err(refused) => fair(&refused, &["validation_failed", "forbidden"]),
            Ok((filter, cursor, limit)) => {
                assert!((1..=200).contains(&limit));
                assert!(filter.key.is_none() || filter.user_id.is_some());
                assert!(filter.user_id.map_or(caller.serves(), |user| caller.may_act_for(user)));
                let along = cursor.is_none_or(|it| it.starts_with('s') == filter.by_sequence());
                assert!(along, "a cursor of another list");
            }
        }
    }
}

/// The contract's own grammar, written down a second time.
fn is_money(text: &str) -> bool {
    let Some((whole, cents)) = text.split_once('.') else {
        return false;
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = whole == "0" || !whole.starts_with('0');
    digits(whole) && digits(cents) && whole.len() <= 11 && cents.len() == 2 && plain
}

/// Money is what its grammar says, and reads back.
fn money(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = Money::parse(&text);
    assert_eq!(read.is_ok(), is_money(&text));
    if let Ok(money) = read {
        assert_eq!(money.to_string(), text);
        assert!(money <= Money::MAX && Money::from_decimal(money.decimal()) == Some(money));
    }
}

/// Heads: a trace has its grammar, an id can break no line, and only proxies are believed.
fn head(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return;
    };
    let head = readers::head(&value);
    let visible = head.request_id.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    assert!(visible && (1..=128).contains(&head.request_id.len()));
    if let Some(trace) = head.traceparent {
        assert_eq!(trace.as_bytes(), input);
        assert!(trace.len() == 55 && !trace.starts_with("ff"));
        let shape = |(at, byte): (usize, u8)| match at {
            2 | 35 | 52 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        assert!(trace.bytes().enumerate().all(shape), "{trace}");
    }
    assert_eq!(head.clients[1], Some([203, 0, 113, 9].into()), "nobody trusts this peer");
}

fn options() -> TokenOptions {
    TokenOptions { issuer: "flashdeal".into(), audience: "flashdeal".into() }
}

/// Good until the year 2100, and the same in every run.
pub(crate) fn good() -> String {
    sign(&options(), SECRET, Caller::Service, 4_102_444_800).expect("a token")
}

/// Only what was signed is accepted, and only as who it was signed for.
fn token(input: &[u8]) {
    thread_local! {
        static WORLD: (Verifier, String) =
            (Verifier::new(options()).with_secret(SECRET), good());
    }
    let token = String::from_utf8_lossy(input);
    WORLD.with(|(verifier, good)| match verifier.verify(&token) {
        Ok(caller) => assert!(token == *good && caller == Caller::Service, "{token}"),
        Err(refused) => assert!(refused.0.is_ascii() && !refused.0.is_empty()),
    });
}

/// Claims under a good signature: what is accepted says so, once and in the right type.
fn claims(input: &[u8]) {
    thread_local! {
        static VERIFIER: Verifier = Verifier::new(options()).with_secret(SECRET);
    }
    let message = format!("{}.{}", base64url(br#"{"alg":"HS256"}"#), base64url(input));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    let token = format!("{message}.{}", signature.expect("a signature"));
    let Ok(caller) = VERIFIER.with(|verifier| verifier.verify(&token)) else {
        return;
    };
    let claims: Said = serde_json::from_slice(input).expect("what is accepted can be read");
    let ours = |claim: &Value| claim == "flashdeal";
    assert!(ours(&claims.iss), "{claims:?}");
    let listed = claims.aud.as_array().is_some_and(|several| several.iter().any(ours));
    assert!(ours(&claims.aud) || listed, "{claims:?}");
    assert!(claims.exp.as_f64().is_some_and(|at| at > 1_700_000_000.0), "{claims:?}");
    match caller {
        Caller::Admin => assert_eq!(claims.role, "admin"),
        Caller::Service => assert_eq!(claims.role, "service"),
        Caller::Buyer(user) => {
            assert_eq!(claims.role, "buyer");
            let sub = claims.sub.as_str().map(str::to_lowercase);
            assert_eq!(sub, Some(user.to_string()));
        }
    }
}

/// What is read of claims. A member that nobody reads may hold what is no text and no number.
#[derive(Debug, serde::Deserialize)]
struct Said {
    iss: Value,
    aud: Value,
    exp: Value,
    role: Value,
    #[serde(default)]
    sub: Value,
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let digit = bits >> (18 - 6 * place) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}
