//! `flashdeal token`: a token for mode `jwt`. No database is asked.

use std::process::ExitCode;
use std::time::Duration;

use super::cli::TokenArgs;
use super::commands::{Done, Failure};
use super::config::{Reader, Settings, duration};
use super::operate::output::print;
use crate::adapters::token::{Caller, sign};
use crate::domain::id::UserId;

/// `exp` counts in whole seconds; the longest is that of every time.
const TTL_MIN: Duration = Duration::from_secs(1);

/// What was asked for, checked.
pub(super) struct Wish {
    caller: Caller,
    ttl: Duration,
}

impl Wish {
    /// Reads the flags.
    ///
    /// # Errors
    /// All bad values, one sentence each.
    pub(super) fn read(args: &TokenArgs) -> Result<Wish, Vec<String>> {
        let mut reader = Reader(Vec::new());
        let caller = match &args.user {
            Some(id) => reader.flag("--user", id, "accepted is a UUID", |text| {
                UserId::parse(text).map(Caller::Buyer)
            }),
            None if args.admin => Some(Caller::Admin),
            None => Some(Caller::Service),
        };
        let accepted = "accepted is a time from 1s to 24h, such as 30m or 12h";
        let ttl = reader.flag("--ttl", &args.ttl, accepted, |text| {
            duration(text).filter(|time| *time >= TTL_MIN)
        });
        match (caller, ttl) {
            (Some(caller), Some(ttl)) => Ok(Wish { caller, ttl }),
            _ => Err(reader.0),
        }
    }
}

/// Signs it.
pub(super) fn run(settings: &Settings, args: &TokenArgs) -> Done {
    let Wish { caller, ttl } = Wish::read(args).map_err(Failure::bad_values)?;
    let secret = settings.jwt_secret.as_deref().ok_or_else(|| {
        Failure::usage("signing needs FLASHDEAL_JWT_SECRET or FLASHDEAL_JWT_SECRET_FILE")
    })?;
    let expires_at = jsonwebtoken::get_current_timestamp() + ttl.as_secs();
    let token = sign(&settings.token, secret, caller, expires_at).map_err(Failure::other)?;
    print(&format!("{token}\n"))?;
    Ok(ExitCode::SUCCESS)
}
