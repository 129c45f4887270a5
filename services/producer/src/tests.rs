//! The service from its route to the edge of the network, against a weather API in memory.

mod fake;
mod fetch;
mod held;

use std::time::{Duration, Instant};

use bramble::call::Fallback;
use bramble::operation::Rejection;
use bramble_weather::{ApiError, Code, Query, Report, Source};
use proptest::prelude::*;
use smol::future::poll_once;
use surf::http::{Method, Request, Response};

use crate::routes::question;
use crate::weather::Weather;
use fake::{BAD_KEY, Behaviour, Bench, KEY, NOT_FOUND, OK, config, lines, listen, producer};

const GOOD: Behaviour = Behaviour::Answer(200, OK);
const DOWN: Behaviour = Behaviour::Answer(503, "");

fn header(response: &Response, name: &str) -> String {
    response.header(name).map(|values| values.last().to_string()).unwrap_or_default()
}

fn code(result: Result<Report, ApiError>) -> Code {
    result.expect_err("no report").code
}

/// The error in the body.
async fn error_of(response: &mut Response) -> ApiError {
    let body = response.body_bytes().await.expect("a body");
    let rejection = Rejection::read(response.status().into(), &body, None).expect("an error");
    ApiError::of(&rejection).expect("one of the contract")
}

#[test]
fn a_question_goes_upstream_as_the_api_documents_it() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.ask("70569", 0).await.expect("a report");
        let query = Query::parse("sw1a 1aa", Some("gb")).expect("a question");
        bench.weather.report(&query, Instant::now() + Duration::from_secs(1)).await.expect("a report");
        assert_eq!(
            bench.asked(),
            [
                format!(
                    "https://api.openweathermap.org/data/2.5/weather?zip=70569,DE&units=metric&lang=en&appid={KEY}"
                ),
                format!(
                    "https://api.openweathermap.org/data/2.5/weather?zip=SW1A%201AA,GB&units=metric&lang=en&appid={KEY}"
                ),
            ]
        );
    });
}

#[test]
fn a_report_says_where_it_comes_from_and_how_old_it_is() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        let live = bench.ask("70569", 0).await.expect("a report");
        assert_eq!((live.source, live.message.as_str(), live.age_s), (Source::Live, "OK", Some(0)));
        assert_eq!((live.zip.as_deref(), live.country.as_deref()), (Some("70569"), Some("DE")));
        assert_eq!((live.city.as_deref(), live.temperature_c, live.wind_mps), (Some("Büsnau"), Some(3.37), None));
        assert_eq!(live.served_by.as_deref(), Some("producer-1"));
        assert_eq!(live.fetched_at, Some(bench.start.wall));
        assert_eq!(live.observed_at, Some(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));

        let cached = bench.ask("70569", 599).await.expect("a report");
        assert_eq!((cached.source, cached.message.as_str(), cached.age_s), (Source::Cache, "OK", Some(599)));
        assert_eq!(cached.fetched_at, live.fetched_at);

        bench.does(DOWN);
        let stale = bench.ask("70569", 3600).await.expect("a report");
        assert_eq!((stale.source, stale.message.as_str(), stale.age_s), (Source::Stale, Report::STALE, Some(3600)));
        assert_eq!(
            code(bench.ask("70569", 600 + 86_400).await),
            Code::UpstreamUnavailable,
            "older than stale_if_error"
        );
    });
}

#[test]
fn one_place_makes_one_call_in_each_fresh_for() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        for second in 0..1200 {
            bench.ask("70569", second).await.expect("a report");
            smol::future::yield_now().await;
            smol::future::yield_now().await;
        }
        assert_eq!(bench.calls(), 2);
    });
}

/// A file that says that the clock is a guess.
fn clock_unset(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("bramble-producer-clock-{name}-{}", std::process::id()));
    std::fs::write(&path, "").expect("a temporary file");
    path
}

#[test]
fn until_the_time_is_known_the_weather_api_is_not_asked_over_tls_and_the_answer_says_why() {
    let unset = clock_unset("tls");
    let bench = Bench::with_clock(GOOD, &config(), Some(unset.clone()));
    bench.run(async {
        for second in 0..60 {
            let refusal = bench.ask("70569", second).await.expect_err("no report");
            assert_eq!(refusal.code, Code::Starting);
            assert!(refusal.message.contains("waiting for the time"), "{}", refusal.message);
            assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
        }
        let response = bench.get("/weather?zip=70569&country=DE").await;
        assert_eq!((u16::from(response.status()), header(&response, "retry-after").as_str()), (503, "1"));
        assert_eq!((bench.calls(), bench.weather.counts().upstream.held_back), (0, 61));
        let cautions = bramble::telemetry::Collect::cautions(&*bench.weather);
        assert!(cautions.iter().any(|(what, _)| *what == "time"), "{cautions:?}");
        std::fs::remove_file(unset).expect("own file");
        let live = bench.ask("70569", 60).await.expect("no circuit has opened and nothing was remembered");
        assert_eq!((live.source, live.age_s), (Source::Live, Some(0)));
    });
}

#[test]
fn until_the_time_is_known_ages_are_unknown() {
    let unset = clock_unset("ages");
    let mut config = config();
    producer(&mut config).upstream = "http://192.168.0.2:8080".parse().expect("private");
    let bench = Bench::with_clock(GOOD, &config, Some(unset.clone()));
    bench.run(async {
        let report = bench.ask("70569", 0).await.expect("without TLS no time is needed");
        assert_eq!((report.source, report.temperature_c), (Source::Live, Some(3.37)));
        assert_eq!((report.age_s, report.fetched_at, report.observed_at), (None, None, None));
        std::fs::remove_file(unset).expect("own file");
        let report = bench.ask("70569", 7).await.expect("a report");
        assert_eq!((report.source, report.age_s), (Source::Cache, Some(7)));
        assert!(report.observed_at.is_some());
    });
}

#[test]
fn equal_questions_at_once_make_one_call_and_share_its_error() {
    let bench = Bench::new(DOWN);
    bench.run(async {
        let mut asking: Vec<_> = (0..20).map(|_| Box::pin(bench.ask("70569", 0))).collect();
        for asking in &mut asking {
            assert!(poll_once(asking).await.is_none());
        }
        for asking in asking {
            assert_eq!(code(asking.await), Code::UpstreamUnavailable);
        }
        assert_eq!(bench.calls(), 1);
    });
}

#[test]
fn a_failing_place_is_asked_for_once_a_second_and_an_unknown_one_once_a_minute() {
    let bench = Bench::new(DOWN);
    bench.run(async {
        for _ in 0..10 {
            assert_eq!(code(bench.ask("70569", 0).await), Code::UpstreamUnavailable);
        }
        assert_eq!(bench.calls(), 1);
        bench.does(Behaviour::Answer(404, NOT_FOUND));
        assert_eq!(code(bench.ask("70569", 2).await), Code::UnknownPlace);
        for second in 2..60 {
            assert_eq!(code(bench.ask("70569", second).await), Code::UnknownPlace);
        }
        assert_eq!(bench.calls(), 2);
        bench.does(GOOD);
        assert_eq!(bench.ask("70569", 65).await.expect("a report").source, Source::Live);
    });
}

#[test]
fn a_stale_report_never_stands_in_for_an_unknown_place() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.ask("70569", 0).await.expect("a report");
        bench.does(Behaviour::Answer(404, NOT_FOUND));
        assert_eq!(code(bench.ask("70569", 700).await), Code::UnknownPlace);
        bench.does(Behaviour::Answer(400, r#"{"cod":"400","message":"invalid zip code"}"#));
        assert_eq!(code(bench.ask("70569", 800).await), Code::InvalidZip);
    });
}

#[test]
fn a_refused_key_stops_all_calls_but_one_in_thirty_seconds_and_says_so_once() {
    listen();
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.ask("70569", 0).await.expect("a report");
        bench.does(Behaviour::Answer(401, BAD_KEY));
        for second in 700..760 {
            for zip in ["1", "2", "3"] {
                assert_eq!(code(bench.ask(zip, second).await), Code::UpstreamRejected);
            }
        }
        assert_eq!(bench.calls(), 1 + 2);
        assert_eq!(bench.ask("70569", 760).await.expect("a report").source, Source::Stale);
        let said: Vec<_> = lines().into_iter().filter(|line| line.starts_with("ERROR")).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said.iter().all(|line| line.contains("api_key_file")), "{said:?}");
        bench.does(GOOD);
        assert_eq!(bench.ask("1", 800).await.expect("a report").source, Source::Live);
        assert_eq!(bench.ask("2", 800).await.expect("a report").source, Source::Live);
        let counts = bench.weather.counts().upstream;
        assert_eq!((counts.answered, counts.rejected), (3, 3));
        assert_eq!(counts.held_back, 181 - 3);
    });
}

#[test]
fn a_limit_is_kept_for_as_long_as_upstream_says() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.ask("70569", 0).await.expect("a report");
        bench.does(Behaviour::Limit("40"));
        let refusal = bench.ask("1", 700).await.expect_err("limited");
        assert_eq!((refusal.code, refusal.retry_after), (Code::RateLimited, Some(Duration::from_secs(40))));
        let refusal = bench.ask("2", 710).await.expect_err("limited");
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
        assert_eq!(bench.ask("70569", 720).await.expect("a report").source, Source::Stale);
        assert_eq!(bench.calls(), 2);
        bench.does(GOOD);
        assert_eq!(bench.ask("2", 740).await.expect("a report").source, Source::Live);
    });
}

/// The one circuit that `/circuits` shows.
fn circuit(bench: &Bench) -> serde_json::Value {
    use bramble::telemetry::Collect as _;
    let mut circuits = bench.weather.circuits();
    assert_eq!(circuits.len(), 1);
    let circuit = circuits.remove(0);
    assert_eq!(circuit["service"], "upstream");
    circuit["endpoints"][0].clone()
}

#[test]
fn after_ten_failures_in_a_row_no_call_goes_out_until_the_circuit_is_tried_again() {
    listen();
    for does in [
        DOWN,
        Behaviour::Fail,
        Behaviour::Answer(200, "<html>"),
        Behaviour::Answer(200, r#"{"cod":500,"message":"x"}"#),
    ] {
        let bench = Bench::new(GOOD);
        bench.run(async {
            bench.ask("70569", 0).await.expect("a report");
            bench.does(does);
            for zip in 1..=20 {
                assert_eq!(code(bench.ask(&zip.to_string(), 700).await), Code::UpstreamUnavailable, "{does:?}");
            }
            assert_eq!(bench.calls(), 1 + 10, "{does:?}");
            assert_eq!(bench.weather.counts().upstream.held_back, 10, "{does:?}");
            assert_eq!(bench.ask("70569", 701).await.expect("kept").source, Source::Stale, "stale stands in");
            let refusal = bench.ask("21", 701).await.expect_err("nothing is known");
            let wait = refusal.retry_after.expect("the time of the next probe is known");
            assert!(wait > Duration::from_secs(1) && wait <= Duration::from_secs(3), "{wait:?}");
            let shown = circuit(&bench);
            assert_eq!((&shown["state"], &shown["id"]), (&"open".into(), &"api.openweathermap.org".into()), "{shown}");
            assert_eq!(shown["reason"], "10 consecutive failures");
            use bramble::telemetry::{Collect as _, Event};
            let commands = bench.weather.commands(Instant::now());
            let [streamed] = &commands[..] else { panic!("{commands:?}") };
            assert!(streamed.is_open() && streamed.in_flight == 0, "{streamed:?}");
            let total = streamed.statistics.total;
            assert_eq!([total[Event::Success], total[Event::Failure], total[Event::ShortCircuited]], [1, 10, 12]);
            assert_eq!([total[Event::FallbackSuccess], total[Event::FallbackFailure]], [1, 21], "one of 22 was kept");

            bench.ask("22", 702).await.expect_err("a moment too early");
            bench.does(GOOD);
            assert_eq!(bench.ask("22", 704).await.expect("the probe").source, Source::Live, "refusals are forgotten");
            assert_eq!(circuit(&bench)["state"], "closed");
            for zip in 23..=60 {
                let report = bench.ask(&zip.to_string(), 704).await.expect("no call is refused for the sake of a ramp");
                assert_eq!(report.source, Source::Live);
            }
        });
    }
    let said: Vec<_> = lines().into_iter().filter(|line| line.contains("circuit of the weather API")).collect();
    let expected = [
        "WARN circuit of the weather API: open for 3 s (10 consecutive failures)",
        "INFO circuit of the weather API: half-open, a trial call is made",
        "INFO circuit of the weather API: closed",
    ];
    assert_eq!(said.len(), 4 * expected.len(), "{said:?}");
    assert!(said.chunks(expected.len()).all(|round| round == expected), "{said:?}");
}

#[test]
fn a_refused_connection_opens_the_circuit_at_once() {
    let unused = std::net::TcpListener::bind("127.0.0.98:0").expect("a free port").local_addr().expect("bound");
    let mut config = config();
    producer(&mut config).upstream = format!("http://{unused}").parse().expect("loopback");
    let executor = std::sync::Arc::new(smol::Executor::new());
    let weather =
        Weather::new(&config, bramble::client::outside(), std::sync::Arc::clone(&executor), "x").expect("valid");
    std::fs::remove_file(producer(&mut config).api_key_file.take().expect("a key")).expect("own file");
    let query = Query::parse("70569", Some("DE")).expect("a question");
    let asked = weather.report(&query, Instant::now() + Duration::from_secs(10));
    assert_eq!(code(smol::block_on(executor.run(asked))), Code::UpstreamUnavailable);
    let shown = weather.circuit();
    let shown = &shown["endpoints"][0];
    assert_eq!((&shown["state"], &shown["reason"]), (&"open".into(), &"connection refused".into()), "{shown}");
}

#[test]
fn a_weather_api_that_hangs_opens_the_circuit_and_then_costs_no_time() {
    let mut config = config();
    producer(&mut config).fetch_timeout = Duration::from_millis(20);
    let bench = Bench::with(Behaviour::Hang, &config);
    bench.run(async {
        for zip in 1..=10 {
            assert_eq!(code(bench.ask(&zip.to_string(), 0).await), Code::UpstreamTimeout);
        }
        assert_eq!(code(bench.ask("11", 0).await), Code::UpstreamUnavailable);
        assert_eq!(bench.calls(), 10);
    });
}

#[test]
fn unknown_places_bad_questions_and_a_refused_key_are_no_fault_of_the_weather_api() {
    for does in [
        Behaviour::Answer(404, NOT_FOUND),
        Behaviour::Answer(400, r#"{"cod":"400","message":"invalid zip code"}"#),
        Behaviour::Answer(401, BAD_KEY),
    ] {
        let bench = Bench::new(does);
        bench.run(async {
            for zip in 1..=50 {
                bench.ask(&zip.to_string(), zip * 31).await.expect_err("no report");
            }
            assert_eq!(circuit(&bench)["state"], "closed", "{does:?}");
            assert_eq!(bench.calls(), 50, "{does:?}");
        });
    }
}

#[test]
fn a_call_under_way_is_shown_and_knows_its_deadline() {
    let mut config = config();
    producer(&mut config).fetch_timeout = Duration::from_millis(50);
    let bench = Bench::with(Behaviour::Hang, &config);
    bench.run(async {
        let mut asking = Box::pin(bench.ask("1", 0));
        while bench.calls() == 0 {
            assert!(poll_once(&mut asking).await.is_none());
            smol::future::yield_now().await;
        }
        assert_eq!(circuit(&bench)["in_flight"], 1);
        asking.await.expect_err("it hangs");
        assert_eq!(circuit(&bench)["in_flight"], 0);
        let given = bench.deadlines();
        assert!(given.iter().all(|left| left.is_some_and(|left| left <= Duration::from_millis(50))), "{given:?}");
    });
}

#[test]
fn the_fallback_is_a_choice() {
    for (fallback, source) in [
        (Fallback::Stale, Some(Source::Stale)),
        (Fallback::FailSilent, Some(Source::Empty)),
        (Fallback::FailFast, None),
    ] {
        let mut config = config();
        config.call.fallback = fallback;
        let bench = Bench::with(GOOD, &config);
        bench.run(async {
            bench.ask("70569", 0).await.expect("a report");
            bench.does(DOWN);
            let report = bench.ask("70569", 700).await.ok();
            assert_eq!(report.as_ref().map(|report| report.source), source, "{fallback:?}");
            if fallback == Fallback::FailSilent {
                assert_eq!(report, Some(Report::empty()), "every value is null");
            }
            bench.does(Behaviour::Answer(404, NOT_FOUND));
            assert_eq!(code(bench.ask("1", 700).await), Code::UnknownPlace, "{fallback:?}");
            bench.does(GOOD);
            let again = bench.ask("70569", 710).await.expect("a report");
            assert_eq!(again.source, Source::Live, "an empty answer replaced nothing");
        });
    }
}

#[test]
fn a_caller_without_time_gets_what_is_there_and_the_call_goes_on_for_the_next() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        let query = Query::parse("70569", Some("DE")).expect("a question");
        let hurried = |seconds: u64, left: u64| {
            let deadline = Instant::now() + Duration::from_millis(left);
            bench.weather.report_at(&query, bench.at(seconds), deadline)
        };
        assert_eq!(code(hurried(0, 0).await), Code::UpstreamTimeout);
        assert_eq!(bench.calls(), 0, "nothing is asked for a caller without time");
        bench.ask("70569", 0).await.expect("a report");
        assert_eq!(hurried(1, 0).await.expect("cached").source, Source::Cache);
        bench.does(Behaviour::Hang);
        assert_eq!(hurried(700, 10).await.expect("kept").source, Source::Stale);
        let other = Query::parse("1", None).expect("a question");
        let soon = Instant::now() + Duration::from_millis(10);
        assert_eq!(code(bench.weather.report(&other, soon).await), Code::UpstreamTimeout);
    });
}

#[test]
fn an_upstream_that_hangs_is_given_up() {
    let mut config = config();
    producer(&mut config).fetch_timeout = Duration::from_millis(20);
    let bench = Bench::with(Behaviour::Hang, &config);
    bench.run(async {
        assert_eq!(code(bench.ask("70569", 0).await), Code::UpstreamTimeout);
        assert_eq!(bench.weather.counts().upstream.timed_out, 1);
    });
}

#[test]
fn the_route_answers_as_the_contract_says() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        let mut response = bench.get("/weather?zip=70569&country=de").await;
        assert_eq!(u16::from(response.status()), 200);
        assert_eq!(header(&response, "content-type"), "application/json");
        assert_eq!(header(&response, "age"), "0");
        assert_eq!(header(&response, "cache-control"), "max-age=600");
        assert!(header(&response, "server-timing").starts_with("weather;desc=\"live\";dur="));
        let report: Report = response.body_json().await.expect("a report");
        assert_eq!((report.source, report.zip.as_deref()), (Source::Live, Some("70569")));

        for (target, status, expected) in [
            ("/weather", 400, Code::InvalidZip),
            ("/weather?zip=&country=DE", 400, Code::InvalidZip),
            ("/weather?zip=%3Cb%3E", 400, Code::InvalidZip),
            ("/weather?zip=1&zip=2", 400, Code::InvalidZip),
            ("/weather?zip=1&country=Germany", 400, Code::InvalidCountry),
            ("/weather?zip=1&country=DE&country=DE", 400, Code::InvalidCountry),
        ] {
            let mut response = bench.get(target).await;
            assert_eq!(u16::from(response.status()), status, "{target}");
            assert_eq!(header(&response, "cache-control"), "no-store", "{target}");
            assert_eq!(error_of(&mut response).await.code, expected, "{target}");
        }
        assert_eq!(bench.calls(), 1, "a wrong question is not passed on");
    });
}

#[test]
fn each_error_has_its_status_and_the_passing_ones_a_time_to_wait() {
    for (does, status, expected, wait) in [
        (Behaviour::Answer(404, NOT_FOUND), 404, Code::UnknownPlace, ""),
        (Behaviour::Limit("7"), 502, Code::RateLimited, "7"),
        (Behaviour::Limit("soon"), 502, Code::RateLimited, "60"),
        (Behaviour::Limit("99999"), 502, Code::RateLimited, "600"),
        (Behaviour::Answer(401, BAD_KEY), 502, Code::UpstreamRejected, ""),
        (DOWN, 502, Code::UpstreamUnavailable, "1"),
        (Behaviour::Answer(200, "<html>"), 502, Code::UpstreamUnavailable, "1"),
        (Behaviour::Fail, 502, Code::UpstreamUnavailable, "1"),
    ] {
        let bench = Bench::new(does);
        bench.run(async {
            let mut response = bench.get("/weather?zip=70569").await;
            assert_eq!(u16::from(response.status()), status, "{does:?}");
            assert_eq!(header(&response, "retry-after"), wait, "{does:?}");
            assert_eq!(error_of(&mut response).await.code, expected, "{does:?}");
        });
    }
}

#[test]
fn only_get_and_head_are_answered() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        for method in [Method::Post, Method::Put, Method::Delete, Method::Options, Method::Patch] {
            let mut response = bench.send(Request::new(method, "http://producer/weather?zip=70569")).await;
            assert_eq!(u16::from(response.status()), 405, "{method}");
            assert_eq!(header(&response, "allow"), "GET, HEAD");
            assert!(response.body_string().await.expect("a body").contains("method_not_allowed"));
        }
        assert_eq!(bench.calls(), 0);
        let head = bench.send(Request::new(Method::Head, "http://producer/weather?zip=70569")).await;
        assert_eq!(u16::from(head.status()), 200);
    });
}

#[test]
fn the_service_works_no_longer_than_its_caller_waits() {
    let mut config = config();
    config.call.timeout = Duration::from_millis(300);
    let bench = Bench::with(Behaviour::Hang, &config);
    bench.run(async {
        for (left, at_most) in [("0", 200), ("50", 200), ("-1", 1100), ("soon", 1100), ("99999999999999999999", 1100)] {
            let mut request = Request::get("http://producer/weather?zip=70569");
            request.insert_header("x-envoy-expected-rq-timeout-ms", left);
            let started = Instant::now();
            let response = bench.send(request).await;
            assert_eq!(u16::from(response.status()), 504, "{left}");
            assert!(started.elapsed() < Duration::from_millis(at_most), "{left}: {:?}", started.elapsed());
        }
    });
}

#[test]
fn the_key_shows_nowhere() {
    listen();
    let mut shown = Vec::new();
    for does in [
        GOOD,
        DOWN,
        Behaviour::Fail,
        Behaviour::Limit("1"),
        Behaviour::Answer(401, BAD_KEY),
        Behaviour::Answer(401, "Invalid key 0123456789abcdef0123456789abcdef"),
        Behaviour::Answer(200, "garbage 0123456789abcdef0123456789abcdef"),
    ] {
        let bench = Bench::new(does);
        bench.run(async {
            let mut response = bench.get("/weather?zip=70569").await;
            shown.push(format!("{response:?} {}", response.body_string().await.expect("a body")));
            let outcome = bench.ask("1", 100).await;
            shown.push(format!("{outcome:?} {:?} {:#?} {:?}", bench.weather, bench.weather, bench.weather.counts()));
            assert!(bench.asked().iter().all(|url| url.contains(KEY)), "the test tests something");
        });
    }
    assert!(lines().iter().any(|line| line.contains("no route to") && line.contains("appid=***")), "{:?}", lines());
    for text in shown.iter().chain(&lines()) {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[test]
fn a_trace_is_named_in_the_log_unless_it_is_none() {
    listen();
    let bench = Bench::new(GOOD);
    bench.run(async {
        for trace in ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "evil trace"] {
            let mut request = Request::get("http://producer/weather?zip=70569");
            request.insert_header("traceparent", trace);
            bench.send(request).await;
        }
    });
    let lines = lines();
    assert!(lines.iter().any(|line| line.ends_with("trace 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")));
    assert!(lines.iter().any(|line| line.ends_with("trace -")));
    assert!(lines.iter().all(|line| line.starts_with("DEBUG") || line.starts_with("TRACE")), "{lines:?}");
}

#[test]
fn without_a_key_the_service_does_not_start() {
    let start = |config: &bramble::Config| {
        let client = surf::Client::with_http_client(tide::new());
        Weather::new(config, client, std::sync::Arc::default(), "x").map(|_| ()).map_err(|error| error.to_string())
    };
    let mut config = config();
    let file = producer(&mut config).api_key_file.take().expect("a key");
    assert!(start(&config).expect_err("no key").contains("/etc/bramble/api.key"));
    std::fs::remove_file(file).expect("own file");
}

#[test]
fn a_query_string_is_read_as_forms_write_it() {
    for (text, zip, country) in [
        ("zip=70569&country=DE", "70569", "DE"),
        ("country=gb&zip=sw1a+1aa", "SW1A 1AA", "GB"),
        ("zip=SW1A%201AA&country=GB", "SW1A 1AA", "GB"),
        ("zip=28105", "28105", "US"),
        ("zip=28105&country=", "28105", "US"),
        ("&&zip=28105&unknown=1&unknown=2&=&x", "28105", "US"),
        ("z%69p=28105", "28105", "US"),
    ] {
        let query = question(text).expect("a question");
        assert_eq!((query.zip.as_str(), query.country.as_str()), (zip, country), "{text}");
    }
    for text in ["", "zip", "zip=%", "zip=%7", "zip=%zz", "zip=%00", "zip=%ff%fe", "zip=+", "ZIP=1"] {
        assert_eq!(question(text).expect_err("no question").code, Code::InvalidZip, "{text}");
    }
    let both = question("zip=&country=x").expect_err("both are wrong");
    assert!(both.message.contains("postal code") && both.message.contains("country"), "{both}");
}

proptest! {
    #[test]
    fn no_query_string_makes_it_panic(text in "(zip|country|%7a|[&=+%]|\\PC){0,40}") {
        let _ = question(&text);
    }

    #[test]
    fn every_question_survives_its_own_path(zip in "[A-Z0-9]{1,5}([ -][A-Z0-9]{1,5})?", country in "DE|GB|US|JP") {
        let query = Query::parse(&zip, Some(&country)).expect("a question");
        let path = query.to_path();
        prop_assert_eq!(question(path.split_once('?').expect("a query").1), Ok(query));
    }
}
