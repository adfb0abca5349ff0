//! Idempotency keys and fingerprints: what makes a repeated click one click.
//!
//! Grammar and scope follow draft-ietf-httpapi-idempotency-key-header-07, with one deliberate
//! difference that `openapi.yaml` states: only commits are remembered.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::id::UserId;

/// 1 to 255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// Why a header value is no key, as a sentence for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an Idempotency-Key is 1 to 255 visible ASCII characters without spaces, bare or in double \
     quotes, in one header line"
)]
pub struct NotAKey;

impl IdempotencyKey {
    /// The longest key, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Reads a header value, bare (`abc`) or as a structured-field string (`"abc"`, RFC 9651
    /// section 3.3.3): both name the same key.
    ///
    /// # Errors
    /// [`NotAKey`] when it is empty, too long, or has other characters.
    pub fn parse(value: &[u8]) -> Result<IdempotencyKey, NotAKey> {
        let text = std::str::from_utf8(value).map_err(|_| NotAKey)?;
        let key = match text.strip_prefix('"') {
            Some(rest) => unquote(rest.strip_suffix('"').ok_or(NotAKey)?)?,
            None => text.to_owned(),
        };
        let visible = key.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if key.is_empty() || key.len() > Self::MAX_CHARS || !visible {
            return Err(NotAKey);
        }
        Ok(IdempotencyKey(Arc::from(key)))
    }

    /// The key's characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn unquote(inner: &str) -> Result<String, NotAKey> {
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\')).ok_or(NotAKey)?),
            '"' => return Err(NotAKey),
            other => key.push(other),
        }
    }
    Ok(key)
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key is for. Keys of different operations never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `POST /api/orders`
    PlaceOrder,
    /// `POST /api/users/{user_id}/wallet/deposits`
    CreateDeposit,
    /// `POST /api/users`
    CreateUser,
    /// `POST /api/sales`
    CreateSale,
}

impl Operation {
    /// The stored name.
    pub fn name(self) -> &'static str {
        match self {
            Operation::PlaceOrder => "order",
            Operation::CreateDeposit => "deposit",
            Operation::CreateUser => "user",
            Operation::CreateSale => "sale",
        }
    }
}

/// A key in its scope. The derived order is the order in which a transaction claims keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef {
    /// The key.
    pub key: IdempotencyKey,
    /// The user whose money moves; the nil UUID for operations of the whole installation.
    pub scope: Uuid,
    /// The operation.
    pub operation: Operation,
}

impl KeyRef {
    /// A key that belongs to one user.
    pub fn of_user(user: UserId, operation: Operation, key: IdempotencyKey) -> KeyRef {
        KeyRef { key, scope: user.uuid(), operation }
    }

    /// A key that belongs to the installation.
    pub fn of_installation(operation: Operation, key: IdempotencyKey) -> KeyRef {
        KeyRef { key, scope: Uuid::nil(), operation }
    }
}

/// SHA-256 over the operation and the meaningful fields of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Begins the fingerprint of a request.
    pub fn of(operation: Operation) -> FingerprintBuilder {
        FingerprintBuilder { hash: Sha256::new(), text: String::new() }
            .part("operation", operation.name())
    }

    /// From storage; `None` unless it has 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Fingerprint> {
        bytes.try_into().ok().map(Fingerprint)
    }

    /// For storage.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

/// Collects fields; each is written with its lengths, so no two requests run together.
pub struct FingerprintBuilder {
    hash: Sha256,
    /// The value being added.
    text: String,
}

impl FingerprintBuilder {
    /// Adds a field that is always there.
    pub fn part(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.text.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        for piece in [name, &self.text] {
            self.hash.update((piece.len() as u64).to_be_bytes());
            self.hash.update(piece.as_bytes());
        }
        self
    }

    /// Adds a field that may be absent; absent and empty differ.
    pub fn optional(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.part(name, value),
            None => self,
        }
    }

    /// The fingerprint.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_and_quoted_are_the_same_key() {
        let bare = IdempotencyKey::parse(b"click-1").unwrap();
        assert_eq!(bare, IdempotencyKey::parse(br#""click-1""#).unwrap());
        assert_eq!(IdempotencyKey::parse(br#""a\"b\\c""#).unwrap().as_str(), r#"a"b\c"#);
        assert_eq!(IdempotencyKey::parse(br#"a"b"#).unwrap().as_str(), r#"a"b"#);
        assert!(IdempotencyKey::parse(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let too_long = [b'x'; 256];
        let wrong: [&[u8]; 10] = [
            b"",
            b"\"\"",
            b"a b",
            b"a, b",
            b"\"a",
            b"\"a\"b\"",
            br#""a\x""#,
            b"\xc3\xa4",
            b"a\x7f",
            &too_long,
        ];
        for value in wrong {
            assert_eq!(IdempotencyKey::parse(value), Err(NotAKey), "{value:?}");
        }
    }

    #[test]
    fn fields_cannot_run_together() {
        let one = Fingerprint::of(Operation::PlaceOrder).part("a", "bc").part("d", "").finish();
        let two = Fingerprint::of(Operation::PlaceOrder).part("a", "b").part("cd", "").finish();
        assert_ne!(one, two);
        let absent = Fingerprint::of(Operation::CreateUser).optional("name", None::<&str>).finish();
        let empty = Fingerprint::of(Operation::CreateUser).optional("name", Some("")).finish();
        assert_ne!(absent, empty);
    }
    #[test]
    fn operations_are_stored_under_different_names() {
        let all = [
            (Operation::PlaceOrder, "order"),
            (Operation::CreateDeposit, "deposit"),
            (Operation::CreateUser, "user"),
            (Operation::CreateSale, "sale"),
        ];
        for (operation, name) in all {
            assert_eq!(operation.name(), name);
        }
    }
}
