//! Virtual time in unix seconds, and the dates of HTTP and of old identity endpoints.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const DAY: i64 = 86_400;

/// This machine's time.
pub(crate) fn real() -> i64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

struct Date {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    time: i64,
}

/// Howard Hinnant's "days to civil" arithmetic, for years after 1970.
fn date(seconds: i64) -> Date {
    let days = seconds.max(0) / DAY;
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: usize::try_from(month).unwrap_or(1),
        day: of_year - (153 * shifted_month + 2) / 5 + 1,
        weekday: usize::try_from((days + 4) % 7).unwrap_or(0),
        time: seconds.max(0) % DAY,
    }
}

/// As in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let Date {
        year,
        month,
        day,
        weekday,
        time,
    } = date(seconds(time));
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let (weekday, month) = (DAYS[weekday], MONTHS[month - 1]);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// As in `06/20/2019 02:57:58 +00:00`.
pub(crate) fn old_date(seconds: i64) -> String {
    let Date {
        year,
        month,
        day,
        time,
        ..
    } = date(seconds);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{month:02}/{day:02}/{year} {hour:02}:{minute:02}:{second:02} +00:00")
}

/// As in `6/20/2019 2:57:58 AM +00:00`.
pub(crate) fn old_date_am_pm(seconds: i64) -> String {
    let Date {
        year,
        month,
        day,
        time,
        ..
    } = date(seconds);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let half = if hour < 12 { "AM" } else { "PM" };
    let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
    format!("{month}/{day}/{year} {hour}:{minute:02}:{second:02} {half} +00:00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates() {
        let known = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(http_date(known), "Sun, 06 Nov 1994 08:49:37 GMT");
        let leap = UNIX_EPOCH + Duration::from_secs(951_782_400);
        assert_eq!(http_date(leap), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(old_date(1_560_999_478), "06/20/2019 02:57:58 +00:00");
        assert_eq!(old_date_am_pm(1_560_999_478), "6/20/2019 2:57:58 AM +00:00");
        assert_eq!(
            old_date_am_pm(1_561_032_000),
            "6/20/2019 12:00:00 PM +00:00"
        );
    }
}
