//! Dates as services write them.

/// Seconds since 1970 of an HTTP date (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<u64> {
    let mut parts = text.split(' ');
    parts.next()?.strip_suffix(',')?;
    let day = parts.next()?.parse().ok()?;
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let name = parts.next()?;
    let month = (1..).zip(months).find(|(_, month)| *month == name)?.0;
    let year = parts.next()?.parse().ok()?;
    let time = time(parts.next()?)?;
    (parts.next()? == "GMT" && parts.next().is_none()).then_some(())?;
    unix(year, month, day, time)
}

/// `08:49:37`, as seconds of the day. A fraction is cut off.
fn time(text: &str) -> Option<u64> {
    let mut parts = text.split('.').next()?.split(':');
    let mut next = |limit: u64| parts.next()?.parse::<u64>().ok().filter(|n| *n < limit);
    let (hour, minute, second) = (next(24)?, next(60)?, next(61)?);
    parts
        .next()
        .is_none()
        .then_some(hour * 3600 + minute * 60 + second)
}

/// Seconds since 1970 of `06/20/2019 02:57:58 +00:00`, the same with AM or PM, or `2019-06-20T02:57:58Z`. Only UTC.
pub(crate) fn loose_date(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some((date, rest)) = text.split_once('T') {
        let mut parts = date.split('-');
        let (year, month) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let day = parts.next()?.parse().ok()?;
        let clock = rest
            .strip_suffix('Z')
            .or_else(|| rest.strip_suffix("+00:00"))?;
        return unix(year, month, day, time(clock)?);
    }
    let mut parts = text.split_ascii_whitespace();
    let mut date = parts.next()?.split('/');
    let (month, day) = (date.next()?.parse().ok()?, date.next()?.parse().ok()?);
    let year = date.next()?.parse().ok()?;
    let mut seconds = time(parts.next()?)?;
    let mut zone = parts.next()?;
    if zone == "AM" || zone == "PM" {
        let (hour, rest) = (seconds / 3600, seconds % 3600);
        (1..=12).contains(&hour).then_some(())?;
        let noon = if zone == "PM" { 12 } else { 0 };
        seconds = (hour % 12 + noon) * 3600 + rest;
        zone = parts.next()?;
    }
    (zone == "+00:00" && parts.next().is_none()).then_some(())?;
    unix(year, month, day, seconds)
}

/// Days by the civil calendar, with years that begin in March so that the leap day comes last.
fn unix(year: u64, month: u64, day: u64, seconds: u64) -> Option<u64> {
    let fits =
        (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    fits.then_some(())?;
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    // From 1 March of the year 0 to 1 January 1970.
    days.checked_sub(719_468)?
        .checked_mul(86_400)?
        .checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            http_date("Thu, 29 Feb 2024 00:00:00 GMT"),
            Some(1_709_164_800)
        );
        for text in [
            "",
            "120",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49 GMT",
            "x",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn dates_of_token_endpoints() {
        for text in [
            "06/20/2019 02:57:58 +00:00",
            "6/20/2019 2:57:58 AM +00:00",
            "2019-06-20T02:57:58Z",
            "2019-06-20T02:57:58.123+00:00",
        ] {
            assert_eq!(loose_date(text), Some(1_560_999_478), "{text}");
        }
        assert_eq!(
            loose_date("6/20/2019 12:00:00 AM +00:00"),
            Some(1_560_988_800)
        );
        assert_eq!(
            loose_date("6/20/2019 12:00:00 PM +00:00"),
            Some(1_561_032_000)
        );
        for text in [
            "",
            "13/20/2019 02:57:58 +00:00",
            "06/20/2019 02:57:58 +02:00",
            "6/20/2019",
        ] {
            assert_eq!(loose_date(text), None, "{text}");
        }
    }
}
