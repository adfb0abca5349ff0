//! How often a user and an address may order, before anything is looked up or decided.
//!
//! Per instance: two instances let twice as much in. The shop's own back end speaks for many users
//! from one address, so an address is limited for buyers only; the operator is not limited at all.
//! In mode `open`, where everyone may be anyone, everyone is limited as a buyer.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};

use super::context::AuthMode;
use super::head::Head;
use super::problem::{self, Problem};
use crate::adapters::token::Caller;
use crate::domain::id::UserId;
use crate::logic::rate::{Rate, TooMany};

/// How many orders in which time.
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How many are left, and when there will be more.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The limits, each perhaps none.
#[derive(Debug)]
pub struct Rates {
    users: Option<Rate<UserId>>,
    addresses: Option<Rate<IpAddr>>,
}

/// As whom a caller is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// By user and address.
    Buyer,
    /// By user.
    Service,
    /// Not at all.
    Operator,
}

impl Who {
    /// In this mode, with this token.
    pub(super) fn of(mode: &AuthMode, caller: Caller) -> Who {
        match (mode, caller) {
            (AuthMode::Open, _) | (_, Caller::Buyer(_)) => Who::Buyer,
            (_, Caller::Service) => Who::Service,
            (_, Caller::Admin) => Who::Operator,
        }
    }
}

/// What was taken from which bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    user: Option<UserId>,
    address: Option<IpAddr>,
}

impl Rates {
    /// Orders a second for each user and for each address; 0 for no limit.
    pub fn new(per_user: u32, per_address: u32) -> Rates {
        Rates { users: Rate::per_second(per_user), addresses: Rate::per_second(per_address) }
    }

    /// Takes one order from the buckets of its user and its address.
    pub(super) fn take(&self, head: &Head, caller: Who, user: UserId) -> Result<Taken, Problem> {
        let address = head.client.map(network).filter(|_| caller == Who::Buyer);
        if let (Some(rate), Some(address)) = (&self.addresses, address) {
            rate.take(address).map_err(|refused| limited("address", refused))?;
        }
        if let Some(rate) = self.users.as_ref().filter(|_| caller != Who::Operator) {
            rate.take(user).map_err(|refused| {
                self.give_back_address(address);
                limited("user", refused)
            })?;
        }
        Ok(Taken { user: (caller != Who::Operator).then_some(user), address })
    }

    /// A replay has cost nothing.
    pub(super) fn give_back(&self, taken: Taken) {
        if let (Some(rate), Some(user)) = (&self.users, taken.user) {
            rate.give_back(user);
        }
        self.give_back_address(taken.address);
    }

    fn give_back_address(&self, address: Option<IpAddr>) {
        if let (Some(rate), Some(address)) = (&self.addresses, address) {
            rate.give_back(address);
        }
    }
}

/// Whoever has one IPv6 address has its whole /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// 429, with the limit as the draft "RateLimit header fields for HTTP" writes it. Many share an
/// address: they are asked to come back up to half as long again later, not all at one moment.
fn limited(what: &str, refused: TooMany) -> Problem {
    let seconds = u32::try_from(refused.wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    let TooMany { burst, window_seconds, .. } = refused;
    let later = seconds.saturating_add(fastrand::u32(0..=seconds.div_ceil(2)));
    let detail = format!(
        "This {what} may place {burst} orders in {window_seconds} s. Try again in {later} s, \
         with the same key; replays are never counted."
    );
    let problem = Problem::new(problem::RATE_LIMITED, detail).retry_after(later);
    let fields = [
        (RATE_LIMIT_POLICY, format!("\"{what}\";q={burst};w={window_seconds}")),
        (RATE_LIMIT, format!("\"{what}\";r=0;t={seconds}")),
    ];
    fields.into_iter().fold(problem, |problem, (name, value)| match HeaderValue::from_str(&value) {
        Ok(value) => problem.header(name, value),
        Err(_) => problem,
    })
}
