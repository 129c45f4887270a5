//! The question to a producer as an operation, and which reports answer it: a program at a producer's former address
//! may answer 200 as well.

use bramble::Operation;

use crate::error::CODES;
use crate::{Country, Query, Report, Source, Zip, range};

/// `GET /weather?zip=70569&country=DE`: the weather at a place. A caller accepts a report by [`Query::is_answered_by`].
pub const WEATHER: Operation<Query, Report> = Operation::get("producer", "/weather").codes(&CODES);

impl Query {
    /// Whether a report is for the place that was asked for, and has only values that weather can have. An empty report
    /// names no place.
    pub fn is_answered_by(&self, report: &Report) -> bool {
        let zip = report.zip.as_deref().map(str::parse::<Zip>);
        let country = report.country.as_deref().map(str::parse::<Country>);
        let is_for_the_place = match (zip, country) {
            (Some(Ok(zip)), Some(Ok(country))) => zip == self.zip && country == self.country,
            (None, None) => report.source == Source::Empty,
            _ => false,
        };
        let values = [
            (report.temperature_c, range::TEMPERATURE),
            (report.feels_like_c, range::FEELS_LIKE),
            (report.humidity_pct, range::HUMIDITY),
            (report.pressure_hpa, range::PRESSURE),
            (report.wind_mps, range::WIND),
        ];
        is_for_the_place && values.iter().all(|(value, range)| value.is_none_or(|value| range.contains(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Query {
        Query::parse("sw1a 1aa", Some("gb")).expect("a question")
    }

    /// Whether `query()` is answered by a report for it, with some of its JSON replaced.
    fn is_answered(from: &str, to: &str) -> bool {
        let whole = r#"{"zip":"SW1A 1AA","country":"GB","city":"London","description":"mist","icon":"50d",
            "temperature_c":3.37,"feels_like_c":0.9,"humidity_pct":81,"pressure_hpa":1019,"wind_mps":null,
            "observed_at":"2026-11-21T14:04:43Z","fetched_at":"2026-11-21T14:05:01Z","age_s":12,
            "source":"live","message":"OK","served_by":"producer-5f0c2a9be81d4477"}"#;
        assert!(from.is_empty() || whole.contains(from), "{from}");
        let report = serde_json::from_str(&whole.replacen(from, to, 1));
        report.is_ok_and(|report| query().is_answered_by(&report))
    }

    #[test]
    fn a_report_for_the_place_that_was_asked_for_is_an_answer() {
        for (from, to) in [
            ("", ""),
            ("SW1A 1AA", "sw1a  1aa "),
            ("\"GB\"", "\"gb\""),
            ("\"live\"", "\"stale\""),
            ("3.37", "null"),
            ("\"London\"", "null"),
            ("\"age_s\"", "\"new_key\":{},\"age_s\""),
        ] {
            assert!(is_answered(from, to), "{from} -> {to}");
        }
        assert!(query().is_answered_by(&Report::empty()), "the empty report names no place");
    }

    #[test]
    fn a_report_for_another_place_or_of_impossible_weather_is_no_answer() {
        for (from, to) in [
            ("SW1A 1AA", "70569"),
            ("\"GB\"", "\"DE\""),
            ("\"SW1A 1AA\"", "null"),
            ("\"GB\"", "null"),
            ("\"GB\"", "\"XX\""),
            ("SW1A 1AA", "<b>"),
            ("3.37", "1e300"),
            ("3.37", "\"warm\""),
            ("0.9", "-999"),
            ("81", "101"),
            ("1019", "0"),
            ("null", "-1"),
            ("\"live\"", "\"guessed\""),
        ] {
            assert!(!is_answered(from, to), "{from} -> {to}");
        }
    }
}
