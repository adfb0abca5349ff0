//! The frame of every keyed operation that is not an order: claim, look at what is there, or do it.
//!
//! Orders have a set-based frame of their own (`orders::group`); deposits, users and sales come one
//! at a time and share this one.

use super::transact::Trouble;
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::refusal::Refusal;
use crate::ports::signals;
use crate::ports::store::{Claim, StoreError, Transaction};
use uuid::Uuid;

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<V> {
    /// Done now.
    Made(V),
    /// Done before, under the same key: the same answer again.
    Replayed(V),
    /// Not done; nothing changed.
    Refused(Refusal),
    /// The key made something else before.
    KeyReused {
        /// The id of what the key made.
        resource_id: Uuid,
    },
}

impl<V> Answer<V> {
    /// What was found under a key or an id: our own work is no replay.
    pub(super) fn again(value: V, by_us: bool) -> Answer<V> {
        if by_us { Answer::Made(value) } else { Answer::Replayed(value) }
    }
}

/// What a claim found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The key is ours: go on.
    Ours,
    /// The same request was committed before.
    Before {
        /// The id of what it made.
        id: Uuid,
        /// By an earlier run of this very request, whose COMMIT was never answered.
        by_us: bool,
    },
    /// Another request was committed under this key.
    Other(Uuid),
}

/// Claims one key, or says what stands under it.
pub async fn claim<T: Transaction>(
    transaction: &mut T,
    key: &KeyRef,
    fingerprint: Fingerprint,
    resource_id: Uuid,
) -> Result<Claimed, Trouble> {
    let claim = Claim { key: key.clone(), fingerprint, resource_id };
    let ours = transaction.claim_keys(std::slice::from_ref(&claim)).await.map_err(unsettled)?;
    if ours == [true] {
        count("claimed");
        return Ok(Claimed::Ours);
    }
    match transaction.earlier(key).await.map_err(unsettled)? {
        Some(earlier) if earlier.fingerprint == fingerprint => {
            let by_us = earlier.resource_id == resource_id;
            count(if by_us { "claimed" } else { "replayed" });
            Ok(Claimed::Before { id: earlier.resource_id, by_us })
        }
        Some(earlier) => {
            count("reused");
            Ok(Claimed::Other(earlier.resource_id))
        }
        // Its owner's row was there when we asked and is gone now: look again.
        None => Err(unsettled(StoreError::Retry { sqlstate: "key_vanished".to_owned() })),
    }
}

/// What a committed key or id names must be there: nothing in the house deletes.
pub(super) fn found<V>(value: Option<V>, what: &str) -> Result<V, StoreError> {
    value.ok_or_else(|| StoreError::Invariant(format!("a committed key names a missing {what}")))
}

/// Trouble before it is known what stands under a key.
pub fn unsettled(error: StoreError) -> Trouble {
    if matches!(error, StoreError::LockTimeout { .. }) {
        count("in_progress");
    }
    Trouble::KeyUnsettled(error)
}

/// Counts what became of a key.
pub fn count(result: &'static str) {
    add(result, 1);
}

fn add(result: &'static str, keys: u64) {
    metrics::counter!(signals::IDEMPOTENCY, "result" => result).increment(keys);
}

/// Counts what became of the keys of a finished group.
pub fn count_all<V>(answers: &[Answer<V>]) {
    let (mut claimed, mut replayed, mut reused) = (0, 0, 0);
    for answer in answers {
        match answer {
            Answer::Made(_) | Answer::Refused(_) => claimed += 1,
            Answer::Replayed(_) => replayed += 1,
            Answer::KeyReused { .. } => reused += 1,
        }
    }
    add("claimed", claimed);
    add("replayed", replayed);
    add("reused", reused);
}
