//! Reading single values: text in, a typed value or a sentence out.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

/// Collects faults while values are read.
pub(in crate::app) struct Reader(pub(in crate::app) Vec<String>);

impl Reader {
    /// Notes a bad value.
    pub(super) fn fault(&mut self, name: &str, value: impl Display, accepted: impl Display) {
        self.0.push(format!("{name}={value}: {accepted}"));
    }

    /// Reads one value; empty is unset.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        raw: Option<&String>,
        default: T,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(text) = raw.filter(|text| !text.is_empty()) else {
            return default;
        };
        match parse(text) {
            Some(value) => value,
            None => {
                self.fault(name, text, accepted);
                default
            }
        }
    }

    /// Reads the value of a flag; an empty one is a value too.
    pub(in crate::app) fn flag<T>(
        &mut self,
        flag: &str,
        text: &str,
        accepted: impl Display,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = parse(text);
        if value.is_none() {
            self.0.push(format!("{flag} {text}: {accepted}"));
        }
        value
    }

    /// Reads a time.
    pub(super) fn duration(
        &mut self,
        name: &str,
        raw: Option<&String>,
        default_seconds: u64,
    ) -> Duration {
        let accepted = "accepted is a time from 1ms to 24h, such as 500ms, 2s, 1m or 1h";
        self.read(name, raw, Duration::from_secs(default_seconds), accepted, duration)
    }

    /// Reads comma-separated values.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        raw: Option<&String>,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        let parts = raw.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            match parse(part) {
                Some(value) => values.push(value),
                None => self.fault(name, part, accepted),
            }
        }
        values
    }
}

/// A text that was really said: empty is unset.
pub(super) fn said(raw: Option<&String>) -> Option<&str> {
    raw.map(String::as_str).filter(|text| !text.is_empty())
}

/// A path that was really said.
pub(super) fn path(raw: Option<&PathBuf>) -> Option<PathBuf> {
    raw.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// Reads `500ms`, `2s`, `1m`, `1h`.
pub fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let total = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
    (1..=86_400_000).contains(&total).then(|| Duration::from_millis(total))
}

/// A whole number within bounds.
pub(in crate::app) fn within(text: &str, min: u32, max: u32) -> Option<u32> {
    text.parse().ok().filter(|number| (min..=max).contains(number))
}

/// The codes in use whose unit has two decimals (ISO 4217, list one, as of 2025).
const TWO_DECIMALS: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
    CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD \
    HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA \
    MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN \
    QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP \
    TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";

/// A code of ISO 4217 whose unit has two decimals.
pub(super) fn currency(text: &str) -> Option<String> {
    TWO_DECIMALS.split(' ').any(|code| code == text).then(|| text.to_owned())
}

/// An address or a network.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
}

/// An origin (RFC 6454): scheme, host and perhaps a port.
pub(super) fn origin(text: &str) -> Option<HeaderValue> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let bare = !rest.is_empty() && !rest.contains(['/', '*', '?', '#', ' ', '@']);
    HeaderValue::from_str(text).ok().filter(|_| bare)
}
