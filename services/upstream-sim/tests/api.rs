//! The stand-in as its client sees it, asked through tide without a socket.

#[path = "api/schema.rs"]
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bramble_upstream_sim::{Places, Settings, Sim, app};
use proptest::prelude::*;
use serde_json::Value;
use tide::Server;
use tide::http::{Method, Request, Response, Url};

const KEY: &str = "0123456789abcdef";
const LOCAL: &str = "127.0.0.1:40000";
const BUESNAU: &str = "/data/2.5/weather?zip=70569,DE&units=metric&appid=0123456789abcdef";
const MUNICH: &str = "/data/2.5/weather?zip=80331,DE&units=metric&appid=0123456789abcdef";

type App = Server<Arc<Sim>>;

/// A clock that stands still until it is told.
fn clock() -> (Arc<AtomicU64>, Settings) {
    let seconds = Arc::new(AtomicU64::new(1_763_733_725)); // 21 November 2025, 14:02:05 UTC
    let read = seconds.clone();
    let clock = Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(read.load(Ordering::Relaxed)));
    (seconds, Settings { keys: vec!["other".into(), KEY.into()], seed: Some(7), clock, ..Settings::default() })
}

fn sim() -> App {
    app(clock().1)
}

async fn ask_from(app: &App, peer: Option<&str>, method: Method, path: &str, body: &str) -> (u16, String, Response) {
    let url = Url::parse("http://localhost").and_then(|url| url.join(path)).expect("a path");
    let mut request = Request::new(method, url);
    request.set_peer_addr(peer);
    request.set_body(body);
    let mut response: Response = app.respond(request).await.expect("tide answers");
    let text = response.body_string().await.expect("text");
    (response.status().into(), text, response)
}

fn ask(app: &App, method: Method, path: &str, body: &str) -> (u16, String) {
    let (status, text, _) = smol::block_on(ask_from(app, Some(LOCAL), method, path, body));
    (status, text)
}

fn get(app: &App, path: &str) -> (u16, String) {
    ask(app, Method::Get, path, "")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Asks for a postal code and reads the body.
fn weather(app: &App, query: &str) -> Value {
    let (status, text) = get(app, &format!("/data/2.5/weather?appid={KEY}&{query}"));
    assert_eq!(status, 200, "{query}: {text}");
    json(&text)
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

#[test]
fn bodies_have_the_keys_types_and_order_of_captured_ones() {
    let (seconds, settings) = clock();
    let app = app(settings);
    let places = Places::embedded();
    let (mut rained, mut snowed) = (false, false);
    for (step, place) in (0_u64..).zip(places.all()) {
        seconds.store(1_736_899_200 + step * 14_000, Ordering::Relaxed); // a year in the course of the table
        let query = format!("zip={},{}", place.zip(), place.country());
        let units = ["", "&units=metric", "&units=imperial"][step as usize % 3];
        let (status, text) = get(&app, &format!("/data/2.5/weather?{query}{units}&appid={KEY}"));
        assert_eq!(status, 200, "{query}");
        schema::check(&text);
        let body = json(&text);
        assert_eq!(body["base"], "simulated");
        assert_eq!((&body["name"], &body["sys"]["country"]), (&place.name().into(), &place.country().into()));
        rained |= body.get("rain").is_some();
        snowed |= body.get("snow").is_some();
    }
    assert!(rained && snowed, "both optional shapes were seen");
}

#[test]
fn the_same_question_has_the_same_bytes_for_ten_minutes() {
    let (seconds, settings) = clock();
    let app = app(settings);
    let first = get(&app, BUESNAU);
    assert_eq!(json(&first.1)["dt"], 1_763_733_600);
    seconds.fetch_add(400, Ordering::Relaxed);
    assert_eq!(get(&app, BUESNAU), first);
    seconds.fetch_add(600, Ordering::Relaxed);
    assert_ne!(get(&app, BUESNAU), first);
}

#[test]
fn a_place_is_found_by_postal_code_position_and_name() {
    let app = sim();
    let by_zip = weather(&app, "zip=70569,DE");
    assert_eq!(by_zip["name"], "Büsnau");
    for query in ["zip=%2070569%20,de", "lat=48.7421&lon=9.0919", "q=büsnau,de", "q=B%C3%BCsnau", "q=Büsnau,BW,DE"] {
        assert_eq!(weather(&app, query), by_zip, "{query}");
    }
    assert_eq!(weather(&app, "zip=70569,DE&zip=80331,DE"), by_zip, "of two the first counts");
    assert_eq!(weather(&app, "zip=sw1a1aa,GB")["name"], "London");
    assert_eq!(weather(&app, "zip=k1a+0b1,ca")["name"], "Ottawa");
    let places = Places::embedded();
    let american = places.all().iter().find(|place| place.country() == "US").expect("1,500 of them");
    assert_eq!(weather(&app, &format!("zip={}", american.zip()))["sys"]["country"], "US");
}

#[test]
fn units_are_kelvin_unless_asked_otherwise() {
    let app = sim();
    let read = |units: &str| {
        let body = weather(&app, &format!("zip=70569,DE{units}"));
        (number(&body, "/main/temp"), number(&body, "/wind/speed"))
    };
    let (kelvin, mps) = read("");
    let (celsius, same_mps) = read("&units=metric");
    let (fahrenheit, mph) = read("&units=imperial");
    assert!((kelvin - celsius - 273.15).abs() < 0.011, "{kelvin} {celsius}");
    assert!((fahrenheit - celsius * 1.8 - 32.0).abs() < 0.02, "{fahrenheit} {celsius}");
    assert!(mps == same_mps && (mph - mps * 2.236_94).abs() < 0.02, "{mph} {mps}");
    assert_eq!(read("&units=standard"), (kelvin, mps));
}

#[test]
fn descriptions_come_in_the_language_asked_for_or_in_english() {
    let app = sim();
    let read = |lang: &str| weather(&app, &format!("zip=70569,DE&lang={lang}"))["weather"][0].clone();
    let english = read("en");
    for lang in ["de", "fr", "es"] {
        assert_ne!(read(lang)["description"], english["description"], "{lang}");
        assert_eq!((&read(lang)["id"], &read(lang)["icon"]), (&english["id"], &english["icon"]));
    }
    assert_eq!(read("tlh"), english);
    assert_eq!(read(""), english);
}

#[test]
fn refusals_are_the_captured_ones_byte_for_byte() {
    let app = sim();
    let nothing = include_str!("fixtures/11-400-nothing-to-geocode.txt");
    let bad_key = include_str!("fixtures/01-401-invalid-key-http-link.txt");
    let no_city = include_str!("fixtures/05-404-city-not-found.txt");
    for (path, status, body) in [
        ("/data/2.5/weather?zip=70569,DE", 401, bad_key),
        ("/data/2.5/weather?zip=70569,DE&appid=", 401, bad_key),
        ("/data/2.5/weather?zip=70569,DE&appid=0123456789abcdeF", 401, bad_key),
        ("/data/2.5/weather?appid=wrong", 401, bad_key),
        ("/geo/1.0/zip?zip=70569,DE&appid=wrong", 401, bad_key),
        ("/data/2.5/weather?zip=99999,DE&appid=other", 404, no_city),
        ("/data/2.5/weather?zip=70569&appid=other", 404, no_city),
        ("/data/2.5/weather?zip=70569,DEU&appid=other", 404, no_city),
        ("/data/2.5/weather?q=Atlantis&appid=other", 404, no_city),
        ("/data/2.5/weather?appid=other", 400, nothing),
        ("/data/2.5/weather?zip=&appid=other", 400, nothing),
        ("/data/2.5/weather?q=&appid=other", 400, nothing),
        ("/geo/1.0/zip?q=Berlin&appid=other", 400, nothing),
        ("/data/2.5/weather?lat=1&lon=181&appid=other", 400, include_str!("fixtures/13-400-wrong-longitude.txt")),
        ("/data/2.5/weather?lat=1&lon=NaN&appid=other", 400, include_str!("fixtures/13-400-wrong-longitude.txt")),
        ("/data/2.5/weather?id=x&appid=other", 400, include_str!("fixtures/15-400-invalid-id.txt")),
        ("/geo/1.0/zip?zip=99999,DE&appid=other", 404, include_str!("fixtures/05-zip-404-not-found.json")),
        ("/data/2.5/weather?lat=-91&lon=1&appid=other", 400, r#"{"cod":"400","message":"wrong latitude"}"#),
    ] {
        assert_eq!(get(&app, path), (status, body.to_owned()), "{path}");
    }
}

#[test]
fn the_postal_code_lookup_answers_like_the_captured_one() {
    let (status, text) = get(&sim(), "/geo/1.0/zip?zip=sw1a1aa,gb&appid=other");
    let expected = r#"{"zip":"SW1A 1AA","name":"London","lat":51.501,"lon":-0.142,"country":"GB"}"#;
    assert_eq!((status, text.as_str()), (200, expected));
    let captured = include_str!("fixtures/03-zip-90210-beverly-hills.json");
    assert_eq!(schema::keys(expected), schema::keys(captured));
}

#[test]
fn answers_say_what_they_are() {
    smol::block_on(async {
        let app = sim();
        for path in [BUESNAU, "/data/2.5/weather"] {
            let (_, _, response) = ask_from(&app, None, Method::Get, path, "").await;
            let kind = response.header("content-type").map(|value| value.as_str().to_owned());
            assert_eq!(kind.as_deref(), Some("application/json; charset=utf-8"), "{path}");
        }
    });
}

#[test]
fn the_sixty_first_call_of_a_minute_is_refused_and_the_next_minute_is_free() {
    let (seconds, settings) = clock();
    let app = app(Settings { limit_per_minute: Some(60), ..settings });
    for call in 0..60 {
        assert_eq!(get(&app, BUESNAU).0, 200, "{call}");
    }
    let blocked = include_str!("fixtures/17-429-blocked-https.txt");
    assert_eq!(get(&app, BUESNAU), (429, blocked.to_owned()));
    assert_eq!(get(&app, "/geo/1.0/zip?zip=70569,DE&appid=other").0, 200, "another key has its own minute");
    assert_eq!(get(&app, "/data/2.5/weather?zip=70569,DE&appid=wrong").0, 401, "a wrong key is told so first");
    seconds.fetch_add(60, Ordering::Relaxed);
    assert_eq!(get(&app, BUESNAU).0, 200);
}

#[test]
fn calls_are_counted_by_result_and_place_and_stay_bounded() {
    let app = sim();
    get(&app, BUESNAU);
    get(&app, BUESNAU);
    get(&app, MUNICH);
    get(&app, "/data/2.5/weather?zip=70569,DE&appid=wrong");
    let counts = r#"{"total":4,"by_status":{"200":3,"401":1},"by_place":{"70569,DE":3,"80331,DE":1}}"#;
    assert_eq!(get(&app, "/sim/calls"), (200, counts.to_owned()));
    for strange in 0..5_000 {
        get(&app, &format!("/data/2.5/weather?zip=x{strange},DE&appid={KEY}"));
    }
    let text = get(&app, "/sim/calls").1;
    assert!(text.len() < counts.len() + 20, "{text}");
    assert_eq!(json(&text)["total"], 5_004);
    assert_eq!(json(&text)["by_status"]["404"], 5_000);
}

fn set(app: &App, faults: &str) {
    let (status, text) = ask(app, Method::Post, "/sim/faults", faults);
    assert_eq!(status, 200, "{text}");
}

#[test]
fn faults_are_set_shown_and_cleared() {
    let app = sim();
    let none = r#"{"latency":"0s","error_rate":0.0,"status":500,"hang":false,"garbage":false,"only":null}"#;
    assert_eq!(get(&app, "/sim/faults"), (200, none.to_owned()));
    let all =
        r#"{"latency":"800ms","error_rate":0.3,"status":503,"hang":true,"garbage":true,"only":"70569,DE"}"#.to_owned();
    assert_eq!(ask(&app, Method::Post, "/sim/faults", &all), (200, all.clone()));
    assert_eq!(get(&app, "/sim/faults"), (200, all.clone()));
    assert_eq!(ask(&app, Method::Post, "/sim/faults", r#"{"latency":"x","status":1}"#).0, 400);
    assert_eq!(get(&app, "/sim/faults"), (200, all), "a refused description changes nothing");
    assert_eq!(ask(&app, Method::Delete, "/sim/faults", ""), (200, none.to_owned()));
    assert_eq!(ask(&app, Method::Post, "/sim/faults", none), (200, none.to_owned()), "what is shown can be sent");
    assert_eq!(get(&app, BUESNAU).0, 200);
}

#[test]
fn every_mistake_in_a_description_is_named_at_once() {
    let (status, text) = ask(&sim(), Method::Post, "/sim/faults", r#"{"latency":"soon","error_rate":2,"hung":true}"#);
    assert_eq!(status, 400);
    let body = json(&text);
    let errors: Vec<_> = body["errors"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for key in ["latency: must be", "error_rate: must be", "hung: unknown"] {
        assert!(errors.iter().any(|error| error.starts_with(key)), "{key} in {errors:?}");
    }
    assert_eq!(ask(&sim(), Method::Post, "/sim/faults", &" ".repeat(5_000)).0, 413);
}

#[test]
fn an_error_rate_fails_about_that_share_with_that_status() {
    let app = sim();
    set(&app, r#"{"error_rate":0.3,"status":503}"#);
    let statuses: Vec<_> = (0..600).map(|_| get(&app, BUESNAU).0).collect();
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert!((130..230).contains(&failed), "{failed}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 600 - failed);
    let again = sim();
    set(&again, r#"{"error_rate":0.3,"status":503}"#);
    assert_eq!((0..600).map(|_| get(&again, BUESNAU).0).collect::<Vec<_>>(), statuses, "the same seed");
}

#[test]
fn a_status_that_upstream_has_comes_with_upstreams_body() {
    let app = sim();
    for (status, body) in [
        (401, include_str!("fixtures/01-401-invalid-key-http-link.txt")),
        (404, include_str!("fixtures/05-404-city-not-found.txt")),
        (429, include_str!("fixtures/17-429-blocked-https.txt")),
        (504, include_str!("fixtures/23-504-openresty-html-NOT-OWM.txt")),
        (500, r#"{"cod":500,"message":"Internal error"}"#),
    ] {
        set(&app, &format!(r#"{{"error_rate":1,"status":{status}}}"#));
        assert_eq!(get(&app, BUESNAU), (status, body.to_owned()));
    }
}

#[test]
fn garbage_is_a_gateways_page_under_success() {
    let app = sim();
    set(&app, r#"{"garbage":true}"#);
    smol::block_on(async {
        let (status, text, response) = ask_from(&app, None, Method::Get, BUESNAU, "").await;
        assert_eq!((status, text.as_str()), (200, include_str!("fixtures/23-504-openresty-html-NOT-OWM.txt")));
        assert!(response.header("content-type").is_some_and(|kind| kind.as_str().starts_with("text/html")));
    });
}

#[test]
fn latency_passes_before_the_answer_and_only_where_asked() {
    let app = sim();
    set(&app, r#"{"latency":"120ms","only":"70569,DE"}"#);
    let began = Instant::now();
    assert_eq!(get(&app, BUESNAU).0, 200);
    assert!(began.elapsed() >= Duration::from_millis(120));
    set(&app, r#"{"latency":"60s","only":"70569,DE"}"#);
    let began = Instant::now();
    assert_eq!(get(&app, MUNICH).0, 200);
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_call_that_hangs_is_counted_and_gives_no_answer_while_others_get_theirs() {
    let app = sim();
    set(&app, r#"{"hang":true,"only":"70569,DE"}"#);
    smol::block_on(async {
        let hung = async { Some(ask_from(&app, None, Method::Get, BUESNAU, "").await.0) };
        let patience = async {
            smol::Timer::after(Duration::from_millis(150)).await;
            None
        };
        assert_eq!(smol::future::or(hung, patience).await, None);
    });
    assert_eq!(get(&app, MUNICH).0, 200);
    let counts = json(&get(&app, "/sim/calls").1);
    assert_eq!((&counts["total"], &counts["by_place"]["70569,DE"]), (&2.into(), &1.into()));
    assert_eq!(counts["by_status"], serde_json::json!({"200": 1}));
}

#[test]
fn strangers_cannot_touch_the_switches_unless_allowed() {
    let (_, settings) = clock();
    let open = app(Settings { allow_remote_faults: true, ..settings });
    let closed = sim();
    let switches = [
        (Method::Get, "/sim/calls"),
        (Method::Get, "/sim/faults"),
        (Method::Post, "/sim/faults"),
        (Method::Delete, "/sim/faults"),
    ];
    smol::block_on(async {
        for (method, path) in switches {
            for peer in [Some("192.0.2.7:1234"), Some("[2001:db8::7]:1"), None] {
                assert_eq!(ask_from(&closed, peer, method, path, r#"{"hang":true}"#).await.0, 403, "{method} {path}");
                assert_eq!(ask_from(&open, peer, method, path, "{}").await.0, 200, "{method} {path}");
            }
            assert_eq!(ask_from(&closed, Some("[::1]:5"), method, path, "{}").await.0, 200, "{method} {path}");
        }
        let mut forged = Request::new(Method::Delete, Url::parse("http://localhost/sim/faults").expect("a URL"));
        forged.set_peer_addr(Some("192.0.2.7:1234"));
        forged.insert_header("forwarded", "for=127.0.0.1");
        forged.insert_header("x-forwarded-for", "127.0.0.1");
        let response: Response = closed.respond(forged).await.expect("tide answers");
        assert_eq!(response.status(), 403);
        assert_eq!(ask_from(&closed, Some("192.0.2.7:1"), Method::Get, BUESNAU, "").await.0, 200, "weather is for all");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_query_string_panics(tail in "\\PC{0,60}", key in "(zip|lat|lon|q|id|units|lang|appid|x)", raw in "[ -~]{0,60}") {
        thread_local!(static APP: App = sim());
        for query in [format!("{key}={tail}"), raw.clone(), format!("{key}={raw}&{key}={tail}"), format!("lat={raw}&lon={tail}")] {
            let path = format!("/data/2.5/weather?appid={KEY}&{}", query.replace('#', "%"));
            for path in [path.replace("data/2.5/weather", "geo/1.0/zip"), path] {
                let (status, text) = APP.with(|app| get(app, &path));
                prop_assert!([200, 400, 404].contains(&status), "{} {}", status, path);
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }

    #[test]
    fn no_description_of_faults_panics(body in "\\PC{0,80}", value in "[-0-9.eE\"a-z]{0,12}", key in "(latency|error_rate|status|hang|garbage|only|x)") {
        thread_local!(static APP: App = sim());
        for body in [body, format!("{{\"{key}\":{value}}}"), format!("{{\"{key}\":\"{value}\"}}")] {
            let (status, _) = APP.with(|app| ask(app, Method::Post, "/sim/faults", &body));
            prop_assert!([200, 400].contains(&status), "{} {}", status, body);
        }
    }
}
