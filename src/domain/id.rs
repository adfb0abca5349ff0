//! Identities: one UUID type for each thing, so that a user can never be handed in as a sale.
//!
//! Accepted is the canonical text of RFC 9562, section 4 (8-4-4-4-12 hexadecimal digits, either
//! case) and nothing else: braces, `urn:uuid:` and unhyphenated forms would let one resource have
//! many names.

use std::fmt;
use std::marker::PhantomData;

use uuid::Uuid;

/// A typed UUID. `Kind` exists only at compile time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<Kind>(Uuid, PhantomData<Kind>);

/// Marks ids of users; a wallet has its user's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfUser {}
/// Marks ids of sales.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfSale {}
/// Marks ids of orders.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfOrder {}
/// Marks ids of ledger entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfEntry {}

/// The id of a user and of that user's wallet.
pub type UserId = Id<OfUser>;
/// The id of a sale.
pub type SaleId = Id<OfSale>;
/// The id of an order.
pub type OrderId = Id<OfOrder>;
/// The id of a ledger entry.
pub type EntryId = Id<OfEntry>;

impl<Kind> Id<Kind> {
    /// Gives a UUID its kind.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// The bare UUID, for the edges of the house.
    pub const fn uuid(&self) -> Uuid {
        self.0
    }

    /// Reads the canonical 36-character form; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let hyphenated = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if !hyphenated {
            return None;
        }
        Uuid::try_parse(text).ok().map(Self::new)
    }
}

impl<Kind> fmt::Display for Id<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl<Kind> fmt::Debug for Id<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let canonical = "0190a000-0000-7000-8000-000000000001";
        assert_eq!(UserId::parse(canonical).unwrap().to_string(), canonical);
        assert!(UserId::parse(&canonical.to_uppercase()).is_some());
        for wrong in [
            "",
            "0190a000000070008000000000000001",
            "{0190a000-0000-7000-8000-000000000001}",
            "urn:uuid:0190a000-0000-7000-8000-000000000001",
            "0190a000-0000-7000-8000-00000000000g",
            "0190a000-0000-7000-8000-0000000000011",
            "0190a0000-000-7000-8000-000000000001",
        ] {
            assert!(UserId::parse(wrong).is_none(), "{wrong}");
        }
    }
}
