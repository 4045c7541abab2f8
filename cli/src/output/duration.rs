//! Durations in a table: short, in one unit that suits.

/// `800us`, `1.1ms`, `12ms`, `3.2s`, `45s`, then as ages: `2m5s`.
#[must_use]
pub fn short(seconds: f64) -> String {
    let tenths = |value: f64, unit: &str| {
        if value < 9.95 {
            format!("{value:.1}{unit}")
        } else {
            format!("{value:.0}{unit}")
        }
    };
    match seconds {
        s if !s.is_finite() || s < 0.0 => "<invalid>".to_owned(),
        s if s < 0.000_999_5 => format!("{:.0}us", s * 1e6),
        s if s < 0.999_5 => tenths(s * 1e3, "ms"),
        s if s < 119.5 => tenths(s, "s"),
        // Far below what a float counts in whole seconds.
        s => super::age::human(s as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn one_unit_and_two_digits() {
        for (seconds, text) in [
            (0.0, "0us"),
            (0.000_8, "800us"),
            (0.001_1, "1.1ms"),
            (0.012_44, "12ms"),
            (0.999_7, "1.0s"),
            (3.21, "3.2s"),
            (45.4, "45s"),
            (125.0, "2m5s"),
            (-1.0, "<invalid>"),
            (f64::NAN, "<invalid>"),
        ] {
            assert_eq!(short(seconds), text, "{seconds}");
        }
    }
}
