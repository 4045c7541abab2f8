//! Times as RFC 3339 in UTC, to the microsecond.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

impl From<SystemTime> for Timestamp {
    /// A time that has no date (beyond the year 9999) becomes the epoch.
    fn from(time: SystemTime) -> Timestamp {
        let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()),
            Err(before) => i128::try_from(before.duration().as_nanos()).map(i128::saturating_neg),
        };
        let date = nanos
            .ok()
            .and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok());
        Timestamp(
            date.filter(|date| (0..=9999).contains(&date.year()))
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        )
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> SystemTime {
        timestamp.0.into()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // time's own Rfc3339 leaves out a fraction of zero; here the width is always the same, so that
        // the texts sort as the times do.
        let (date, time) = (self.0.date(), self.0.time());
        write!(
            f,
            "{:04}-{:02}-{:02}",
            date.year(),
            u8::from(date.month()),
            date.day()
        )?;
        write!(
            f,
            "T{:02}:{:02}:{:02}.{:06}Z",
            time.hour(),
            time.minute(),
            time.second(),
            time.microsecond()
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let date = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        Ok(Timestamp(date.to_offset(time::UtcOffset::UTC)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_whole_second_still_has_its_fraction() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(
            Timestamp::from(time).to_string(),
            "2023-11-14T22:13:20.000000Z"
        );
        let time = time + Duration::from_nanos(1_234_999);
        assert_eq!(
            Timestamp::from(time).to_string(),
            "2023-11-14T22:13:20.001234Z"
        );
    }

    #[test]
    fn it_comes_back_to_the_microsecond() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let json = serde_json::to_string(&Timestamp::from(time)).unwrap();
        assert_eq!(
            SystemTime::from(serde_json::from_str::<Timestamp>(&json).unwrap()),
            time
        );
    }

    #[test]
    fn a_clock_gone_mad_does_not_panic() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
        assert_eq!(
            Timestamp::from(far).to_string(),
            "1970-01-01T00:00:00.000000Z"
        );
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(
            Timestamp::from(before).to_string(),
            "1969-12-31T23:59:59.000000Z"
        );
    }
}
