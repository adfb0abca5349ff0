//! Pages: one row more than asked for says whether there is another page.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ports::read::{Page, Since};

/// Cuts the one row that was read beyond the page and says where the next page begins.
pub(super) fn page<T, At>(mut items: Vec<T>, limit: u32, at: impl Fn(&T) -> At) -> Page<T, At> {
    let length = limit as usize;
    let more = items.len() > length;
    items.truncate(length);
    let next = items.last().filter(|_| more).map(at);
    Page { items, next }
}

/// Where a list by time of making begins; before anything when no position is given.
pub(super) fn position(from: Option<Since>) -> (DateTime<Utc>, Uuid) {
    let newest = || (DateTime::from_timestamp(32_503_680_000, 0).unwrap_or_default(), Uuid::max());
    from.map_or_else(newest, |since| (since.created_at, since.id))
}
