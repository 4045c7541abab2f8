//! Kubernetes quantities: `100m`, `1.5`, `64Mi`, `1e3`.

use std::fmt;

/// A parsed quantity, exact to a thousandth: finer values are rounded up, as Kubernetes does.
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
        i64::try_from(self.milli).unwrap_or(i64::MAX)
    }

    /// The whole value, rounded up (memory: bytes).
    #[must_use]
    pub fn value(self) -> i64 {
        let whole = self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0);
        i64::try_from(whole).unwrap_or(i64::MAX)
    }
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
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(InvalidQuantity);
        }
        let digits: i128 = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| InvalidQuantity)?;
        let (factor, exponent) = factor(suffix).ok_or(InvalidQuantity)?;
        let places = i32::try_from(fraction.len()).map_err(|_| InvalidQuantity)?;
        // digits · factor · 10^(exponent − places + 3), rounded up.
        let scaled = digits.checked_mul(factor).ok_or(InvalidQuantity)?;
        let power = exponent - places + 3;
        let ten = 10i128
            .checked_pow(power.unsigned_abs())
            .ok_or(InvalidQuantity)?;
        let milli = if power >= 0 {
            scaled.checked_mul(ten).ok_or(InvalidQuantity)?
        } else {
            scaled / ten + i128::from(scaled % ten != 0)
        };
        Ok(Self {
            milli: if negative { -milli } else { milli },
        })
    }
}

/// A suffix as a factor and a power of ten.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    let decimal = |exponent| Some((1, exponent));
    let binary = |power: u32| Some((1i128 << (10 * power), 0));
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
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.abs() <= 18).then_some((1, exponent))
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
            "", "m", "1.2.3", "1Mib", "64MB", "1 Gi", "ten", "1K", "0x10", "1e", "1e99", "--1",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
