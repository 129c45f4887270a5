//! Numbers and times as a person says them.

use std::time::Duration;

/// `42 s`, `5 min`, `3 h`, `2 d`.
pub(super) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// A number of milliseconds with two digits that count.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// A share of calls; all is said only where it is all.
pub(super) fn percent(part: u64, whole: u64) -> Option<String> {
    match whole {
        0 => None,
        _ if part == whole => Some("100 %".into()),
        _ => Some(format!("{:.1} %", (part as f64 / whole as f64 * 100.0).min(99.9))),
    }
}

pub(super) fn plural(service: &str, count: usize) -> String {
    match service.strip_suffix('y') {
        _ if count == 1 => service.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{service}s"),
    }
}

pub(super) fn one_of(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_a_person_says_them() {
        assert_eq!([5, 65, 3700, 200_000].map(|s| in_words(Duration::from_secs(s))), ["5 s", "1 min", "1 h", "2 d"]);
        assert_eq!([1.24, 12.4, 1240.0].map(milliseconds), ["1.2 ms", "12 ms", "1.2 s"]);
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(99_999, 100_000).as_deref(), Some("99.9 %"), "one failed");
        assert_eq!((plural("registry", 2), plural("producer", 1)), ("registries".into(), "producer".into()));
    }
}
