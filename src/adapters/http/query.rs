//! Query strings: known parameters only, each once, and opaque cursors.

use std::borrow::Cow;

use super::problem::{FieldError, Problem, shown};
use crate::domain::Instant;
use crate::domain::id::{Id, OrderId};
use crate::ports::read::{OrderPosition, Since};
use uuid::Uuid;

/// The parameters of a list, taken out one by one.
pub(super) struct Query {
    parameters: Vec<(String, String)>,
    accepted: Vec<&'static str>,
    errors: Vec<FieldError>,
}

/// The longest page, and the usual one.
const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;

impl Query {
    /// Splits a query string (`application/x-www-form-urlencoded`, as in URLs).
    pub(super) fn parse(query: Option<&str>) -> Query {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let parameters = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Query { parameters, accepted: Vec::new(), errors: Vec::new() }
    }

    /// Takes a parameter and reads it with `read`.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.accepted.push(name);
        let mut own = self.parameters.iter().filter(|(parameter, _)| parameter == name);
        let first = own.next()?.1.clone();
        let repeated = own.next().is_some();
        self.parameters.retain(|(parameter, _)| parameter != name);
        let value = if repeated { Err("is there more than once".to_owned()) } else { read(&first) };
        value.map_err(|message| self.fault(name, message)).ok()
    }

    /// Takes `limit`: 1 to 200, 50 when left out.
    pub(super) fn limit(&mut self) -> u32 {
        let limit = self.take("limit", |text| {
            let whole = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|limit| whole && (1..=LIMIT_MAX).contains(limit));
            number.ok_or_else(|| format!("must be an integer from 1 to {LIMIT_MAX}"))
        });
        limit.unwrap_or(LIMIT_DEFAULT)
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    /// Ends the reading: what was not taken is refused by name.
    ///
    /// # Errors
    /// `validation_failed` with every fault.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        let accepted = self.accepted.join(", ");
        for (name, _) in std::mem::take(&mut self.parameters) {
            self.fault(shown(&name), format!("is not known here; accepted are {accepted}"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&self.errors)) }
    }
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// An id in a query.
pub(super) fn id<Kind>(text: &str) -> Result<Id<Kind>, String> {
    Id::parse(text).ok_or_else(|| "must be a UUID".to_owned())
}

/// A segment of a path, decoded.
pub(super) fn segment(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

const NOT_A_CURSOR: &str = "must be a next_cursor of this list, with the same filters";

/// Cursors are opaque to callers. Inside: a letter for the list's order, then a position.
pub(super) mod cursor {
    use super::*;

    /// Writes a position among orders.
    pub(in super::super) fn of_orders(at: OrderPosition) -> String {
        match at {
            OrderPosition::Id(id) => format!("i{}", id.uuid().simple()),
            OrderPosition::Sequence(sequence) => format!("s{sequence}"),
        }
    }

    /// Reads a position among orders.
    pub(in super::super) fn to_orders(text: &str) -> Result<OrderPosition, String> {
        if let Some(id) = text.strip_prefix('i') {
            return Ok(OrderPosition::Id(OrderId::new(simple(id)?)));
        }
        Ok(OrderPosition::Sequence(number(text, 's')?))
    }

    /// Writes a position by time of making; `list` is the list's letter.
    pub(in super::super) fn of_since(list: char, at: Since) -> String {
        format!("{list}{}-{}", at.created_at.timestamp_micros(), at.id.simple())
    }

    /// Reads a position by time of making.
    pub(in super::super) fn to_since(list: char, text: &str) -> Result<Since, String> {
        let (micros, id) =
            text.strip_prefix(list).and_then(|rest| rest.split_once('-')).ok_or(NOT_A_CURSOR)?;
        let micros: i64 = micros.parse().map_err(|_| NOT_A_CURSOR)?;
        let in_range = (0..=253_402_300_799_999_999).contains(&micros);
        let created_at = Instant::from_timestamp_micros(micros).filter(|_| in_range);
        Ok(Since { created_at: created_at.ok_or(NOT_A_CURSOR)?, id: simple(id)? })
    }

    /// Writes a position among entries.
    pub(in super::super) fn of_entry(number: i64) -> String {
        format!("e{number}")
    }

    /// Reads a position among entries.
    pub(in super::super) fn to_entry(text: &str) -> Result<i64, String> {
        number(text, 'e')
    }

    fn number(text: &str, letter: char) -> Result<i64, String> {
        let digits = text.strip_prefix(letter).ok_or(NOT_A_CURSOR)?;
        digits.parse().ok().filter(|n| *n >= 1).ok_or_else(|| NOT_A_CURSOR.to_owned())
    }

    fn simple(text: &str) -> Result<Uuid, String> {
        let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Uuid::try_parse(text).ok().filter(|_| hex).ok_or_else(|| NOT_A_CURSOR.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let mut query = Query::parse(Some("limit=5&x=1&user_id=a&user_id=b&y"));
        assert_eq!(query.limit(), 5);
        assert_eq!(query.take("user_id", |text| Ok(text.to_owned())), None);
        assert_eq!(query.errors.len(), 1);
        assert!(query.finish().is_err());
        let mut query = Query::parse(Some("reference=a%20b+c"));
        assert_eq!(query.take("reference", |text| Ok(text.to_owned())).unwrap(), "a b c");
        assert!(query.finish().is_ok());
        for wrong in ["0", "201", "-1", "+5", "x", ""] {
            let mut query = Query::parse(Some(&format!("limit={wrong}")));
            query.limit();
            assert!(query.finish().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn cursors_round_trip_and_garbage_is_refused(
            micros in 0i64..=253_402_300_799_999_999, id: u128, n in 1i64.., junk in ".{0,40}",
        ) {
            let at = Since {
                created_at: Instant::from_timestamp_micros(micros).unwrap(),
                id: Uuid::from_u128(id),
            };
            prop_assert_eq!(cursor::to_since('u', &cursor::of_since('u', at)), Ok(at));
            prop_assert!(cursor::to_since('t', &cursor::of_since('u', at)).is_err());
            let order = OrderPosition::Id(OrderId::new(Uuid::from_u128(id)));
            prop_assert_eq!(cursor::to_orders(&cursor::of_orders(order)), Ok(order));
            let order = OrderPosition::Sequence(n);
            prop_assert_eq!(cursor::to_orders(&cursor::of_orders(order)), Ok(order));
            prop_assert_eq!(cursor::to_entry(&cursor::of_entry(n)), Ok(n));
            let _ = (cursor::to_since('u', &junk), cursor::to_orders(&junk));
            let _ = cursor::to_entry(&junk);
        }
    }
}
