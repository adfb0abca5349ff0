//! JSON bodies and their members, by the contract's own grammar.
//!
//! Not derived: a derived struct also takes an array for an object, a number for money, braces
//! around a UUID and `null` for "left out", and it stops at the first fault. Here every member is
//! read by name, every fault is collected, and what is left over is refused by name.

use std::fmt;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::member::Member;
use super::problem::{FieldError, Problem, shown};
use crate::domain::Instant;
use crate::domain::id::Id;
use crate::domain::money::Money;
use crate::domain::text::ShortText;

/// The members of a JSON object, taken out one by one.
pub(super) struct Fields {
    members: Vec<(String, Box<RawValue>)>,
    accepted: Vec<&'static str>,
    errors: Vec<FieldError>,
}

/// An object whose members are kept in order and as they were written, repeated names included.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Fields {
    /// Parses a body.
    ///
    /// # Errors
    /// `validation_failed` when it is not one JSON object.
    pub(super) fn parse(body: &[u8]) -> Result<Fields, Problem> {
        let Members(members) = serde_json::from_slice(body).map_err(|error| {
            // Of a value of another kind serde quotes what was sent, spelled out and whole; faults
            // of syntax have a fixed text.
            let message = if error.is_data() {
                let at = format!("line {}, column {}", error.line(), error.column());
                format!("must be a JSON object: another kind of value at {at}")
            } else {
                format!("must be a JSON object: {error}")
            };
            Problem::invalid(&[FieldError { field: "body".to_owned(), message }])
        })?;
        Ok(Fields { members, accepted: Vec::with_capacity(8), errors: Vec::new() })
    }

    /// Takes a member that may be left out and reads it with `read`.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Member) -> Result<T, String>,
    ) -> Option<T> {
        self.accepted.push(name);
        let at = self.members.iter().position(|(member, _)| member == name)?;
        let (_, value) = self.members.remove(at);
        if self.members.iter().any(|(member, _)| member == name) {
            self.members.retain(|(member, _)| member != name);
            self.fault(name, "is there more than once");
            return None;
        }
        let read = Member::read(&value).and_then(|value| match value {
            Member::Null => Err("must not be null; leave it out instead".to_owned()),
            value => read(&value),
        });
        match read {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(name, message);
                None
            }
        }
    }

    /// Takes a member that must be there. `None` means that a fault was noted.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Member) -> Result<T, String>,
    ) -> Option<T> {
        let there = self.members.iter().any(|(member, _)| member == name);
        let value = self.optional(name, read);
        if !there {
            self.fault(name, "is required");
        }
        value
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
        let unknown = std::mem::take(&mut self.members);
        // Nearly always there is none, and nobody to tell what is accepted.
        let accepted = if unknown.is_empty() { String::new() } else { self.accepted.join(", ") };
        for (name, _) in unknown {
            self.fault(shown(&name), format!("is not known here; accepted are {accepted}"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&self.errors)) }
    }
}

/// The problem behind a `None` of a required member, after `finish` said everything was well.
pub(super) fn incomplete() -> Problem {
    Problem::invalid(&[FieldError {
        field: "body".to_owned(),
        message: "is incomplete".to_owned(),
    }])
}

/// A UUID in its canonical form.
pub(super) fn id<Kind>(value: &Member) -> Result<Id<Kind>, String> {
    let text = value.as_str().and_then(Id::parse);
    text.ok_or_else(|| "must be a UUID string like \"0190a000-0000-7000-8000-000000000001\"".into())
}

/// An amount.
pub(super) fn money(value: &Member) -> Result<Money, String> {
    let text = value.as_str().ok_or("must be an amount as a string, like \"49.90\"")?;
    Money::parse(text).map_err(|error| error.to_string())
}

/// An amount above nothing.
pub(super) fn positive_money(value: &Member) -> Result<Money, String> {
    let amount = money(value)?;
    if amount.is_zero() { Err("must be more than \"0.00\"".to_owned()) } else { Ok(amount) }
}

/// A short text.
pub(super) fn text(value: &Member) -> Result<ShortText, String> {
    let text = value.as_str().ok_or("must be a string")?;
    ShortText::parse(text).map_err(|error| error.to_string())
}

/// A whole number within bounds. `3.0` is the integer 3, as in JSON Schema.
pub(super) fn integer(min: u64, max: u64) -> impl Fn(&Member) -> Result<u64, String> {
    move |value| {
        value
            .as_whole()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| format!("must be an integer from {min} to {max}"))
    }
}

/// A moment (RFC 3339, any offset); finer than microseconds is cut, as the database would.
pub(super) fn moment(value: &Member) -> Result<Instant, String> {
    let accepted = "must be a time like \"2026-11-21T09:00:00Z\" (RFC 3339, years 1970 to 9999)";
    let text = value.as_str().ok_or(accepted)?;
    let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| accepted)?.with_timezone(&Utc);
    // The parser also takes a minus sign that is not ASCII, and a 60th second in any minute.
    let leaps = parsed.nanosecond() >= 1_000_000_000;
    if !text.is_ascii() || (leaps && (parsed.hour(), parsed.minute()) != (23, 59)) {
        return Err(accepted.to_owned());
    }
    let micros = DateTime::from_timestamp_micros(parsed.timestamp_micros());
    micros.filter(|at| (1970..=9999).contains(&at.year())).ok_or_else(|| accepted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str) -> Vec<String> {
        let mut fields = match Fields::parse(body.as_bytes()) {
            Ok(fields) => fields,
            Err(problem) => return vec![problem.code().to_owned()],
        };
        fields.required("price", money);
        fields.optional("count", integer(1, 100));
        fields
            .errors
            .iter()
            .map(|error| error.field.clone())
            .chain(fields.members.iter().map(|(name, _)| format!("?{name}")))
            .collect()
    }

    #[test]
    fn every_fault_is_named_at_once() {
        assert!(faults(r#"{"price":"1.00","count":3}"#).is_empty());
        assert!(faults(r#"{"price":"1.00","count":3.0}"#).is_empty());
        assert_eq!(faults(r#"{"price":1.00,"count":0,"x":1}"#), ["price", "count", "?x"]);
        assert_eq!(faults(r#"{"count":null}"#), ["price", "count"]);
        assert_eq!(faults(r#"{"price":"1.00","count":0.99999999999999999999}"#), ["count"]);
        assert_eq!(faults(r#"{"price":"\ud800","count":1e400}"#), ["price", "count"]);
        assert_eq!(faults(r#"{"price":"1.00","price":"2.00"}"#), ["price"]);
        for not_an_object in ["", "[]", "[\"1.00\",3]", "3", "null", "{", "{}x", "\"{}\""] {
            assert_eq!(faults(not_an_object), ["validation_failed"], "{not_an_object}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(faults(&deep), ["validation_failed"]);
    }

    fn at(text: &str) -> Result<Instant, String> {
        moment(&Member::Text(text.to_owned()))
    }

    #[test]
    fn moments_are_read_with_any_offset_and_cut_to_microseconds() {
        let read = at("2026-11-21T10:00:00.123456789+01:00").unwrap();
        assert_eq!(read, at("2026-11-21T09:00:00.123456Z").unwrap());
        for wrong in [
            "2026-11-21",
            "2026-11-21T09:00:00",
            "10000-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "2030-06-30T12:30:60Z",
            "2030-01-01T00:00:00\u{2212}01:00",
            "",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
