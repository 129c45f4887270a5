//! The form between a real client and a producer of plain threads on loopback: what is shown of each of its answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

use bramble::config::Config;
use bramble::serve::Host;
use smol::Executor;

use super::*;

/// Answer of a server: status, more header lines, body.
type FixedAnswer = (u16, &'static str, String);

/// A producer that answers as it is told, until dropped.
struct FakeProducer {
    address: SocketAddr,
    says: Arc<Mutex<Option<FixedAnswer>>>,
}

impl FakeProducer {
    fn start(says: FixedAnswer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let fake = Self { address: listener.local_addr().expect("bound"), says: Arc::new(Mutex::new(Some(says))) };
        let says = Arc::clone(&fake.says);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(says) = says.lock().expect("no panic").clone() else { return };
                answer(stream, &says);
            }
        });
        fake
    }

    fn says(&self, says: FixedAnswer) {
        *self.says.lock().expect("no panic") = Some(says);
    }

    /// Closes the port; from then on connections to it are refused.
    fn stop(&self) {
        *self.says.lock().expect("no panic") = None;
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }
}

impl Drop for FakeProducer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, (status, headers, body): &FixedAnswer) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) && !line.ends_with("\r\n\r\n") {}
    let id = "x-bramble-id: producer-5f0c2a9be81d4477\r\nconnection: close\r\n";
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{id}{headers}\r\n", body.len());
    // The caller may have given up.
    let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
}

/// The form, and what drives it.
struct Bench {
    app: tide::Server<State>,
    executor: Arc<Executor<'static>>,
}

impl Bench {
    fn of(producer: &FakeProducer) -> Self {
        let executor = Arc::new(Executor::new());
        let mut config = Config::default();
        config.discovery.mdns = false;
        config.discovery.fixed = [("producer".to_owned(), vec![producer.address])].into();
        let host = Host::new(crate::SERVICE, config, Arc::clone(&executor)).expect("a host");
        let client = host.client();
        let producers = Producers::new(&host.config, client, Arc::clone(&executor));
        Self { app: app(Arc::new(producers), Settings::default()), executor }
    }

    fn get(&self, path: &str) -> PageResponse {
        let url = Url::parse(&format!("http://bramble.test{path}")).expect("an address");
        smol::block_on(self.executor.run(async {
            let mut response: Response = self.app.respond(Request::new(Method::Get, url)).await.expect("an answer");
            let body = response.body_string().await.expect("text");
            PageResponse { response, body }
        }))
    }

    fn json(&self) -> (u16, serde_json::Value) {
        let got = self.get("/api/weather?zip=70569&country=DE");
        (got.status(), got.json())
    }
}

fn good(report: &Report) -> FixedAnswer {
    (200, "", serde_json::to_string(report).expect("JSON"))
}

/// A report that was good two hours ago.
fn old_report() -> Report {
    Report { age_s: Some(7200), source: Source::Stale, message: Report::STALE.into(), ..report() }
}

fn error_body(status: u16, headers: &'static str, code: &str) -> FixedAnswer {
    (status, headers, format!(r#"{{"error":{{"code":"{code}","message":"what the producer said"}}}}"#))
}

/// Failures of the weather API as a producer answers them.
fn upstream_failures() -> [(FixedAnswer, u16, &'static str); 5] {
    [
        (error_body(502, "retry-after: 7\r\n", "rate_limited"), 429, "rate_limited"),
        (error_body(504, "", "not_cached"), 504, "upstream_timeout"),
        (error_body(502, "retry-after: 3\r\n", "upstream_unavailable"), 502, "upstream_unavailable"),
        (error_body(502, "", "upstream_rejected"), 502, "upstream_rejected"),
        (error_body(504, "retry-after: 1\r\n", "upstream_timeout"), 504, "upstream_timeout"),
    ]
}

/// Answers that are none of a producer to this question.
fn strange_answers() -> Vec<FixedAnswer> {
    let elsewhere = Report { zip: Some("10115".into()), city: Some("Berlin".into()), ..report() };
    let absurd = Report { temperature_c: Some(9000.0), ..report() };
    vec![
        good(&elsewhere),
        good(&absurd),
        (200, "", "<html>Welcome to nginx!</html>".into()),
        (200, "", r#"{"status":"ok"}"#.into()),
        (200, "", r#"{"error":{"code":"unknown_place","message":"what the producer said"}}"#.into()),
        (404, "", "404 page not found".into()),
        (404, "", r#"{"cod":"404","message":"city not found"}"#.into()),
        (404, "", r#"{"error":{"code":404,"message":"not found"}}"#.into()),
        error_body(404, "", "not_found"),
        error_body(403, "", "forbidden"),
        (404, "", good(&report()).2),
        (301, "location: https://127.0.0.1:1/\r\n", String::new()),
    ]
}

#[test]
fn when_the_weather_api_failed_the_error_says_so_with_the_time_that_is_left() {
    for (says, status, code) in upstream_failures() {
        let wait = says.1.strip_prefix("retry-after: ").map(str::trim);
        let producer = FakeProducer::start(says.clone());
        let bench = Bench::of(&producer);
        let got = bench.get("/api/weather?zip=70569&country=DE");
        assert_eq!((got.status(), &got.json()["error"]["code"]), (status, &code.into()));
        assert_eq!(got.header("retry-after"), wait, "{code}");
        let seconds = got.json()["error"]["retry_after_s"].as_u64();
        assert_eq!(seconds.map(|seconds| seconds.to_string()).as_deref(), wait, "{code}");
    }
}

#[test]
fn when_the_weather_api_failed_the_page_names_the_weather_service_and_no_producer() {
    let producer = FakeProducer::start(error_body(502, "retry-after: 3\r\n", "upstream_unavailable"));
    let got = Bench::of(&producer).get(PLACE);
    let page = got.page();
    assert_eq!((got.status(), got.header("retry-after")), (502, Some("3")));
    assert!(page.contains("<h1>The weather service is down</h1>") && page.contains("Try again in 3 seconds"), "{page}");
}

#[test]
fn a_report_that_was_kept_says_whether_the_weather_api_or_the_producers_failed() {
    for (says, ..) in upstream_failures() {
        let producer = FakeProducer::start(good(&old_report()));
        let bench = Bench::of(&producer);
        assert_eq!(bench.json().1["source"], "stale");
        producer.says(says);
        let (status, old) = bench.json();
        assert_eq!((status, &old["source"], &old["message"]), (200, &"stale".into(), &Report::STALE.into()), "{old}");
    }
    let producer = FakeProducer::start(good(&report()));
    let bench = Bench::of(&producer);
    assert_eq!(bench.json().1["source"], "live");
    producer.stop();
    let (status, old) = bench.json();
    assert_eq!((status, &old["source"], &old["message"]), (200, &"stale".into(), &Report::UNREACHABLE.into()), "{old}");
}

#[test]
fn a_report_that_was_kept_and_is_still_fresh_is_not_called_out_of_date_because_the_weather_api_fails() {
    let no_room = (error_body(503, "retry-after: 1\r\n", "overloaded"), 503, "overloaded");
    for (says, _, code) in upstream_failures().into_iter().chain([no_room]) {
        let producer = FakeProducer::start(good(&report()));
        let bench = Bench::of(&producer);
        assert_eq!(bench.json().1["source"], "live");
        producer.says(says);
        let got = bench.get("/api/weather?zip=70569&country=DE");
        let kept = got.json();
        assert_eq!((&kept["source"], &kept["message"]), (&"cache".into(), &Report::OK.into()), "{code}: {kept}");
        assert!(kept["age_s"].as_u64().is_some_and(|age| (12..60).contains(&age)), "{code}: {kept}");
        assert_eq!(got.header("cache-control"), Some("max-age=600"), "{code}");
        let page = bench.get(PLACE).body;
        assert!(page.contains("Cached") && page.contains("seconds ago, still good"), "{code}: {page}");
        assert!(!page.contains("CAUTION") && !page.contains("Out of date"), "{code}: {page}");
    }
}

#[test]
fn without_a_producer_the_error_is_unavailable_and_names_no_unknown_time() {
    let producer = FakeProducer::start(good(&report()));
    let bench = Bench::of(&producer);
    producer.stop();
    let got = bench.get("/api/weather?zip=70569&country=DE");
    assert_eq!((got.status(), &got.json()["error"]["code"]), (503, &"unavailable".into()));
    assert_eq!((got.header("retry-after"), got.json()["error"].get("retry_after_s")), (None, None));
    assert!(bench.get(PLACE).body.contains("Try again later."));
}

#[test]
fn a_report_for_another_place_and_what_another_program_says_is_never_shown() {
    for says in strange_answers() {
        let producer = FakeProducer::start(says.clone());
        let (status, error) = Bench::of(&producer).json();
        assert_eq!((status, &error["error"]["code"]), (503, &"unavailable".into()), "{says:?}: {error}");

        let producer = FakeProducer::start(good(&report()));
        let bench = Bench::of(&producer);
        assert_eq!(bench.json().1["city"], "Büsnau");
        producer.says(says.clone());
        let (status, old) = bench.json();
        assert_eq!((status, &old["city"]), (200, &"Büsnau".into()), "{says:?}: {old}");
        assert_eq!(old["message"], Report::UNREACHABLE, "{says:?}");
    }
}

#[test]
fn a_producer_without_room_is_not_called_unreachable() {
    for (says, code) in [
        (error_body(503, "retry-after: 1\r\n", "overloaded"), "overloaded"),
        (error_body(503, "retry-after: 1\r\n", "unavailable"), "overloaded"),
        (error_body(503, "retry-after: 1\r\n", "starting"), "starting"),
    ] {
        let producer = FakeProducer::start(says.clone());
        let (status, error) = Bench::of(&producer).json();
        assert_eq!((status, &error["error"]["code"]), (says.0, &code.into()), "{error}");

        let producer = FakeProducer::start(good(&old_report()));
        let bench = Bench::of(&producer);
        assert_eq!(bench.json().0, 200);
        producer.says(says);
        assert_eq!(bench.json().1["message"], Report::STALE, "{code}");
    }
}

#[test]
fn an_older_or_empty_report_never_takes_the_place_of_a_newer_one() {
    let older = Report { source: Source::Stale, age_s: Some(7300), message: Report::STALE.into(), ..report() };
    for says in [good(&older), good(&Report::empty())] {
        let producer = FakeProducer::start(good(&report()));
        let bench = Bench::of(&producer);
        assert_eq!(bench.json().1["source"], "live");
        producer.says(says.clone());
        let (_, got) = bench.json();
        assert_eq!((&got["source"], &got["message"]), (&"cache".into(), &Report::OK.into()), "{says:?}: {got}");
        assert!(got["age_s"].as_u64().is_some_and(|age| age < 60), "{got}");

        let producer = FakeProducer::start(says.clone());
        let (status, got) = Bench::of(&producer).json();
        assert_eq!((status, &got["source"] != "live"), (200, true), "with nothing kept it is given as it is: {got}");
    }
}

#[test]
fn an_unknown_place_stays_unknown_whatever_was_kept() {
    let producer = FakeProducer::start(good(&report()));
    let bench = Bench::of(&producer);
    assert_eq!(bench.json().0, 200);
    producer.says(error_body(404, "", "unknown_place"));
    assert_eq!(bench.json().0, 404);
}
