//! Durations that people write.

use std::time::Duration;

/// Go's: `2m0s`, `1h30m`, `1.5s`, `300ms`, `0`.
#[must_use]
pub fn of(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = 0.0_f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at_checked(number)?;
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += value.parse::<f64>().ok()? * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(sum)
        .ok()
        .filter(|_| !text.is_empty())
}

/// The same, and days: `7d`.
pub(super) fn since(text: &str) -> Result<Duration, String> {
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u32>().ok());
    let days = days.map(|days| Duration::from_secs(u64::from(days).saturating_mul(24 * 3600)));
    days.or_else(|| of(text))
        .ok_or_else(|| "want a duration, as 30m, 1h30m or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let seconds = |text| of(text).map(|d| d.as_millis());
        assert_eq!(seconds("2m0s"), Some(120_000));
        assert_eq!(seconds("1h1.5s"), Some(3_601_500));
        assert_eq!(seconds("300ms"), Some(300));
        assert_eq!(seconds("0"), Some(0));
        for wrong in ["", "5", "s", "1d", "-1s"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn since_takes_days_too() {
        assert_eq!(since("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(since("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["d", "1.5d", "-1d", "yesterday"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
