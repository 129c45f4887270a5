//! Every page as a browser gets it, with a stand-in for the producers.

use std::sync::Mutex;
use std::time::SystemTime;

use bramble_weather::{Code, Source};
use tide::http::{Method, Request, Response, Url};

use super::*;

mod html;
mod loopback;

/// Always says the same, and remembers what it was asked and how long it had.
struct Fake {
    says: Result<Report, ApiError>,
    asked: Mutex<Vec<(Query, Duration)>>,
}

#[async_trait]
impl Ask for Fake {
    async fn weather(&self, question: &Question<'_>) -> Result<Report, ApiError> {
        let left = question.deadline.saturating_duration_since(Instant::now());
        self.asked.lock().expect("no panic while locked").push((question.query.clone(), left));
        self.says.clone()
    }
}

struct PageResponse {
    response: Response,
    body: String,
}

impl PageResponse {
    fn status(&self) -> u16 {
        self.response.status().into()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name).map(|values| values.as_str())
    }

    /// The page, once it is known to be well formed.
    fn page(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("text/html;charset=utf-8"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        html::check(&self.body);
        &self.body
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).expect("JSON")
    }
}

fn fake(says: Result<Report, ApiError>) -> Arc<Fake> {
    Arc::new(Fake { says, asked: Mutex::default() })
}

fn send(fake: &Arc<Fake>, method: Method, path: &str, headers: &[(&str, &str)]) -> PageResponse {
    let ask: Arc<dyn Ask> = Arc::clone(fake) as _;
    let url = Url::parse(&format!("http://bramble.test{path}")).expect("an address");
    let mut request = Request::new(method, url);
    for (name, value) in headers {
        request.insert_header(*name, *value);
    }
    smol::block_on(async {
        let mut response: Response = app(ask, Settings::default()).respond(request).await.expect("an answer");
        let body = response.body_string().await.expect("text");
        for name in ["content-security-policy", "x-content-type-options", "referrer-policy", "permissions-policy"] {
            assert!(response.header(name).is_some(), "{name} is missing from {path}");
        }
        PageResponse { response, body }
    })
}

/// Response to a browser for a path when the weather is `says`.
fn get(says: Result<Report, ApiError>, path: &str) -> PageResponse {
    send(&fake(says), Method::Get, path, &[])
}

fn report() -> Report {
    let now = SystemTime::now();
    Report {
        zip: Some("70569".into()),
        country: Some("DE".into()),
        city: Some("Büsnau".into()),
        description: Some("scattered clouds".into()),
        icon: Some("03d".into()),
        temperature_c: Some(3.37),
        feels_like_c: Some(-0.92),
        humidity_pct: Some(81.0),
        pressure_hpa: Some(1019.0),
        wind_mps: Some(2.1),
        observed_at: Some(now - Duration::from_secs(725)),
        fetched_at: Some(now - Duration::from_secs(12)),
        age_s: Some(12),
        source: Source::Live,
        message: Report::OK.into(),
        served_by: Some("producer-5f0c2a9be81d4477".into()),
    }
}

fn error(code: Code) -> Result<Report, ApiError> {
    Err(ApiError::new(code, "what the producer said"))
}

/// The same, with the time to wait.
fn error_for(code: Code, seconds: Option<u64>) -> Result<Report, ApiError> {
    error(code).map_err(|error| error.with_retry_after(seconds.map(Duration::from_secs)))
}

const PLACE: &str = "/?zip=70569&country=DE";

#[test]
fn the_form_offers_every_country_and_asks_no_producer() {
    let fake = fake(Ok(report()));
    let got = send(&fake, Method::Get, "/", &[]);
    let page = got.page();
    assert_eq!(got.status(), 200);
    assert_eq!(html::title(page), "Weather by postal code · Bramble");
    assert_eq!(html::tags(page).iter().filter(|tag| tag.get("value").is_some_and(|v| v.len() == 2)).count(), 249);
    assert!(!page.contains("role=\"alert\"") && !page.contains("aria-invalid"));
    assert!(fake.asked.lock().expect("no panic while locked").is_empty());
}

#[test]
fn a_country_alone_is_a_form_half_filled_in() {
    let got = get(Ok(report()), "/?country=DE");
    assert_eq!(got.status(), 200);
    assert!(got.page().contains("name=\"country\" type=\"text\" value=\"DE\""));
}

#[test]
fn a_result_says_what_and_how_new_and_from_which_producer() {
    let got = get(Ok(report()), PLACE);
    let page = got.page();
    assert_eq!(got.status(), 200);
    assert_eq!(html::title(page), "3 °C in Büsnau · Bramble");
    for text in [
        "70569, Germany",
        "scattered clouds",
        "3.4<span class=\"unit\"> °C",
        "\u{2212}0.9 °C",
        "81 %",
        "1019 hPa",
        "2.1 m/s",
        "12 minutes ago",
        "Live",
        "producer-5f0c2a9be81d4477",
        "New search",
        "<time datetime=\"20",
        "href=\"/api/weather?zip=70569&amp;country=DE\"",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    assert!(!page.contains("CAUTION") && !page.contains("Cached") && !page.contains("Out of date"));
    assert!(got.header("server-timing").is_some_and(|value| value.starts_with("producer;dur=")));
}

#[test]
fn a_cached_report_says_so_and_since_when() {
    let got = get(Ok(Report { source: Source::Cache, age_s: Some(250), ..report() }), PLACE);
    let page = got.page();
    assert!(page.contains("Cached") && page.contains("fetched 4 minutes ago"));
    assert!(!page.contains("Live") && !page.contains("CAUTION"));
}

#[test]
fn a_stale_report_warns_in_title_notice_and_mark() {
    for message in [Report::STALE, Report::UNREACHABLE] {
        let stale = Report { source: Source::Stale, age_s: Some(7300), message: message.into(), ..report() };
        let got = get(Ok(stale), PLACE);
        let page = got.page();
        assert_eq!(html::title(page), "Out of date: 3 °C in Büsnau · Bramble");
        assert!(page.contains(message) && page.contains("fetched 2 hours ago"), "{message}");
        assert!(page.find(message) < page.find("Büsnau</bdi>"), "the caution comes first");
        assert!(!page.contains("Live") && !page.contains("still good"));
    }
}

#[test]
fn a_stale_report_that_claims_to_be_fine_is_not_believed() {
    let got = get(Ok(Report { source: Source::Stale, ..report() }), PLACE);
    assert!(got.page().contains(Report::STALE));
}

#[test]
fn an_empty_report_is_no_weather() {
    let got = get(Ok(Report::empty()), PLACE);
    let page = got.page();
    assert_eq!(got.status(), 200);
    assert_eq!(html::title(page), "No data for 70569, Germany · Bramble");
    assert!(page.contains("Empty response") && page.contains("href=\"/?zip=70569&amp;country=DE\""));
    assert!(!page.contains("°C") && !page.contains("<dl>") && !page.contains("Live"));
}

#[test]
fn absent_values_are_not_reported_and_never_zero() {
    let bare = Report { source: Source::Cache, message: Report::OK.into(), ..Report::empty() };
    let got = get(Ok(bare), PLACE);
    let page = got.page();
    assert_eq!(html::title(page), "Weather in 70569 · Bramble");
    // Temperature, conditions, feels-like, humidity, wind, pressure, observed, answered by.
    assert_eq!(page.matches("not reported").count(), 8);
    assert!(!page.contains("°C") && !page.contains(">0"));
}

#[test]
fn every_icon_code_and_any_garbage_makes_a_whole_page() {
    for code in
        ["01d", "01n", "02d", "02n", "03n", "04d", "09n", "10d", "10n", "11d", "13n", "50d", "99z", "", "\"><b>"]
    {
        let got = get(Ok(Report { icon: Some(code.into()), ..report() }), PLACE);
        assert!(got.page().contains("<svg class=\"icon\""), "{code}");
    }
}

#[test]
fn what_producers_say_is_escaped() {
    let evil = "<script>alert(1)</script>\"'&";
    let hostile = Report {
        city: Some(evil.into()),
        description: Some(evil.into()),
        message: evil.into(),
        served_by: Some(evil.into()),
        ..report()
    };
    assert_eq!(get(Ok(hostile), PLACE).page().matches("&lt;script&gt;").count(), 5, "title too");
    let hostile = Report { message: evil.into(), served_by: Some(evil.into()), ..Report::empty() };
    assert_eq!(get(Ok(hostile), PLACE).page().matches("&lt;script&gt;").count(), 2);
    for code in [Code::Unavailable, Code::UnknownPlace] {
        assert!(get(Err(ApiError::new(code, evil)), PLACE).page().contains("&lt;script&gt;"));
    }
    assert_eq!(get(Err(ApiError::new(Code::InvalidZip, evil)), PLACE).page().matches("&lt;script&gt;").count(), 2);
}

#[test]
fn a_wrong_question_comes_back_in_the_form_with_its_mistakes() {
    let fake = fake(Ok(report()));
    let got = send(&fake, Method::Get, "/?zip=70569%3B&country=Germany", &[]);
    let page = got.page();
    assert_eq!(got.status(), 400);
    assert!(html::title(page).starts_with("Error: "));
    let tags = html::tags(page);
    let alert = tags.iter().find(|tag| tag.get("role") == Some("alert")).expect("a summary");
    assert_eq!((alert.get("tabindex"), alert.get("autofocus")), (Some("-1"), Some("")));
    for (field, typed, error) in [
        ("zip", "70569;", "A postal code has only letters, digits, spaces and dashes."),
        ("country", "Germany", "A country is two letters, for example DE or GB."),
    ] {
        assert!(page.contains(&format!("<a href=\"#{field}\">{error}</a>")), "{field}");
        let input = tags.iter().find(|tag| tag.get("name") == Some(field)).expect("a field");
        assert_eq!(input.get("value"), Some(typed));
        assert_eq!(input.get("aria-invalid"), Some("true"));
        assert_eq!(input.get("aria-describedby"), Some(&*format!("{field}-error {field}-hint")));
    }
    assert!(fake.asked.lock().expect("no panic while locked").is_empty());
}

#[test]
fn only_the_wrong_field_is_marked() {
    let got = get(Ok(report()), "/?zip=&country=DE");
    assert_eq!((got.status(), got.page().matches("aria-invalid").count()), (400, 1));
    assert!(got.page().contains("href=\"#zip\"") && !got.page().contains("href=\"#country\""));
}

#[test]
fn what_is_typed_is_escaped_and_bounded() {
    for (typed, shown) in [
        ("%3Cscript%3Ealert(1)%3C/script%3E", "value=\"&lt;script&gt;alert(1)&lt;/script&gt;\""),
        ("%22%20autofocus%20x=%22", "value=\"&quot; autofocus x=&quot;\""),
        ("%26amp;%27", "value=\"&amp;amp;'\""),
    ] {
        let got = get(Ok(report()), &format!("/?zip={typed}"));
        assert_eq!(got.status(), 400, "{typed}");
        assert!(got.page().contains(shown), "{typed}");
    }
    let long = "%3C".repeat(10_000);
    let got = get(Ok(report()), &format!("/?zip={long}&country={long}"));
    assert_eq!(got.status(), 400);
    assert!(got.page().contains(&"&lt;".repeat(100)));
}

#[test]
fn garbled_questions_are_wrong_questions() {
    for query in ["zip=%", "zip=%zz", "zip=%ff%fe", "zip=%00", "zip", "zip=&zip=70569", "zip=70569&country=%f0%9f"] {
        let got = get(Ok(report()), &format!("/?{query}"));
        assert_eq!(got.status(), 400, "{query}");
        got.page();
        assert_eq!(get(Ok(report()), &format!("/api/weather?{query}")).status(), 400, "{query}");
    }
    assert_eq!(get(Ok(report()), "/?zip=70569&zip=%00&country=DE&country=").status(), 200, "the first counts");
}

#[test]
fn the_producer_is_asked_what_was_meant() {
    let fake = fake(Ok(report()));
    send(&fake, Method::Get, "/?zip=+sw1a++1aa&country=gb", &[]);
    send(&fake, Method::Get, "/api/weather?zip=28105", &[]);
    let asked = fake.asked.lock().expect("no panic while locked");
    let paths: Vec<_> = asked.iter().map(|(query, _)| query.to_path()).collect();
    assert_eq!(paths, ["/weather?zip=SW1A+1AA&country=GB", "/weather?zip=28105&country=US"]);
}

#[test]
fn every_failure_has_its_own_page_that_names_what_failed_and_when_to_try_again() {
    let mut titles = std::collections::HashSet::new();
    for (code, status, wait, heading, says) in [
        (Code::UnknownPlace, 404, None, "No such place", "The weather service knows no place"),
        (Code::RateLimited, 429, Some(61), "Too many questions", "Try again in 61 seconds"),
        (Code::UpstreamRejected, 502, None, "The weather service refused us", "Trying again does not help"),
        (Code::UpstreamUnavailable, 502, Some(3), "The weather service is down", "Try again in 3 seconds"),
        (Code::UpstreamTimeout, 504, Some(1), "The weather service is slow", "Try again in 1 second."),
        (Code::Overloaded, 503, Some(1), "Busy at the moment", "Try again in 1 second."),
        (Code::Starting, 503, Some(150), "Not ready yet", "Try again in 3 minutes."),
        (Code::Unavailable, 503, Some(2), "No weather available now", "No producer on this network answered"),
    ] {
        let got = get(error_for(code, wait), PLACE);
        let page = got.page();
        let wait = wait.map(|seconds| seconds.to_string());
        assert_eq!((got.status(), got.header("retry-after")), (status, wait.as_deref()), "{code:?}");
        assert!(page.contains(&format!("<h1>{heading}</h1>")) && page.contains("what the producer said"), "{code:?}");
        assert!(page.contains(says), "{code:?}: {page}");
        assert!(!page.contains("°C") && !page.contains("Live"), "{code:?}");
        assert!(html::title(page).starts_with("Error: "), "{code:?}");
        assert!(titles.insert(html::title(page).to_owned()), "{code:?} has a title of its own");
        assert_eq!(page.contains("Try again</a>"), wait.is_some(), "{code:?}");
    }
    assert!(get(error(Code::Unavailable), PLACE).page().contains("Try again later."), "an unknown time is not made up");
}

#[test]
fn what_failed_is_the_weather_service_or_the_producers_and_never_both() {
    for (code, is_upstream) in [
        (Code::UpstreamUnavailable, true),
        (Code::UpstreamTimeout, true),
        (Code::Unavailable, false),
        (Code::Overloaded, false),
    ] {
        let got = get(error_for(code, Some(3)), PLACE);
        let heading = got.page().split("<h1>").nth(1).expect("a heading").split("</p>").next().expect("what happened");
        assert_eq!(heading.to_lowercase().contains("weather service"), is_upstream, "{heading}");
        assert!(is_upstream || heading.contains("roducer"), "{heading}");
    }
    for (message, says) in [
        (Report::STALE, "The weather service has given no newer report."),
        (Report::UNREACHABLE, "No producer on this network answered."),
    ] {
        let stale = Report { source: Source::Stale, age_s: Some(7300), message: message.into(), ..report() };
        let got = get(Ok(stale), PLACE);
        assert_eq!(got.page().matches(says).count(), 1, "{message}");
        assert_eq!(got.page().contains("roducer on this network"), message == Report::UNREACHABLE);
    }
}

#[test]
fn an_unknown_place_can_be_corrected_where_it_is_said() {
    let got = get(error(Code::UnknownPlace), PLACE);
    assert!(got.page().contains("value=\"70569\"") && got.page().contains("70569, Germany"));
}

#[test]
fn a_question_the_producer_finds_wrong_goes_back_into_the_form() {
    for (code, field) in [(Code::InvalidZip, "zip"), (Code::InvalidCountry, "country")] {
        let got = get(error(code), PLACE);
        assert_eq!(got.status(), 400);
        assert!(got.page().contains(&format!("<a href=\"#{field}\">what the producer said</a>")));
    }
}

#[test]
fn the_same_as_json_keeps_the_contract() {
    let api = format!("/api/weather{}", PLACE.trim_start_matches('/'));
    let got = get(Ok(report()), &api);
    assert_eq!(got.status(), 200);
    assert_eq!((got.header("age"), got.header("cache-control")), (Some("12"), Some("max-age=600")));
    assert!(got.header("server-timing").is_some_and(|value| value.starts_with("producer;dur=")));
    assert_eq!((&got.json()["city"], &got.json()["temperature_c"]), (&"Büsnau".into(), &3.37.into()));

    let stale = Report { source: Source::Stale, message: Report::UNREACHABLE.into(), ..report() };
    let got = get(Ok(stale), &api);
    assert_eq!((got.header("cache-control"), &got.json()["source"]), (Some("no-store"), &"stale".into()));

    let got = get(Ok(Report::empty()), &api);
    assert_eq!((got.status(), got.header("age"), got.header("cache-control")), (200, None, Some("no-store")));
    assert!(got.json()["temperature_c"].is_null());
}

#[test]
fn errors_as_json_keep_the_contract() {
    for (code, name, status, wait) in [
        (Code::UnknownPlace, "unknown_place", 404, None),
        (Code::RateLimited, "rate_limited", 429, Some(60)),
        (Code::UpstreamRejected, "upstream_rejected", 502, None),
        (Code::UpstreamUnavailable, "upstream_unavailable", 502, Some(3)),
        (Code::UpstreamTimeout, "upstream_timeout", 504, Some(1)),
        (Code::Overloaded, "overloaded", 503, Some(1)),
        (Code::Starting, "starting", 503, Some(1)),
        (Code::Unavailable, "unavailable", 503, Some(2)),
    ] {
        let got = get(error_for(code, wait), "/api/weather?zip=70569&country=DE");
        let header = wait.map(|seconds| seconds.to_string());
        assert_eq!((got.status(), got.header("retry-after")), (status, header.as_deref()), "{name}");
        assert_eq!(got.json()["error"].get("retry_after_s").and_then(|wait| wait.as_u64()), wait, "{name}");
        assert_eq!(got.json()["error"]["code"], name);
        assert_eq!(got.json()["error"]["message"], "what the producer said");
        assert_eq!(got.header("cache-control"), Some("no-store"));
    }
    for (query, name) in [("", "invalid_zip"), ("?zip=", "invalid_zip"), ("?zip=1&country=XX", "invalid_country")] {
        let got = get(Ok(report()), &format!("/api/weather{query}"));
        assert_eq!((got.status(), &got.json()["error"]["code"]), (400, &name.into()), "{query}");
    }
}

#[test]
fn a_caller_in_a_hurry_shortens_the_deadline() {
    let fake = fake(Ok(report()));
    for value in ["200", "999999", "soon", "-1"] {
        send(&fake, Method::Get, PLACE, &[("x-envoy-expected-rq-timeout-ms", value)]);
    }
    let asked = fake.asked.lock().expect("no panic while locked");
    let left: Vec<_> = asked.iter().map(|(_, left)| *left).collect();
    let (short, full) = (Duration::from_millis(200), Settings::default().call_timeout);
    assert!(left[0] <= short, "{left:?}");
    assert!(left[1..].iter().all(|left| *left > short && *left <= full), "{left:?}");
}

#[test]
fn the_stylesheet_is_fetched_once() {
    let fake = fake(Ok(report()));
    for asset in [bramble_look::asset::STYLE, bramble_look::asset::FAVICON] {
        let got = send(&fake, Method::Get, &asset.href(), &[]);
        assert_eq!(got.status(), 200);
        assert_eq!(got.header("cache-control"), Some("public, max-age=31536000, immutable"));
        let tag = got.header("etag").expect("a tag").to_owned();
        let again = send(&fake, Method::Get, &asset.href(), &[("if-none-match", &tag)]);
        assert_eq!((again.status(), again.body.as_str()), (304, ""));
        let other = send(&fake, Method::Get, &format!("{}?v=old", asset.path), &[("if-none-match", "\"old\"")]);
        assert_eq!((other.status(), other.header("cache-control")), (200, Some("no-cache")));
        let page = send(&fake, Method::Get, "/", &[]);
        assert!(page.body.contains(&asset.href()));
    }
}

#[test]
fn the_stylesheet_takes_nothing_from_outside() {
    let got = get(Ok(report()), "/style.css");
    assert_eq!(got.header("content-type"), Some("text/css;charset=utf-8"));
    assert!(!got.body.contains("url(") && !got.body.contains("@import"));
    assert_eq!(get(Ok(report()), "/favicon.svg").header("content-type"), Some("image/svg+xml"));
}

#[test]
fn the_policy_allows_nothing_inline_and_no_frame() {
    let got = get(Ok(report()), "/");
    let policy = got.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn an_unknown_path_and_a_wrong_method_have_pages_too() {
    let fake = fake(Ok(report()));
    let got = send(&fake, Method::Get, "/nowhere/%3Cb%3E?zip=70569", &[]);
    assert_eq!(got.status(), 404);
    assert!(got.page().contains("<h1>Page not found</h1>"));
    for method in [Method::Post, Method::Put, Method::Delete, Method::Options] {
        let got = send(&fake, method, "/", &[]);
        assert_eq!((got.status(), got.header("allow")), (405, Some("GET, HEAD")), "{method}");
        got.page();
    }
    assert_eq!(send(&fake, Method::Head, PLACE, &[]).status(), 200);
}

#[test]
fn an_unknown_path_and_a_wrong_method_are_json_where_programs_ask() {
    let fake = fake(Ok(report()));
    let got = send(&fake, Method::Get, "/api/nowhere", &[]);
    assert_eq!((got.status(), &got.json()["error"]["code"]), (404, &"not_found".into()));
    for path in ["/api/weather", "/api/weather?zip=70569&country=DE"] {
        let got = send(&fake, Method::Post, path, &[]);
        assert_eq!((got.status(), got.header("allow")), (405, Some("GET, HEAD")), "{path}");
        assert_eq!(got.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(got.json()["error"]["code"], "method_not_allowed", "{path}");
    }
}
