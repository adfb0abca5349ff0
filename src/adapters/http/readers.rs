//! The readers of this room, bare: bytes in, what was understood or refused out. For fuzzers
//! (`fuzz/`), to whom a service around every input would be a thousand times too slow.

use http::header::{AUTHORIZATION, FORWARDED};
use http::{HeaderMap, HeaderValue, Request};
use ipnet::IpNet;

use super::client_address::{TrustedProxies, client_address};
use super::fields::Fields;
use super::head::Head;
use super::problem::Problem;
use super::query::cursor;
use super::{orders, sales, users, wallets};
use crate::adapters::token::Caller;
use crate::domain::key::IdempotencyKey;
use crate::domain::money::Money;
use crate::domain::order::PlaceOrder;
use crate::domain::text::ShortText;
use crate::logic::sales::CreateSale;
use crate::ports::read::OrderFilter;

/// A refusal as its caller would see it.
#[derive(Debug)]
pub struct Refused {
    /// The code.
    pub code: &'static str,
    /// The problem document.
    pub document: Vec<u8>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused { code: problem.code(), document: problem.document(true, "fuzz") }
    }
}

/// Reads the body of `POST /api/orders`.
///
/// # Errors
/// What the caller would be told.
pub fn order(body: &[u8], caller: Caller, key: IdempotencyKey) -> Result<PlaceOrder, Refused> {
    Ok(orders::read_order(Fields::parse(body)?, caller, key)?)
}

/// Reads the body of `POST /api/sales`.
///
/// # Errors
/// What the caller would be told.
pub fn sale(body: &[u8]) -> Result<CreateSale, Refused> {
    Ok(sales::read_sale(Fields::parse(body)?, None)?)
}

/// Reads the body of `POST /api/users`: name, external id, opening balance.
///
/// # Errors
/// What the caller would be told.
pub fn user(body: &[u8]) -> Result<users::NewUser, Refused> {
    Ok(users::read_user(Fields::parse(body)?)?)
}

/// Reads the body of a deposit: amount and reference.
///
/// # Errors
/// What the caller would be told.
pub fn deposit(body: &[u8]) -> Result<(Money, Option<ShortText>), Refused> {
    Ok(wallets::read_deposit(Fields::parse(body)?)?)
}

/// Reads the query of `GET /api/orders`: the filter, the cursor written again, the limit.
///
/// # Errors
/// What the caller would be told.
pub fn order_query(
    query: &str,
    caller: Caller,
) -> Result<(OrderFilter, Option<String>, u32), Refused> {
    let (filter, from, limit) = orders::read_filter(Some(query), caller)?;
    Ok((filter, from.map(cursor::of_orders), limit))
}

/// Reads a cursor of each list and writes it again: orders, users, sales, entries.
pub fn cursors(text: &str) -> [Option<String>; 4] {
    let since = |list| Some(cursor::of_since(list, cursor::to_since(list, text).ok()?));
    [
        cursor::to_orders(text).ok().map(cursor::of_orders),
        since('u'),
        since('t'),
        cursor::to_entry(text).ok().map(cursor::of_entry),
    ]
}

/// What a request's head says to the service.
#[derive(Debug)]
pub struct HeadRead {
    /// The caller's id for the request, or ours.
    pub request_id: String,
    /// The trace, if it is one.
    pub traceparent: Option<String>,
    /// Who called, when everybody in `10.0.0.0/8` is a trusted proxy: behind `10.0.0.1`, and
    /// behind `203.0.113.9`.
    pub clients: [Option<std::net::IpAddr>; 2],
}

/// Reads one value as each header whose grammar is ours.
pub fn head(value: &HeaderValue) -> HeadRead {
    let mut request = Request::new(());
    for name in ["traceparent", "x-request-id", AUTHORIZATION.as_str()] {
        request.headers_mut().insert(name, value.clone());
    }
    let head = Head::of(&mut request, None);
    let trusted = TrustedProxies("10.0.0.0/8".parse::<IpNet>().into_iter().collect());
    let behind = |peer: [u8; 4], name: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.clone());
        client_address(&headers, peer.into(), &trusted)
    };
    HeadRead {
        request_id: head.request_id().to_owned(),
        traceparent: head.traceparent().map(str::to_owned),
        clients: [
            behind([10, 0, 0, 1], FORWARDED.as_str()).or(behind([10, 0, 0, 1], "x-forwarded-for")),
            behind([203, 0, 113, 9], FORWARDED.as_str()),
        ],
    }
}
