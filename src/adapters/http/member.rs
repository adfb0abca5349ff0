//! The value of a member, as far as a request needs one: texts and whole numbers.
//!
//! A number is decided by how it is written. Read as a float first, 0.99999999999999999999 is 1,
//! and somebody buys one of something.

use serde_json::value::RawValue;

/// A JSON value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// `null`
    Null,
    /// What the text says.
    Text(String),
    /// How the number is written.
    Number(String),
    /// What no request needs.
    Other,
}

impl Member {
    /// Reads one that the parser found well formed.
    ///
    /// # Errors
    /// A text that is none: half of a surrogate pair.
    pub(super) fn read(raw: &RawValue) -> Result<Member, String> {
        match raw.get().as_bytes() {
            [b'n', ..] => Ok(Member::Null),
            [b'"', ..] => serde_json::from_str(raw.get())
                .map(Member::Text)
                .map_err(|_| "must be a string of Unicode characters".to_owned()),
            [b'-' | b'0'..=b'9', ..] => Ok(Member::Number(raw.get().to_owned())),
            _ => Ok(Member::Other),
        }
    }

    /// The text.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Member::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is whole and not below nothing.
    pub(super) fn as_whole(&self) -> Option<u64> {
        match self {
            Member::Number(number) => number.parse().ok().or_else(|| whole(number)),
            _ => None,
        }
    }
}

/// `3`, `3.0`, `30e-1` and `0.3e1` are the same whole number; what is a hair beside one is none.
fn whole(number: &str) -> Option<u64> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{after}");
    let digits = digits.trim_start_matches('0');
    let ending = digits.trim_end_matches('0');
    if ending.is_empty() {
        return Some(0);
    }
    // Of a number too long for its place nothing can be whole and within bounds.
    let zeros = i64::try_from(digits.len() - ending.len()).ok()?;
    let places = i64::try_from(after.len()).ok()?;
    let zeros = exponent.parse::<i64>().ok()?.checked_add(zeros)?.checked_sub(places)?;
    let power = 10u64.checked_pow(u32::try_from(zeros).ok()?)?;
    let value = ending.parse::<u64>().ok()?.checked_mul(power)?;
    (!negative).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Member, String> {
        Member::read(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn a_number_is_what_is_written() {
        let max = u64::MAX.to_string();
        for (written, value) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0e9", 0),
            ("0e999999999999999999999", 0),
            ("7", 7),
            ("3.0", 3),
            ("3e0", 3),
            ("30E-1", 3),
            ("0.3e+1", 3),
            ("1.20e2", 120),
            (max.as_str(), u64::MAX),
        ] {
            assert_eq!(read(written).unwrap().as_whole(), Some(value), "{written}");
        }
        for written in [
            "-1",
            "1.5",
            "0.99999999999999999999",
            "1.00000000000000000000000000000000001",
            "99.99999999999999999",
            "-1e-400",
            "1e400",
            "1e-9999999999999999999999",
            "18446744073709551616",
            "\"3\"",
            "[3]",
            "true",
        ] {
            assert_eq!(read(written).unwrap().as_whole(), None, "{written}");
        }
    }

    #[test]
    fn a_text_is_unescaped_and_half_a_character_is_none() {
        assert_eq!(read(r#""\u0041\ud83d\ude00""#).unwrap().as_str(), Some("A😀"));
        assert!(read(r#""\ud800""#).is_err());
        assert_eq!(read("{}"), Ok(Member::Other));
        assert_eq!(read("null"), Ok(Member::Null));
    }
}
