//! Kubernetes quantities: `100m`, `1.5`, `64Mi`, `1e3`.

use std::fmt;

/// A parsed quantity, exact to a thousandth: finer values are rounded away from
/// zero, as Kubernetes does. What is more than a field holds is as much as one holds; Kubernetes' own numbers overflow there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    milli: i128,
}

/// The text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidQuantity;

impl fmt::Display for InvalidQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The wording of apimachinery's ErrFormatWrong.
        f.write_str(
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    }
}

impl Quantity {
    /// The value in thousandths (CPU: millicores).
    #[must_use]
    pub fn milli(self) -> i64 {
        saturated(self.milli)
    }

    /// The whole value, rounded away from zero (memory: bytes).
    #[must_use]
    pub fn value(self) -> i64 {
        let whole = divided(self.milli.saturating_abs(), 1000, false);
        saturated(whole.saturating_mul(self.milli.signum()))
    }
}

/// Rounded up; `more` says that there is a rest in any case.
fn divided(number: i128, by: i128, more: bool) -> i128 {
    let whole = number.checked_div(by).unwrap_or_default();
    let rest = number.checked_rem(by).unwrap_or_default();
    whole.saturating_add(i128::from(rest != 0 || more))
}

fn saturated(number: i128) -> i64 {
    let largest = if number < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(number).unwrap_or(largest)
}

impl std::str::FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(number);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || text.is_empty() {
            return Err(InvalidQuantity);
        }
        let (factor, exponent) = factor(suffix).ok_or(InvalidQuantity)?;
        let digits = Digits::of(whole, fraction);
        // digits · factor · 10^(exponent + 3), rounded away from zero.
        let power = digits.power.saturating_add(exponent).saturating_add(3);
        let scaled = digits.value.saturating_mul(factor);
        let ten = 10i128.checked_pow(power.unsigned_abs());
        let milli = match (power >= 0, ten) {
            (_, _) if scaled == 0 => 0,
            (true, ten) => scaled.saturating_mul(ten.unwrap_or(i128::MAX)),
            (false, Some(ten)) => divided(scaled, ten, digits.more),
            (false, None) => 1,
        };
        // More than any field holds.
        let milli = milli.min(i128::from(i64::MAX).saturating_mul(1000));
        Ok(Self {
            milli: if negative {
                milli.saturating_neg()
            } else {
                milli
            },
        })
    }
}

/// A number of any length: its first digits, and the power of ten that they stand for.
struct Digits {
    value: i128,
    power: i32,
    /// There are others behind them that are not 0.
    more: bool,
}

impl Digits {
    /// More than an i64 in thousandths needs; times 2⁶⁰ they are still an i128.
    const KEPT: usize = 20;

    fn of(whole: &str, fraction: &str) -> Self {
        let clamped = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let all = format!("{whole}{fraction}");
        let all = all.trim_start_matches('0');
        let (kept, others) = all.split_at(all.len().min(Self::KEPT));
        let digit = |sum: i128, digit: u8| {
            let digit = i128::from(digit.saturating_sub(b'0'));
            sum.saturating_mul(10).saturating_add(digit)
        };
        Self {
            value: kept.bytes().fold(0, digit),
            power: clamped(others.len()).saturating_sub(clamped(fraction.len())),
            more: others.bytes().any(|digit| digit != b'0'),
        }
    }
}

/// A suffix as a factor and a power of ten.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    let decimal = |exponent| Some((1, exponent));
    let binary = |power: u32| Some((1024i128.saturating_pow(power), 0));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            // Beyond this all is 0 or more than any field holds.
            decimal(exponent.clamp(-1000, 1000) as i32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Quantity {
        text.parse()
            .unwrap_or_else(|_| panic!("{text} is a quantity"))
    }

    #[test]
    fn cpu_in_thousandths() {
        for (text, milli) in [
            ("100m", 100),
            ("0.1", 100),
            ("1", 1000),
            ("1.5", 1500),
            (".5", 500),
            ("2.", 2000),
            ("1e3", 1_000_000),
            ("0.1m", 1),
            ("500u", 1),
            ("+250m", 250),
            ("-1", -1000),
        ] {
            assert_eq!(parse(text).milli(), milli, "{text}");
        }
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let mut others = Vec::new();
        for line in include_str!("../../../fuzz/go/quantities.jsonl").lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = row["text"].as_str().unwrap();
            let ours = text.parse::<Quantity>().ok();
            let theirs: Option<[String; 2]> =
                serde_json::from_value(row["results"].clone()).unwrap();
            let same = match (ours, &theirs) {
                (Some(ours), Some([milli, value])) => {
                    // Theirs overflow, or are wrong: no field takes a negative one.
                    let beyond = |number: i64| number == i64::MAX || number < 0;
                    (beyond(ours.milli()) || ours.milli().to_string() == *milli)
                        && (beyond(ours.value()) || ours.value().to_string() == *value)
                }
                (ours, theirs) => ours.is_none() && theirs.is_none(),
            };
            if !same {
                others.push(format!("{text:?}: ours {ours:?}, Kubernetes' {theirs:?}"));
            }
        }
        assert!(others.is_empty(), "{}: {others:#?}", others.len());
    }

    #[test]
    fn memory_in_bytes() {
        for (text, bytes) in [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("128M", 128_000_000),
            ("1k", 1000),
            ("123456789", 123_456_789),
            ("100m", 1),
            ("8Ei", i64::MAX),
        ] {
            assert_eq!(parse(text).value(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for text in [
            "", "+-", "1.2.3", "1Mib", "64MB", "1 Gi", "ten", "1K", "0x10", "1e", "1e3m", "--1",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
