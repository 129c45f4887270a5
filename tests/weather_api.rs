//! Cost of a slow or failing weather API for its users, with real processes on loopback: the stand-in for the API, a
//! producer, and the form.

mod support {
    pub(crate) mod bramble;
    pub(crate) mod key_file;
    pub(crate) mod patience;
    pub(crate) mod redis_server;
    pub(crate) mod until;
}

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::bramble::Service;
use support::key_file::{KEY, KeyFile};

const BUESNAU: &str = "zip=70569&country=DE";

/// A stand-in for the weather API, producers that ask it, and a form that asks the producers.
struct Cluster {
    stand_in: Service,
    producer: Service,
    _more: Vec<Service>,
    form: Service,
    _key_file: KeyFile,
}

impl Cluster {
    fn start() -> Self {
        Self::with_producers(1)
    }

    fn with_producers(count: usize) -> Self {
        let key_file = KeyFile::new();
        let stand_in = Service::start(&["upstream-sim", "--key", KEY], &[]);
        let upstream = format!("http://{}", stand_in.addr());
        let file = key_file.path().display().to_string();
        let settings = [("BRAMBLE__PRODUCER__UPSTREAM", &*upstream), ("BRAMBLE__PRODUCER__API_KEY_FILE", &*file)];
        let mut producers: Vec<_> = (0..count).map(|_| Service::start(&["producer"], &settings)).collect();
        let addresses: Vec<String> = producers.iter().map(|producer| producer.addr().to_string()).collect();
        let fixed = format!("{{ producer = {addresses:?} }}");
        let form = Service::start(&["consumer"], &[("BRAMBLE__DISCOVERY__FIXED", &*fixed)]);
        Self { stand_in, producer: producers.remove(0), _more: producers, form, _key_file: key_file }
    }

    fn faults(&self, body: &str) {
        let (status, _, said) = send(&self.stand_in, "POST /sim/faults", "accept: */*", body);
        assert_eq!(status, 200, "{said}");
    }

    /// Calls that the weather API got.
    fn calls(&self) -> u64 {
        self.stand_in.json("/sim/calls")["total"].as_u64().expect("a number")
    }

    /// Status and JSON of the form's answer.
    fn weather(&self) -> (u16, Value) {
        let (status, body) = self.form.get(&format!("/api/weather?{BUESNAU}"));
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }
}

/// Status, lower-case head and body of a GET with one more header.
fn get_with(service: &Service, path: &str, header: &str) -> (u16, String, String) {
    send(service, &format!("GET {path}"), header, "")
}

fn send(service: &Service, request: &str, header: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(service.addr()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a valid time");
    let length = body.len();
    let head =
        format!("{request} HTTP/1.1\r\nhost: x\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    write!(stream, "{head}\r\n{body}").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Places that the stand-in knows, each once.
fn places() -> impl Iterator<Item = String> {
    let rows = include_str!("../services/upstream-sim/places.csv").lines().skip(1);
    let mut seen = std::collections::BTreeSet::new();
    rows.filter_map(|row| {
        let mut cells = row.split(',');
        let (country, zip) = (cells.next()?, cells.next()?);
        zip.bytes().all(|b| b.is_ascii_digit()).then(|| format!("zip={zip}&country={country}"))
    })
    .filter(move |place| seen.insert(place.clone()))
}

#[test]
fn a_weather_api_that_takes_1_2_s_gives_weather_at_the_first_question() {
    let cluster = Cluster::start();
    cluster.faults(r#"{"latency":"1200ms"}"#);
    let (status, report) = cluster.weather();
    assert_eq!((status, &report["source"]), (200, &"live".into()), "{report}");
    let (status, report) = cluster.weather();
    assert_eq!((status, &report["source"]), (200, &"cache".into()), "{report}");
    assert_eq!(cluster.calls(), 1);
}

#[test]
fn a_weather_api_that_takes_2_6_s_gives_weather_at_the_second_question_and_costs_one_call() {
    let cluster = Cluster::start();
    cluster.faults(r#"{"latency":"2600ms"}"#);
    let began = Instant::now();
    let (status, error) = cluster.weather();
    assert_eq!((status, &error["error"]["code"]), (504, &"upstream_timeout".into()), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let (status, report) = cluster.weather();
    assert_eq!((status, &report["city"]), (200, &"Büsnau".into()), "{report}");
    assert_eq!(cluster.calls(), 1, "the first call went on, and no second one was made");
    let circuit = &cluster.producer.json("/circuits")["services"][0]["endpoints"][0];
    assert_eq!((&circuit["state"], &circuit["failures_in_a_row"]), (&"closed".into(), &0.into()), "{circuit}");
}

#[test]
fn while_the_weather_api_is_down_fresh_places_stay_fresh_whatever_new_places_are_asked() {
    let cluster = Cluster::start();
    let places: Vec<String> = places().take(70).collect();
    let (fresh, new) = places.split_at(10);
    for place in fresh {
        assert_eq!(cluster.producer.json(&format!("/weather?{place}"))["source"], "live");
    }
    cluster.faults(r#"{"error_rate":1}"#);
    for (number, place) in new.iter().enumerate() {
        let (status, head, body) = get_with(&cluster.producer, &format!("/weather?{place}"), "accept: */*");
        assert!(status == 502 && body.contains("upstream_unavailable"), "{status} {body}");
        assert!(head.contains("\r\nretry-after: ") && head.contains("\r\nx-bramble-retry-after-ms: "), "{head}");
        let held = &fresh[number % fresh.len()];
        assert_eq!(cluster.producer.json(&format!("/weather?{held}"))["source"], "cache");
    }
    assert!(cluster.calls() < 10 + 15, "{} calls: the circuit was open", cluster.calls());
}

#[test]
fn while_the_weather_api_is_down_the_form_names_the_weather_service_and_when_to_try_again() {
    let cluster = Cluster::start();
    cluster.faults(r#"{"error_rate":1}"#);
    let (status, head, page) = get_with(&cluster.form, &format!("/?{BUESNAU}"), "accept: text/html");
    assert_eq!(status, 502, "{page}");
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert!(page.contains("<h1>The weather service is down</h1>") && page.contains("Try again in 1 second."), "{page}");
    assert!(!page.contains("No producer"), "{page}");
}

#[test]
fn only_if_cached_asks_no_weather_api() {
    let cluster = Cluster::start();
    let path = format!("/weather?{BUESNAU}");
    let (status, _, body) = get_with(&cluster.producer, &path, "cache-control: only-if-cached");
    assert!(status == 504 && body.contains("not_cached"), "{status} {body}");
    assert_eq!(cluster.calls(), 0);
    assert_eq!(cluster.producer.json(&path)["source"], "live");
    let (status, _, body) = get_with(&cluster.producer, &path, "cache-control: only-if-cached");
    assert!(status == 200 && body.contains("\"source\":\"cache\""), "{status} {body}");
    assert_eq!(cluster.calls(), 1);
}

/// Status and JSON of the form's answer to a question.
fn asked(cluster: &Cluster, place: &str) -> (u16, Value) {
    let (status, body) = cluster.form.get(&format!("/api/weather?{place}"));
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[test]
fn seven_places_asked_twelve_times_of_five_producers_cost_seven_calls() {
    let cluster = Cluster::with_producers(5);
    let places: Vec<String> = places().take(7).collect();
    for _ in 0..12 {
        for place in &places {
            assert_eq!(asked(&cluster, place).0, 200, "{place}");
        }
    }
    assert_eq!(cluster.calls(), 7);
}

#[test]
fn through_the_form_fresh_places_stay_fresh_while_the_api_fails_and_half_of_the_questions_are_for_new_places() {
    for fault in [r#"{"error_rate":1}"#, r#"{"status":429}"#] {
        let cluster = Cluster::with_producers(3);
        let places: Vec<String> = places().take(107).collect();
        let (fresh, new) = places.split_at(7);
        for place in fresh {
            assert_eq!(asked(&cluster, place).1["source"], "live");
        }
        cluster.faults(fault);
        let mut fresh_answers = 0;
        for (number, place) in new.iter().enumerate() {
            let (status, error) = asked(&cluster, place);
            assert!(matches!(status, 429 | 502 | 504), "the weather API failed, no producer did: {status} {error}");
            let (status, report) = asked(&cluster, &fresh[number % fresh.len()]);
            assert_ne!(report["message"], "CAUTION - Response out of date, producer unreachable!");
            fresh_answers += u32::from(status == 200 && report["source"] == "cache");
        }
        assert!(fresh_answers >= 97, "{fault}: {fresh_answers} of 100");
    }
}
