//! New identities: UUID version 7 (RFC 9562, section 5.7), so that ids sort by time and indexes
//! grow at one end. Within one process they are strictly increasing.

use crate::domain::id::Id;

/// A new id.
pub fn new_id<Kind>() -> Id<Kind> {
    Id::new(uuid::Uuid::now_v7())
}
