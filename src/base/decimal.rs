//! Amounts as people write them: decimals, not floats, so that three times 0.1 is 0.3.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

/// Decimals that are kept.
const SCALE: usize = 9;
const ONE: i128 = 1_000_000_000;

/// A number with nine decimals. Finer ones are rounded away from zero: no amount counts as less than it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

impl Decimal {
    pub const ZERO: Decimal = Decimal(0);
    pub const ONE: Decimal = Decimal(ONE);
    pub(crate) const MAX: Decimal = Decimal(i128::MAX);

    /// The value of a JSON number, by its shortest text. None when it is too large.
    pub fn of_number(number: &Number) -> Option<Decimal> {
        match number.as_i64() {
            Some(whole) => Some(Decimal::from(whole)),
            None => number.to_string().parse().ok(),
        }
    }

    /// None when the sum is too large.
    pub fn checked_add(self, other: Decimal) -> Option<Decimal> {
        self.0.checked_add(other.0).map(Decimal)
    }

    /// None when the difference is too large.
    pub fn checked_sub(self, other: Decimal) -> Option<Decimal> {
        self.0.checked_sub(other.0).map(Decimal)
    }

    /// None when the product is too large.
    pub fn checked_times(self, times: u32) -> Option<Decimal> {
        self.0.checked_mul(i128::from(times)).map(Decimal)
    }

    /// Thousand millionths.
    pub(crate) fn units(self) -> i128 {
        self.0
    }

    /// The number of so many thousand millionths.
    pub(crate) fn of_units(units: i128) -> Decimal {
        Decimal(units)
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The number without its decimals, where it has none.
    pub fn whole(self) -> Option<i64> {
        (self.0 % ONE == 0).then(|| i64::try_from(self.0 / ONE).ok()).flatten()
    }
}

impl From<i64> for Decimal {
    fn from(whole: i64) -> Decimal {
        // Cannot overflow: an i128 has room for a thousand million times as much.
        Decimal(i128::from(whole).saturating_mul(ONE))
    }
}

/// The text is no number, or one that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADecimal;

impl fmt::Display for NotADecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a number, or too large")
    }
}

impl std::error::Error for NotADecimal {}

impl FromStr for Decimal {
    type Err = NotADecimal;

    /// Reads what JSON calls a number: `-12.5e-3`. Leading zeros are taken too.
    fn from_str(text: &str) -> Result<Decimal, NotADecimal> {
        read(text).map(Decimal).ok_or(NotADecimal)
    }
}

fn read(text: &str) -> Option<i128> {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(whole) || !fraction.is_none_or(are_digits) {
        return None;
    }
    let digits = whole.bytes().chain(fraction.unwrap_or_default().bytes()).map(|b| i128::from(b - b'0'));
    let kept = i64::try_from(whole.len() + SCALE).ok()?.checked_add(exponent)?;
    let units = units(digits, kept)?;
    Some(if negative { -units } else { units })
}

fn read_exponent(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.trim_start_matches('0');
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // More digits than that make any number too large or too small; both are found out below.
    let size: i64 =
        if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i64::MAX / 4).min(i64::MAX / 4) };
    Some(if text.starts_with('-') { -size } else { size })
}

/// The first `kept` of `digits` as one number, filled up with zeros; plus one when a finer digit is not zero.
fn units(digits: impl Iterator<Item = i128>, mut kept: i64) -> Option<i128> {
    let (mut units, mut is_finer) = (0_i128, false);
    for digit in digits {
        if kept > 0 {
            units = units.checked_mul(10)?.checked_add(digit)?;
            kept -= 1;
        } else {
            is_finer |= digit != 0;
        }
    }
    while kept > 0 && units != 0 {
        units = units.checked_mul(10)?;
        kept -= 1;
    }
    units.checked_add(i128::from(is_finer))
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, one) = (self.0.unsigned_abs(), ONE.unsigned_abs());
        let sign = if self.is_negative() { "-" } else { "" };
        let decimals = format!("{:0width$}", size % one, width = SCALE);
        let text = format!("{sign}{}.{decimals}", size / one);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// From a number or its text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let decimal = match Value::deserialize(deserializer)? {
            Value::Number(number) => Decimal::of_number(&number),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        decimal.ok_or_else(|| D::Error::custom(NotADecimal))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn three_tenths_are_three_times_a_tenth() {
        let tenth = Decimal::of_number(json!(0.1).as_number().unwrap()).unwrap();
        let sum = tenth.checked_add(tenth).and_then(|sum| sum.checked_add(tenth));
        assert_eq!(sum, Decimal::of_number(json!(0.3).as_number().unwrap()));
        assert_eq!(sum.unwrap().checked_sub(decimal("0.3")), Some(Decimal::ZERO));
    }

    #[test]
    fn reads_what_json_calls_a_number_and_shows_it_shortly() {
        let table = [
            ("0", "0"),
            ("-0", "0"),
            ("0.0", "0"),
            ("007", "7"),
            ("100", "100"),
            ("12.50", "12.5"),
            ("-12.5", "-12.5"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("1.5e3", "1500"),
            ("12.5e-3", "0.0125"),
            ("1e-9", "0.000000001"),
            ("0.123456789", "0.123456789"),
            ("9007199254740991", "9007199254740991"),
            ("18446744073709551615", "18446744073709551615"),
            ("0e999999999999999999999", "0"),
            ("0e-999999999999999999999", "0"),
        ];
        for (text, shown) in table {
            assert_eq!(decimal(text).to_string(), shown, "{text}");
            assert_eq!(decimal(shown), decimal(text), "{text}");
        }
    }

    #[test]
    fn finer_decimals_go_away_from_zero() {
        let table = [
            ("0.0000000001", "0.000000001"),
            ("-0.0000000001", "-0.000000001"),
            ("0.1000000001", "0.100000001"),
            ("0.9999999999", "1"),
            ("1e-400", "0.000000001"),
            ("-1e-99999999999999999999", "-0.000000001"),
            ("0.1000000000000", "0.1"),
        ];
        for (text, shown) in table {
            assert_eq!(decimal(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused() {
        let huge = format!("1{}", "0".repeat(10_000));
        for bad in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "--1",
            "1 ",
            " 1",
            "0x1",
            "NaN",
            "inf",
            "1_0",
            "1,5",
            "1e30",
            "1e99999999999999999999",
            "१",
            &huge,
        ] {
            assert_eq!(bad.parse::<Decimal>(), Err(NotADecimal), "{bad}");
        }
        let most = decimal("170141183460469231731687303715.884105727");
        assert_eq!(most.checked_add(decimal("1e-9")), None);
        assert_eq!(decimal("-170141183460469231731687303715").checked_sub(most), None);
    }

    #[test]
    fn json_numbers_count_by_their_shortest_text() {
        for (number, shown) in [
            (json!(0.1), "0.1"),
            (json!(-7), "-7"),
            (json!(1e-7), "0.0000001"),
            (json!(2.5e10), "25000000000"),
        ] {
            assert_eq!(Decimal::of_number(number.as_number().unwrap()).unwrap().to_string(), shown);
        }
        assert_eq!(Decimal::of_number(json!(f64::MAX).as_number().unwrap()), None);
        assert_eq!(serde_json::to_value(decimal("0.30")).unwrap(), json!("0.3"));
        assert_eq!(serde_json::from_value::<Decimal>(json!("0.3")).unwrap(), decimal("0.3"));
        assert_eq!(serde_json::from_value::<Decimal>(json!(0.3)).unwrap(), decimal("0.3"));
        assert!(serde_json::from_value::<Decimal>(json!(null)).is_err());
    }

    #[test]
    fn ordered_and_whole() {
        assert!(decimal("-1") < decimal("-0.5") && decimal("99.9") < decimal("100"));
        assert_eq!(decimal("20").whole(), Some(20));
        assert_eq!((decimal("20.5").whole(), decimal("1e25").whole()), (None, None));
        assert!(decimal("-0.1").is_negative() && !Decimal::ZERO.is_negative());
        assert_eq!((Decimal::from(i64::MIN).whole(), Decimal::ONE.whole()), (Some(i64::MIN), Some(1)));
        assert_eq!(format!("{:>6}|", decimal("1.5")), "   1.5|");
    }
}
