//! `GET /weather?zip=&country=` as the contract has it: strings become types here, and outcomes become statuses.
//!
//! A caller says by `x-envoy-expected-rq-timeout-ms` how long it waits. With `Cache-Control: only-if-cached` (RFC 9111,
//! 5.2.1.7) it gets what is held here and fresh, else 504 `not_cached` at once; the weather API is not asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::operation::Rejection;
use bramble::serve;
use bramble_weather::{ApiError, Code, Query, QueryError, Report, Source, WEATHER};
use tide::http::Method;
use tide::{Request, Response, StatusCode};

use crate::weather::{Moment, Weather};

/// Of the time a caller has left, this is kept for the way back of an answer that needs all of the rest, or a tenth if
/// that is less: a stale answer is of use only while its caller is still there.
const WAY_BACK: Duration = Duration::from_millis(20);

/// The routes of the service.
pub fn app(weather: Arc<Weather>) -> tide::Server<Arc<Weather>> {
    let mut app = tide::with_state(weather);
    // The operation's path alone: its input has rules of its own ([`question`]), its answers have headers for caches.
    app.at(WEATHER.path()).all(answer);
    app
}

/// Reads a query string. `+` and `%20` are spaces; unknown parameters are ignored; one given twice is refused, because
/// it is unclear which was meant.
///
/// # Errors
/// All that is wrong with it, as one error with the code of the first.
pub fn question(query: &str) -> Result<Query, ApiError> {
    let (mut zip, mut country) = (None, None);
    // Bytes that are not UTF-8 become characters that no postal code has: the code is refused, not the query.
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    for (name, value) in pairs {
        let (slot, code) = match name.as_str() {
            "zip" => (&mut zip, Code::InvalidZip),
            "country" => (&mut country, Code::InvalidCountry),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(ApiError::new(code, format!("\"{name}\" is given twice; give it once.")));
        }
    }
    Query::parse(zip.as_deref().unwrap_or_default(), country.as_deref()).map_err(|errors| {
        let code = errors.first().map_or(Code::InvalidZip, |error| error.code());
        let sentences: Vec<_> = errors.iter().map(QueryError::to_string).collect();
        ApiError::new(code, sentences.join(" "))
    })
}

async fn answer(request: Request<Arc<Weather>>) -> tide::Result {
    let started = Instant::now();
    if !matches!(request.method(), Method::Get | Method::Head) {
        let body = r#"{"error":{"code":"method_not_allowed","message":"Only GET is answered here."}}"#;
        return Ok(json(405, body.to_owned()).header("allow", "GET, HEAD").build());
    }
    let weather = request.state();
    let left = time_left(serve::time_left(request.as_ref()), weather.timeout(), weather.timeout_max());
    let outcome = match question(request.url().query().unwrap_or_default()) {
        Ok(query) if is_only_if_cached(&request) => weather.held(&query, Moment::now()),
        Ok(query) => weather.report(&query, started + left).await,
        Err(error) => Err(error),
    };
    if log::log_enabled!(log::Level::Debug) {
        let told = match &outcome {
            Ok(report) => format!("{:?}", report.source),
            Err(error) => format!("{:?}", error.code),
        };
        log::debug!("weather: {told} after {:?}, trace {}", started.elapsed(), trace(&request));
    }
    match outcome {
        Ok(report) => report_response(&report, weather.fresh_for(), started.elapsed()),
        Err(error) => Ok(refused(error, started.elapsed())),
    }
}

/// The time a caller has left by its header, else `timeout`; at most `timeout_max`, and less the way back. A header
/// that is no number counts as none.
fn time_left(told: Option<Duration>, timeout: Duration, timeout_max: Duration) -> Duration {
    let left = told.unwrap_or(timeout).min(timeout_max);
    left - WAY_BACK.min(left / 10)
}

/// Whether the caller wants what is held here and nothing else (RFC 9111, 5.2.1.7).
fn is_only_if_cached(request: &Request<Arc<Weather>>) -> bool {
    let values = request.header("cache-control").into_iter().flatten();
    let mut directives = values.flat_map(|value| value.as_str().split(','));
    directives.any(|directive| directive.trim().eq_ignore_ascii_case("only-if-cached"))
}

/// The trace's name for the log, or a dash for what is none (W3C Trace Context: hexadecimal digits and dashes).
fn trace(request: &Request<Arc<Weather>>) -> &str {
    let value = request.header("traceparent").map_or("-", |values| values.last().as_str());
    let plain = value.len() <= 128 && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if plain { value } else { "-" }
}

fn report_response(report: &Report, fresh_for: Duration, took: Duration) -> tide::Result {
    let age = report.age_s.unwrap_or_default();
    // `max-age` counts from fetching on, so `age` is part of it (RFC 9111, 4.2).
    let fresh = || format!("max-age={}", fresh_for.as_secs());
    let (source, caching) = match report.source {
        Source::Live => ("live", fresh()),
        Source::Cache => ("cache", fresh()),
        Source::Stale => ("stale", "max-age=0, must-revalidate".to_owned()),
        Source::Empty => ("empty", "no-store".to_owned()),
    };
    let response = json(200, serde_json::to_string(report)?)
        .header("age", age.to_string())
        .header("cache-control", caching)
        .header("server-timing", timing(source, took));
    Ok(response.build())
}

fn refused(error: ApiError, took: Duration) -> Response {
    let mut rejection = Rejection::from(error);
    if rejection.status == Code::RateLimited.status() {
        // The limit of the weather API is not one of this service: after a 429 its callers would leave it alone for
        // that time, though it answers for all places whose reports are fresh.
        rejection.status = Code::UpstreamUnavailable.status();
    }
    let mut response = rejection.response();
    response.insert_header("server-timing", timing("error", took));
    response
}

fn json(status: u16, body: String) -> tide::ResponseBuilder {
    let status = StatusCode::try_from(status).unwrap_or(StatusCode::InternalServerError);
    Response::builder(status).body(body).content_type("application/json")
}

/// Origin of the answer, and milliseconds of work (W3C Server Timing).
fn timing(source: &str, took: Duration) -> String {
    format!("weather;desc=\"{source}\";dur={:.1}", took.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_the_callers_while_a_fetch_may_take_so_long_less_the_way_back() {
        let (timeout, timeout_max) = (Duration::from_secs(1), Duration::from_secs(5));
        for (told, left) in
            [(None, 980), (Some(500), 480), (Some(100), 90), (Some(0), 0), (Some(2600), 2580), (Some(u64::MAX), 4980)]
        {
            let told = told.map(Duration::from_millis);
            assert_eq!(time_left(told, timeout, timeout_max), Duration::from_millis(left), "{told:?}");
        }
    }
}
