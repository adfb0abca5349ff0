//! A user: who can own a wallet. Everything else about people lives in the shop's own systems.

use super::Instant;
use super::id::UserId;
use super::text::ShortText;

/// A user as stored; never changed after it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's id, also the wallet's.
    pub id: UserId,
    /// The shop's own id for this user, unique when present.
    pub external_id: Option<ShortText>,
    /// A display name.
    pub name: Option<ShortText>,
    /// When the user was made, by the database's clock.
    pub created_at: Instant,
}
