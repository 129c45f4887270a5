//! Validation of what a producer answered: a program at a producer's former address may answer 200 as well.

use crate::{ApiError, Country, Query, Report, Source, Zip, range};

/// Reads an answer to `query`: a report for the place that was asked for, or an error of the contract with a status of
/// 4xx, 502, 503 or 504. `None`: it is not the answer of a producer (HTML, other JSON, a report for another place, a
/// value that weather cannot have).
pub fn read_answer(query: &Query, status: u16, body: &[u8]) -> Option<Result<Report, ApiError>> {
    match status {
        200 => serde_json::from_slice(body).ok().filter(|report| is_about(query, report)).map(Ok),
        400..500 | 502..=504 => serde_json::from_slice(body).ok().map(Err),
        _ => None,
    }
}

/// Whether a producer may have answered so to `query`: see [`read_answer`].
pub fn is_answer(query: &Query, status: u16, body: &[u8]) -> bool {
    read_answer(query, status, body).is_some()
}

/// Whether a report is for the place that was asked for, and has only values that weather can have. An empty report
/// names no place.
fn is_about(query: &Query, report: &Report) -> bool {
    let zip = report.zip.as_deref().map(str::parse::<Zip>);
    let country = report.country.as_deref().map(str::parse::<Country>);
    let is_for_the_place = match (zip, country) {
        (Some(Ok(zip)), Some(Ok(country))) => zip == query.zip && country == query.country,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn query() -> Query {
        Query::parse("sw1a 1aa", Some("gb")).expect("a question")
    }

    /// A report for `query()`, with some of its JSON replaced.
    fn report(from: &str, to: &str) -> Vec<u8> {
        let whole = r#"{"zip":"SW1A 1AA","country":"GB","city":"London","description":"mist","icon":"50d",
            "temperature_c":3.37,"feels_like_c":0.9,"humidity_pct":81,"pressure_hpa":1019,"wind_mps":null,
            "observed_at":"2026-11-21T14:04:43Z","fetched_at":"2026-11-21T14:05:01Z","age_s":12,
            "source":"live","message":"OK","served_by":"producer-5f0c2a9be81d4477"}"#;
        assert!(from.is_empty() || whole.contains(from), "{from}");
        whole.replacen(from, to, 1).into_bytes()
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
            assert!(is_answer(&query(), 200, &report(from, to)), "{from} -> {to}");
        }
        let empty = serde_json::to_vec(&Report::empty()).expect("JSON");
        assert!(is_answer(&query(), 200, &empty), "the empty report names no place");
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
            assert!(!is_answer(&query(), 200, &report(from, to)), "{from} -> {to}");
        }
    }

    #[test]
    fn an_error_of_the_contract_is_an_answer_with_the_status_of_one() {
        let body = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#).into_bytes();
        for (status, code) in [
            (400, "invalid_zip"),
            (404, "unknown_place"),
            (429, "rate_limited"),
            (502, "upstream_rejected"),
            (502, "upstream_unavailable"),
            (503, "overloaded"),
            (503, "starting"),
            (503, "unavailable"),
            (504, "upstream_timeout"),
            (504, "not_cached"),
        ] {
            let answer = read_answer(&query(), status, &body(code)).expect("an answer");
            let error = answer.expect_err("an error");
            assert_eq!((error.code.status(), error.message.as_str()), (status, "m"), "{code}");
        }
        for status in [200, 204, 301, 302, 500, 501, 505, 0] {
            assert!(!is_answer(&query(), status, &body("unknown_place")), "{status}");
        }
        assert!(!is_answer(&query(), 404, &body("not_found")), "another service of the cluster");
        assert_eq!(serde_json::to_string(&Code::UpstreamTimeout).expect("JSON"), "\"upstream_timeout\"");
    }

    #[test]
    fn what_another_program_says_is_no_answer() {
        for body in [
            &b""[..],
            b"<html><body>Welcome to nginx!</body></html>",
            b"404 page not found",
            b"{}",
            b"[]",
            b"null",
            br#"{"status":"ok"}"#,
            br#"{"cod":"404","message":"city not found"}"#,
            br#"{"error":"not found"}"#,
            br#"{"error":{"code":404,"message":"not found"}}"#,
            b"\xff\xfe",
        ] {
            for status in [200, 301, 403, 404, 502, 503] {
                assert!(!is_answer(&query(), status, body), "{status}: {}", String::from_utf8_lossy(body));
            }
        }
        assert!(!is_answer(&query(), 404, &report("", "")), "a report is no error");
    }
}
