//! The weather at a place. How new it is stands beside what it is: an old answer that looks new is worse than none.

use std::time::{Duration, SystemTime};

use bramble_weather::{COUNTRIES, Query, Report, Source};
use maud::{Markup, html};

use super::format::{self, ABSENT, ago, quantity, utc};
use super::{SITE, icon};

/// The page with the report for a question.
pub fn page(query: &Query, report: &Report, now: SystemTime) -> Markup {
    if report.source == Source::Empty {
        return nothing(query, report);
    }
    let place = report.city.clone().unwrap_or_else(|| query.zip.to_string());
    let temperature = quantity(report.temperature_c, 0, "°C");
    let late = if report.source == Source::Stale { "Out of date: " } else { "" };
    let title = match report.temperature_c {
        Some(_) => format!("{late}{temperature} in {place}"),
        None => format!("{late}Weather in {place}"),
    };
    SITE.page(
        &title,
        &html! {
            (caution(report, now))
            article.card.weather {
                div.sky.(icon::sky(report.icon.as_deref())) {
                    div.where {
                        h1 { bdi { (place) } }
                        p { (query.zip) ", " (country_of(query)) }
                    }
                    div.now {
                        (icon::draw(report.icon.as_deref()))
                        div {
                            p.temperature { (big(report.temperature_c)) }
                            (description(report))
                        }
                    }
                }
                div.details {
                    (state(report, now))
                    (facts(report, now))
                }
            }
            p.actions {
                a.button href="/" { "New search" }
                a.quiet.button href={ "/api" (query.to_path()) } { "As JSON" }
            }
        },
    )
}

/// The address of the page for a question, to come back to.
pub(super) fn address(query: &Query) -> String {
    format!("/{}", query.to_path().trim_start_matches("/weather"))
}

/// A place as it was asked for: `70569, Germany`.
pub(super) fn name_of(query: &Query) -> String {
    format!("{}, {}", query.zip, country_of(query))
}

fn country_of(query: &Query) -> &'static str {
    let code = query.country.as_str();
    COUNTRIES.iter().find(|(known, _)| *known == code).map_or(code, |(_, name)| name)
}

/// The number large, the unit small; both in one line.
fn big(celsius: Option<f64>) -> Markup {
    html! {
        @match format::number(celsius, 1) {
            Some(number) => { (number) span.unit { " °C" } }
            None => { span.absent { "Temperature " (ABSENT) } }
        }
    }
}

/// In the weather service's words, else in ours for its icon.
fn description(report: &Report) -> Markup {
    let words = report.description.as_deref().map(str::trim).filter(|words| !words.is_empty());
    html! {
        @match words.or_else(|| report.icon.as_deref().and_then(icon::words)) {
            Some(words) => { p.description { bdi { (words) } } }
            None => { p.description.absent { "Conditions " (ABSENT) } }
        }
    }
}

/// Caution of a report, where its message is more than "OK".
fn caution(report: &Report, now: SystemTime) -> Markup {
    let message = match (report.source, report.message.trim()) {
        (Source::Stale, "" | Report::OK) => Report::STALE,
        (_, "" | Report::OK) => return html! {},
        (_, message) => message,
    };
    html! {
        div.notice.caution {
            (icon::shape(Source::Stale))
            div {
                p { strong { (message) } }
                @if report.source == Source::Stale {
                    p { (why(message)) " This report was fetched "
                        (age(report, now).unwrap_or_else(|| "at an unknown time".into())) "." }
                }
            }
        }
    }
}

/// Cause for which a report is out of date.
fn why(caution: &str) -> &'static str {
    match caution {
        Report::UNREACHABLE => "No producer on this network answered.",
        _ => "The weather service has given no newer report.",
    }
}

/// Live, cached or out of date: as word, shape and colour.
fn state(report: &Report, now: SystemTime) -> Markup {
    let age = age(report, now).unwrap_or_else(|| "earlier".into());
    let (class, word, meaning) = match report.source {
        Source::Live => ("live", "Live", "asked for you just now".into()),
        Source::Cache => ("cached", "Cached", format!("fetched {age}, still good")),
        Source::Stale => ("stale", "Out of date", format!("fetched {age}")),
        Source::Empty => ("none", "No data", "no answer".into()),
    };
    html! { p.state { strong.(class) { (icon::shape(report.source)) (word) } " " span { (meaning) } } }
}

/// When the report was fetched; its own word counts, for the node that made it may have another clock.
fn age(report: &Report, now: SystemTime) -> Option<String> {
    match report.age_s {
        Some(0) => Some("just now".into()),
        Some(seconds) => Some(format!("{} ago", format::long(Duration::from_secs(seconds)))),
        None => report.fetched_at.map(|then| ago(then, now)),
    }
}

fn facts(report: &Report, now: SystemTime) -> Markup {
    html! {
        dl {
            (fact("Feels like", report.feels_like_c, 1, "°C"))
            (fact("Humidity", report.humidity_pct, 0, "%"))
            (fact("Wind", report.wind_mps, 1, "m/s"))
            (fact("Pressure", report.pressure_hpa, 0, "hPa"))
            div.wide {
                dt { "Observed" }
                @match report.observed_at.and_then(|then| Some((then, utc(then)?))) {
                    Some((then, (machine, human))) => {
                        dd { time datetime=(machine) { (human) } " " span.aside { (ago(then, now)) } }
                    }
                    None => { dd.absent { (ABSENT) } }
                }
            }
            div.wide {
                dt { "Answered by" }
                @match report.served_by.as_deref() {
                    Some(id) => { dd { code { (id) } } }
                    None => { dd.absent { (ABSENT) } }
                }
            }
        }
    }
}

fn fact(name: &str, value: Option<f64>, decimals: usize, unit: &str) -> Markup {
    let text = quantity(value, decimals, unit);
    html! { div { dt { (name) } dd.absent[text == ABSENT] { (text) } } }
}

/// The page for a report that says there is none.
fn nothing(query: &Query, report: &Report) -> Markup {
    let place = name_of(query);
    SITE.page(
        &format!("No data for {place}"),
        &html! {
            section.card.failure {
                (icon::no_weather())
                h1 { "No data for " (place) }
                p.happened { "There was no answer, so there is nothing to show." }
                p { "This says nothing about the weather. Try again in a few seconds." }
                p.actions {
                    a.button href=(address(query)) { "Try again" }
                    a.button.quiet href="/" { "New search" }
                }
                p.state { strong.none { (icon::shape(Source::Empty)) "No data" } " " span { (report.message) } }
                @if let Some(id) = report.served_by.as_deref() { p.fine { "Answered by " code { (id) } } }
            }
        },
    )
}
