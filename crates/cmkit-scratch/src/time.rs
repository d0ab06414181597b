//! Times in records.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use cmkit::Error;
use serde::{Deserialize, Serialize};

/// A second in UTC, between 1970 and 9999. Written as RFC 3339 does: `2026-01-31T12:00:00Z`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct UtcTime(u64);

/// 9999-12-31T23:59:59Z: RFC 3339 has four digits for a year.
const LAST: u64 = 253_402_300_799;

impl UtcTime {
    /// This second, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        // A clock before 1970 is one that was never set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::from_unix(since.map_or(0, |d| d.as_secs()))
    }

    /// Seconds since 1970; what is beyond the year 9999 becomes its last second.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds.min(LAST))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix(self) -> u64 {
        self.0
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / 86_400);
        let second = self.0 % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| Error::InvalidArgument {
            problem: format!("{text:?} is no time; one looks like 2026-01-31T12:00:00Z"),
        })
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for UtcTime {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

fn parse(text: &str) -> Option<UtcTime> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let seconds = days(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    let time = UtcTime(seconds);
    // Says no to the 31st of June, to hour 24 and to other separators.
    (time.to_string() == text).then_some(time)
}

// Years that begin in March end with their leap day; 400 of them always have 146097 days, of which 719468 days had passed by 1970.

fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year / 400, year % 400);
    let of_era = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1;
    (era * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_there_and_back() {
        // Each checked against `date -u -d @N`.
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(UtcTime(unix).to_string(), text);
            assert_eq!(text.parse::<UtcTime>().unwrap().unix(), unix);
        }
        for day in 0..LAST / 86_400 {
            let (year, month, number) = date(day);
            assert_eq!(days(year, month, number), Some(day));
        }
        assert_eq!(UtcTime::from_unix(u64::MAX).unix(), LAST);
        assert!(UtcTime::now().unix() > 1_700_000_000);
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-02-29T12:00:00Z",
            "2026-06-31T12:00:00Z",
            "2026-00-10T12:00:00Z",
            "2026-13-10T12:00:00Z",
            "2026-01-00T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2026-01-31T23:59:60Z",
            "2026-01-31T12:00:00ZZ",
            "2026-01-31T12:00:00+00:00",
            "+026-01-31T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-31T12:00:é0Z",
        ] {
            assert!(text.parse::<UtcTime>().is_err(), "{text}");
        }
    }
}
