//! Monotonic kernel time to wall-clock text.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::clock::monotonic_ns;

/// RFC 3339, UTC, microseconds: `2026-01-31T12:34:56.789012Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Time(
    #[cfg_attr(
        test,
        schemars(
            regex(
                pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
            ),
            extend("format" = "date-time")
        )
    )]
    String,
);

/// Turns monotonic time into wall-clock time by an offset taken once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Wall-clock minus monotonic time, nanoseconds.
    pub offset_ns: u64,
}

impl Clock {
    /// The clock of this machine, now.
    #[must_use]
    pub fn now() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            offset_ns: (wall.as_nanos() as u64).saturating_sub(monotonic_ns()),
        }
    }

    /// `2026-01-31T12:34:56.789012Z`.
    #[must_use]
    pub fn rfc3339(self, time_ns: u64) -> Time {
        let (date, time) = self.split(time_ns);
        Time(format!("{date}T{time}Z"))
    }

    /// `12:34:56.789Z`, UTC.
    #[must_use]
    pub fn time_of_day(self, time_ns: u64) -> String {
        let (_, mut time) = self.split(time_ns);
        time.truncate(12);
        time.push('Z');
        time
    }

    fn split(self, time_ns: u64) -> (String, String) {
        let micros = self.offset_ns.saturating_add(time_ns) / 1000;
        let seconds = micros / 1_000_000;
        let (days, in_day) = (seconds / 86_400, seconds % 86_400);
        // Civil date from days since 1970 (H. Hinnant's algorithm, for dates after 1970).
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        (
            format!("{year:04}-{month:02}-{day:02}"),
            format!(
                "{:02}:{:02}:{:02}.{:06}",
                in_day / 3600,
                in_day / 60 % 60,
                in_day % 60,
                micros % 1_000_000
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let at = |seconds: u64| {
            Clock {
                offset_ns: seconds * 1_000_000_000,
            }
            .rfc3339(123_456_789)
            .0
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.123456Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.123456Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.123456Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.123456Z");
        assert_eq!(
            Clock { offset_ns: 0 }.time_of_day(3_723_004_000_000),
            "01:02:03.004Z"
        );
    }
}
