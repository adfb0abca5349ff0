//! Who calls: an `Authorization` header becomes a [`Caller`], or a 401.

use http::header::AUTHORIZATION;

use super::context::{AuthMode, Context};
use super::head::{Head, Line};
use super::problem::{self, Problem};
use crate::adapters::token::Caller;
use crate::domain::id::UserId;

/// The caller of a request.
pub(super) fn authenticate<S, R>(context: &Context<S, R>, head: &Head) -> Result<Caller, Problem> {
    let verifier = match &context.options().auth {
        AuthMode::Open => return Ok(Caller::Admin),
        AuthMode::Jwt(verifier) => verifier,
    };
    let refuse = |detail: &str| Err(Problem::new(problem::UNAUTHENTICATED, detail));
    let line = match head.line(&AUTHORIZATION) {
        Line::Absent => return refuse("Send `Authorization: Bearer TOKEN`. Nothing was executed."),
        Line::One(line) => line,
        Line::Several => {
            return refuse("Send one Authorization header, not several. Nothing was executed.");
        }
    };
    let token = line.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| {
        // The scheme's name is case-insensitive (RFC 9110, section 11.1).
        scheme.eq_ignore_ascii_case("bearer")
    });
    let Some((_, token)) = token else {
        return refuse("The scheme must be Bearer. Nothing was executed.");
    };
    verifier.verify(token.trim()).map_err(|refused| {
        Problem::new(
            problem::UNAUTHENTICATED,
            format!("Not accepted: {refused}. Nothing was executed."),
        )
    })
}

/// Only the operator.
pub(super) fn require_admin(caller: Caller) -> Result<(), Problem> {
    if caller == Caller::Admin { Ok(()) } else { Err(forbidden("This needs the role admin.")) }
}

/// Only the shop's back end or the operator.
pub(super) fn require_service(caller: Caller) -> Result<(), Problem> {
    if caller.serves() { Ok(()) } else { Err(forbidden("This needs the role service or admin.")) }
}

/// Only the user, the shop's back end or the operator.
pub(super) fn require_own(caller: Caller, user: UserId) -> Result<(), Problem> {
    if caller.may_act_for(user) {
        Ok(())
    } else {
        Err(forbidden("A buyer's token gives access to this buyer's own things only."))
    }
}

/// A 403.
pub(super) fn forbidden(detail: &str) -> Problem {
    Problem::new(problem::FORBIDDEN, format!("{detail} Nothing was executed."))
}
