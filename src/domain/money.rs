//! Money: a non-negative amount with exactly two decimals, in the installation's one currency.
//!
//! No floats, no rounding, no silent overflow: what does not fit is an error at the door or `None`
//! in arithmetic. Signs live in the ledger's entry kinds, not in amounts.

use std::fmt;

use rust_decimal::Decimal;

/// A non-negative amount with two decimals.
///
/// Parsed amounts are at most [`Money::MAX`]; a product with a quantity may be up to a hundred
/// times larger, and can then only be refused, since no balance reaches it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

/// Why a text is not money, as a sentence for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an amount is a string like \"49.90\": no sign, no leading zeros, at most 11 digits, \
     a point and exactly two decimals"
)]
pub struct NotMoney;

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(Decimal::from_parts(0, 0, 0, false, 2));
    /// The largest price, deposit and balance: 99,999,999,999.99.
    pub const MAX: Money = Money(Decimal::from_parts(1_316_134_911, 2_328, 0, false, 2));

    /// An amount from its hundredths.
    pub fn from_cents(cents: u64) -> Money {
        Money(Decimal::from_i128_with_scale(i128::from(cents), 2))
    }

    /// The amount in hundredths.
    pub fn cents(self) -> u64 {
        u64::try_from(self.0.mantissa()).unwrap_or(0)
    }

    /// Reads `^(0|[1-9][0-9]{0,10})\.[0-9]{2}$`, the only form of an amount on the wire.
    ///
    /// # Errors
    /// [`NotMoney`] for anything else.
    pub fn parse(text: &str) -> Result<Money, NotMoney> {
        let (whole, cents) = text.split_once('.').ok_or(NotMoney)?;
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if !digits(whole) || !digits(cents) || whole.len() > 11 || cents.len() != 2 || leading_zero
        {
            return Err(NotMoney);
        }
        let hundredths = format!("{whole}{cents}").parse::<u64>().map_err(|_| NotMoney)?;
        Ok(Money::from_cents(hundredths))
    }

    /// A decimal from storage; `None` when it is negative or finer than a hundredth.
    pub fn from_decimal(value: Decimal) -> Option<Money> {
        let normal = value.trunc_with_scale(2);
        if value.is_sign_negative() && !value.is_zero() || normal != value {
            return None;
        }
        let mut scaled = normal;
        scaled.rescale(2);
        Some(Money(scaled))
    }

    /// The decimal with scale two, for storage.
    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// Whether this is `0.00`.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The sum, or `None` above [`Money::MAX`]: what a balance may hold.
    pub fn plus(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money).filter(|sum| *sum <= Money::MAX)
    }

    /// The difference, or `None` when it would be negative.
    pub fn minus(self, other: Money) -> Option<Money> {
        if other > self {
            return None;
        }
        self.0.checked_sub(other.0).map(Money)
    }

    /// The price of `units` items. Cannot overflow: 13 digits and two decimals fit a decimal.
    pub fn times(self, units: u32) -> Money {
        Money(self.0 * Decimal::from(units))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_for_each_amount() {
        for good in ["0.00", "0.01", "5.00", "49.90", "99999999999.99"] {
            assert_eq!(Money::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            ".",
            "5",
            "5.0",
            "5.000",
            "05.00",
            "00.00",
            "-5.00",
            "+5.00",
            "1e5",
            "1_000.00",
            "5,00",
            " 5.00",
            "5.00 ",
            "100000000000.00",
            "٥.٠٠",
            "NaN",
            "0x1.00",
            ".50",
            "5.",
        ] {
            assert_eq!(Money::parse(bad), Err(NotMoney), "{bad}");
        }
        assert_eq!(Money::MAX, Money::parse("99999999999.99").unwrap());
    }

    #[test]
    fn arithmetic_never_leaves_the_range_silently() {
        let cent = Money::from_cents(1);
        assert_eq!(Money::MAX.plus(cent), None);
        assert_eq!(Money::ZERO.minus(cent), None);
        assert_eq!(Money::MAX.times(100).to_string(), "9999999999999.00");
        assert_eq!(Money::from_decimal("1.005".parse().unwrap()), None);
        assert_eq!(Money::from_decimal("-0.01".parse().unwrap()), None);
        assert_eq!(Money::from_decimal("7".parse().unwrap()).unwrap().to_string(), "7.00");
    }

    proptest! {
        #[test]
        fn text_and_arithmetic_round_trip(
            a in 0u64..=9_999_999_999_999,
            b in 0u64..=9_999_999_999_999,
        ) {
            let (a_money, b_money) = (Money::from_cents(a), Money::from_cents(b));
            prop_assert_eq!(Money::parse(&a_money.to_string()), Ok(a_money));
            prop_assert_eq!(a_money.minus(b_money), a.checked_sub(b).map(Money::from_cents));
            let sum = Some(a + b).filter(|s| *s <= 9_999_999_999_999).map(Money::from_cents);
            prop_assert_eq!(a_money.plus(b_money), sum);
        }
    }
}
