//! The same answer for a person and for a program: asked once, the same way, and with the same status.

use std::time::{Duration, Instant, SystemTime};

use bramble::client::TRACE;
use bramble::operation::Rejection;
use bramble::serve;
use bramble_weather::{ApiError, Code, Query, QueryError, Report, Source};
use maud::Markup;
use tide::http::headers::{AGE, CACHE_CONTROL, HeaderName, RETRY_AFTER};
use tide::http::mime;
use tide::{Request, Response, ResponseBuilder};

use crate::input::Typed;
use crate::page::{failure, form, result};
use crate::{Question, Settings, State};

/// Why a question has no report.
enum ReportError {
    Mistyped(Vec<QueryError>),
    Refused(Query, ApiError),
}

/// The form, or what was found for what was typed into it.
pub(crate) async fn page(request: Request<State>) -> tide::Result {
    let typed = Typed::of(request.url());
    if typed.zip.is_none() {
        return Ok(html(200, form::page(&typed, &[])).build());
    }
    let (answer, took) = ask(&request, &typed).await;
    let response = match answer {
        Err(ReportError::Mistyped(errors)) => {
            let mistakes: Vec<_> = errors.into_iter().map(form::Mistake::from).collect();
            html(400, form::page(&typed, &mistakes))
        }
        Err(ReportError::Refused(query, error)) => refused(&typed, &query, &error),
        Ok((query, report)) => html(200, result::page(&query, &report, SystemTime::now())),
    };
    Ok(timed(response, took))
}

/// The report as JSON, or the error as JSON.
pub(crate) async fn json(request: Request<State>) -> tide::Result {
    let (answer, took) = ask(&request, &Typed::of(request.url())).await;
    let response = match answer {
        Err(ReportError::Mistyped(errors)) => json_error(&ApiError::new(
            errors.first().map_or(Code::InvalidZip, |error| error.code()),
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        )),
        Err(ReportError::Refused(_, error)) => json_error(&error),
        Ok((_, report)) => json_report(&report, &request.state().settings),
    };
    Ok(timed(response, took))
}

/// Asks, if there is something to ask. How long that took is `None` if no producer was asked.
async fn ask(request: &Request<State>, typed: &Typed) -> (Result<(Query, Report), ReportError>, Option<Duration>) {
    let query = match typed.parse() {
        Ok(query) => query,
        Err(errors) => return (Err(ReportError::Mistyped(errors)), None),
    };
    let state = request.state();
    let left = serve::time_left(request.as_ref());
    let started = Instant::now();
    let deadline = started + time_left(left, state.settings.call_timeout);
    let trace = request.header(TRACE).map(|values| values.as_str());
    let answer = match state.ask.weather(&Question { query: &query, deadline, trace }).await {
        Ok(report) => Ok((query, report)),
        Err(error) => Err(ReportError::Refused(query, error)),
    };
    (answer, Some(started.elapsed()))
}

/// The caller's time if it says so, but never more than is configured, nor so much that no clock has a name for it.
fn time_left(told: Option<Duration>, call_timeout: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let call_timeout = call_timeout.min(LONGEST);
    told.map_or(call_timeout, |told| told.min(call_timeout))
}

/// The page of an error: a wrong question goes back into the form, everything else has a page of its own.
fn refused(typed: &Typed, query: &Query, error: &ApiError) -> ResponseBuilder {
    let page = match error.code {
        Code::InvalidZip | Code::InvalidCountry => form::page(typed, &[form::Mistake::from(error)]),
        _ => failure::page(typed, query, error),
    };
    patient(html(error.code.status(), page), error)
}

fn html(status: u16, page: Markup) -> ResponseBuilder {
    Response::builder(status).body(page.into_string()).content_type(mime::HTML).header(CACHE_CONTROL, "no-store")
}

fn json_error(error: &ApiError) -> ResponseBuilder {
    let body = Rejection::from(error.clone()).to_json();
    let response = Response::builder(error.code.status()).body(body).content_type(mime::JSON);
    patient(response.header(CACHE_CONTROL, "no-store"), error)
}

/// Only what is fresh may be kept; its age counts against the time.
fn json_report(report: &Report, settings: &Settings) -> ResponseBuilder {
    let body = serde_json::to_string(report).expect("a report is always JSON");
    let keep = match report.source {
        Source::Live | Source::Cache => format!("max-age={}", settings.fresh_for.as_secs()),
        Source::Stale | Source::Empty => "no-store".into(),
    };
    let response = Response::builder(200).body(body).content_type(mime::JSON).header(CACHE_CONTROL, keep);
    match report.age_s {
        Some(age) => response.header(AGE, age.to_string()),
        None => response,
    }
}

/// Adds `Retry-After`, where asking again later helps.
fn patient(response: ResponseBuilder, error: &ApiError) -> ResponseBuilder {
    match error.retry_after_s() {
        Some(seconds) => response.header(RETRY_AFTER, seconds.to_string()),
        None => response,
    }
}

/// Says how long asking took (W3C Server-Timing, milliseconds).
fn timed(response: ResponseBuilder, took: Option<Duration>) -> Response {
    match took {
        Some(took) => {
            let value = format!("producer;dur={:.1}", took.as_secs_f64() * 1e3);
            response.header(HeaderName::from("server-timing"), value).build()
        }
        None => response.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_shorten_the_time_but_not_lengthen_it() {
        let configured = Duration::from_secs(3);
        assert_eq!(time_left(None, configured), configured);
        assert_eq!(time_left(Some(Duration::from_millis(200)), configured), Duration::from_millis(200));
        assert_eq!(time_left(Some(Duration::ZERO), configured), Duration::ZERO);
        assert_eq!(time_left(Some(Duration::MAX), configured), configured);
        assert!(Instant::now().checked_add(time_left(Some(Duration::MAX), Duration::MAX)).is_some());
    }
}
