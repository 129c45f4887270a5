//! Numbers and times as a person reads them. What is absent is said to be, and what is absurd counts as absent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Said of a value that the weather service left out.
pub(super) const ABSENT: &str = "not reported";

/// No quantity of weather in our units comes near (the highest is pressure, about 1085 hPa); whatever does is garbage.
const ABSURD: f64 = 1e5;

/// 9999-12-31T23:59:59Z: later times have no RFC 3339 form.
const LAST: u64 = 253_402_300_799;

/// A quantity with its unit: `−3.4 °C`, or "not reported".
pub(super) fn quantity(value: Option<f64>, decimals: usize, unit: &str) -> String {
    number(value, decimals).map_or_else(|| ABSENT.into(), |number| format!("{number} {unit}"))
}

/// At most `decimals` decimals, halves away from zero, with a real minus sign and no negative zero.
pub(super) fn number(value: Option<f64>, decimals: usize) -> Option<String> {
    let value = value.filter(|value| value.abs() < ABSURD)?;
    let scale = 10_f64.powi(decimals as i32);
    // Multiplied, 2.25 is exactly 22.5; formatted alone it would become 2.2.
    let rounded = (value * scale).round() / scale;
    let sign = if rounded < 0.0 { "\u{2212}" } else { "" };
    let decimals = if rounded.fract() == 0.0 { 0 } else { decimals };
    Some(format!("{sign}{:.decimals$}", rounded.abs()))
}

/// A moment for `datetime=` and for a person: `2026-11-21T14:04:43Z` and `21 Nov 2026, 14:04 UTC`.
pub(super) fn utc(time: SystemTime) -> Option<(String, String)> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    time.duration_since(UNIX_EPOCH).ok().filter(|since| since.as_secs() <= LAST)?;
    let machine = humantime::format_rfc3339_seconds(time).to_string();
    let (year, clock) = (machine.get(0..4)?, machine.get(11..16)?);
    let (month, day): (usize, u8) = (machine.get(5..7)?.parse().ok()?, machine.get(8..10)?.parse().ok()?);
    let human = format!("{day} {} {year}, {clock} UTC", MONTHS.get(month.checked_sub(1)?)?);
    Some((machine, human))
}

/// How long ago something was: `12 minutes ago`. A time to come is a clock that is wrong, by a little or by much.
pub(super) fn ago(then: SystemTime, now: SystemTime) -> String {
    match now.duration_since(then) {
        Ok(age) if age < Duration::from_secs(1) => "just now".into(),
        Ok(age) => format!("{} ago", long(age)),
        Err(early) if early.duration() < Duration::from_secs(120) => "just now".into(),
        Err(_) => "ahead of this node\u{2019}s clock".into(),
    }
}

/// A duration in its largest unit, rounded down.
pub(super) fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_have_one_decimal_at_most_a_real_minus_and_no_negative_zero() {
        for (value, text) in [
            (3.37, "3.4"),
            (3.0, "3"),
            (-3.37, "\u{2212}3.4"),
            (-0.04, "0"),
            (-0.0, "0"),
            (0.05, "0.1"),
            (2.25, "2.3"),
            (-12.0, "\u{2212}12"),
            (9.96, "10"),
        ] {
            assert_eq!(number(Some(value), 1).as_deref(), Some(text), "{value}");
        }
    }

    #[test]
    fn what_is_absent_or_absurd_is_not_reported() {
        for value in [None, Some(f64::NAN), Some(f64::INFINITY), Some(1e300), Some(-1e300)] {
            assert_eq!(quantity(value, 1, "°C"), "not reported", "{value:?}");
        }
        assert_eq!(quantity(Some(0.0), 0, "%"), "0 %");
    }

    #[test]
    fn a_moment_is_read_by_programs_and_by_people() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_269_883);
        let (machine, human) = utc(time).expect("in range");
        assert_eq!((machine.as_str(), human.as_str()), ("2026-11-21T14:04:43Z", "21 Nov 2026, 14:04 UTC"));
        assert_eq!(utc(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(LAST + 1)), None);
        assert!(utc(UNIX_EPOCH + Duration::from_secs(LAST)).is_some());
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (age, text) in [
            (0, "just now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (47 * 3600, "47 hours ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(now - Duration::from_secs(age), now), text);
        }
    }

    #[test]
    fn a_time_to_come_is_a_wrong_clock_and_not_a_negative_age() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(ago(now + Duration::from_secs(30), now), "just now");
        assert_eq!(ago(now + Duration::from_secs(3600), now), "ahead of this node\u{2019}s clock");
    }
}
