//! `bramble weather`: one question from the terminal, by the same way as the form's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::serve::Host;
use bramble_consumer::{Ask as _, Producers, Question};
use bramble_weather::{ApiError, COUNTRIES, Code, Query, Report, Source};

use crate::Failure;
use crate::args::Weather;
use crate::roles::{PROGRAM, on_executor};

pub(crate) fn run(options: &Weather) -> Result<(), Failure> {
    let query = Query::parse(&options.zip, options.country.as_deref()).map_err(|errors| {
        let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(sentences.join(" "))
    })?;
    let is_assumed = options.country.as_deref().is_none_or(|typed| typed.trim().is_empty());
    let config = options.settings.load(&PROGRAM, Vec::new())?;
    let patience = config.call.timeout;
    let asked = &query;
    let answer = on_executor(|executor| async move {
        let host = Host::new(PROGRAM, config, executor)?;
        let producers = Producers::new(&host.config, host.client(), Arc::clone(&host.executor));
        let question = Question { query: asked, deadline: Instant::now() + patience, trace: None };
        Ok::<_, Failure>(producers.weather(&question).await)
    })?;
    let report = answer.map_err(|error| Failure::Running(in_words(&query, is_assumed, &error)))?;
    let text = match options.json {
        true => serde_json::to_string(&report).map(|json| json + "\n").map_err(std::io::Error::from),
        false => Ok(table(&query, is_assumed, &report)),
    };
    let printed = text.and_then(|text| std::io::stdout().write_all(text.as_bytes()));
    printed.map_err(|error| Failure::Running(format!("standard output: {error}")))
}

/// The error as a sentence. Where the place is unknown, the country may be the wrong one.
fn in_words(query: &Query, is_assumed: bool, error: &ApiError) -> String {
    match error.code {
        Code::UnknownPlace if is_assumed => format!(
            "{}; {} was assumed, since no country was named: bramble weather {:?} COUNTRY names one",
            error.message.trim_end_matches('.'),
            country(query),
            query.zip.as_str()
        ),
        _ => error.message.clone(),
    }
}

/// The country with its code: `Germany (DE)`.
fn country(query: &Query) -> String {
    let code = query.country.as_str();
    let name = COUNTRIES.iter().find(|(known, _)| *known == code).map_or(code, |(_, name)| name);
    format!("{name} ({code})")
}

/// The report, a line for each value.
fn table(query: &Query, is_assumed: bool, report: &Report) -> String {
    let number = |value: Option<f64>, unit: &str| value.map(|value| format!("{value:.1} {unit}"));
    let assumed = if is_assumed { ", assumed: a second argument names another" } else { "" };
    let lines = [
        ("country", Some(country(query) + assumed)),
        ("weather", report.description.clone()),
        ("temperature", number(report.temperature_c, "°C")),
        ("feels like", number(report.feels_like_c, "°C")),
        ("humidity", report.humidity_pct.map(|value| format!("{value:.0} %"))),
        ("pressure", report.pressure_hpa.map(|value| format!("{value:.0} hPa"))),
        ("wind", number(report.wind_mps, "m/s")),
        ("observed", report.observed_at.map(|at| humantime::format_rfc3339_seconds(at).to_string())),
        ("report", Some(freshness(report))),
        ("answered by", report.served_by.clone()),
    ];
    let mut text = match &report.city {
        Some(city) => format!("{city} ({})\n", query.zip),
        None => format!("{}\n", query.zip),
    };
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<12} {}", value.as_deref().unwrap_or("not reported")); // a String takes all
    }
    if !matches!(report.source, Source::Live | Source::Cache) {
        text += &report.message;
        text.push('\n');
    }
    text
}

/// How new the report is, with its age.
fn freshness(report: &Report) -> String {
    let age = report.age_s.map(Duration::from_secs).map(humantime::format_duration);
    let fetched = age.map(|age| format!(", fetched {age} ago")).unwrap_or_default();
    match report.source {
        Source::Live => "live".into(),
        Source::Cache => format!("cached{fetched}"),
        Source::Stale => format!("out of date{fetched}"),
        Source::Empty => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(country: Option<&str>) -> Query {
        Query::parse("28105", country).expect("a place")
    }

    #[test]
    fn the_country_is_named_and_said_to_be_assumed_where_the_question_had_none() {
        let text = table(&query(None), true, &Report::empty());
        assert!(text.contains("United States (US), assumed: a second argument names another\n"), "{text}");
        let text = table(&query(Some("de")), false, &Report::empty());
        assert!(text.contains("Germany (DE)\n"), "{text}");
    }

    #[test]
    fn an_unknown_place_has_the_country_named_that_was_assumed() {
        let error = ApiError::new(Code::UnknownPlace, "No such place.");
        let text = in_words(&query(None), true, &error);
        assert!(text.starts_with("No such place; ") && text.contains("(US) was assumed"), "{text}");
        assert!(text.ends_with("bramble weather \"28105\" COUNTRY names one"), "{text}");
        assert_eq!(in_words(&query(Some("DE")), false, &error), "No such place.");
    }

    #[test]
    fn a_report_says_how_new_it_is_with_its_age() {
        let report = |source, age_s| Report { source, age_s, ..Report::empty() };
        assert_eq!(freshness(&report(Source::Live, Some(0))), "live");
        assert_eq!(freshness(&report(Source::Cache, Some(62))), "cached, fetched 1m 2s ago");
        assert_eq!(freshness(&report(Source::Stale, Some(7200))), "out of date, fetched 2h ago");
        assert_eq!(freshness(&report(Source::Stale, None)), "out of date");
    }
}
