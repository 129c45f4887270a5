//! Requests with each method and body: what is sent, and which of them are sent to another instance.

mod support {
    pub(crate) mod fake_producer;
    pub(crate) mod patience;
    pub(crate) mod silent;
}

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bramble::Ratio;
use bramble::balance::Policy;
use bramble::call::HedgeDelay;
use bramble::client::{Answer, Client, Error, Request};
use bramble::config::{Config, Sources};
use bramble::discovery::{Directory, ServiceFilter, fixed};
use http_types::{Body, Method};
use serde_json::json;
use smol::block_on;

use support::fake_producer::{Behaviour, FakeProducer};
use support::patience::patience;
use support::silent::silent;

const SERVICE: &str = "producer";
/// Longer than anything here takes on a busy machine; reached only when something is broken.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(20));

/// A client of the instances at `addrs`, asked in turn.
fn client(addrs: &[SocketAddr], change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config::default();
    config.balance.policy = Policy::RoundRobin;
    config.call.hedge_after = HedgeDelay::Off;
    change(&mut config);
    let directory = Directory::new(ServiceFilter::None, Instant::now());
    fixed::fill(&directory, &BTreeMap::from([(SERVICE.to_owned(), addrs.to_vec())]), Instant::now());
    Client::new(config, directory)
}

fn send(request: Request<'_>) -> Result<Answer, Error> {
    block_on(request.within(*PATIENCE).send())
}

/// Whether a failing instance, asked first, has the request sent to the one that is well. It is asked once in any case.
fn is_sent_elsewhere(failure: Behaviour, request: impl Fn(&Client) -> Request<'_>) -> bool {
    let (bad, good) = (FakeProducer::start(failure), FakeProducer::start(Behaviour::Answer(200)));
    let client = client(&[bad.addr, good.addr], |_| {});
    loop {
        let before = good.calls();
        let answer = send(request(&client));
        assert!(good.calls() <= 3, "the other one is never asked first");
        if bad.calls() > 0 {
            assert_eq!(bad.calls(), 1);
            return match good.calls() - before {
                0 => false,
                _ => answer.expect("the other answers").status == 200,
            };
        }
    }
}

#[test]
fn a_request_says_what_it_was_given() {
    let good = FakeProducer::start(Behaviour::Answer(200));
    let client = client(&[good.addr], |_| {});
    let request = client.post(SERVICE, "/greeting?loud=1").query(&[("name", "Ada & Bob"), ("town", "Köln")]);
    let answer = send(request.header("X-Desk", "7").json(&json!({"name": "Ada"}))).expect("an answer");
    let head = good.heads().remove(0);
    assert!(head.starts_with("post /greeting?loud=1&name=ada+%26+bob&town=k%c3%b6ln http/1.1\r\n"), "{head}");
    for line in ["x-desk: 7", "content-type: application/json", "content-length: 14"] {
        assert!(head.lines().any(|one| one == line), "{line} in {head}");
    }
    assert_eq!(good.bodies(), [br#"{"name":"Ada"}"#]);
    assert_eq!(answer.header("x-bramble-id"), Some("producer-0000000000000001"));
}

#[test]
fn an_answer_is_read_as_json_or_is_an_error_that_says_of_which_instance() {
    const JSON: &str = "HTTP/1.1 200 OK\r\nx-bramble-id: producer-1\r\ncontent-length: 14\r\n\r\n{\"text\":\"Hi!\"}";
    let good = FakeProducer::start(Behaviour::Say(JSON));
    let answer = send(client(&[good.addr], |_| {}).get(SERVICE, "/")).expect("an answer");
    assert_eq!(answer.json::<BTreeMap<String, String>>().expect("JSON")["text"], "Hi!");
    let error = answer.json::<Vec<u8>>().expect_err("not a list");
    assert!(error.to_string().contains(&good.addr.to_string()), "{error}");
}

#[test]
fn a_request_that_cannot_be_sent_says_why_and_no_instance_is_asked() {
    let good = FakeProducer::start(Behaviour::Answer(200));
    let client = client(&[good.addr], |_| {});
    for (request, why) in [
        (client.get(SERVICE, "greeting"), "path"),
        (client.get(SERVICE, "//example.org/"), "path"),
        (client.get(SERVICE, "/").header("x y", "1"), "x y"),
        (client.get(SERVICE, "/").header("x-y", "1\r\nx-z: 2"), "x-y"),
        (client.get(SERVICE, "/").header("Host", "example.org"), "host"),
        (client.get(SERVICE, "/").query(&7), "query"),
        (client.post(SERVICE, "/").json(&BTreeMap::from([([1, 2], 3)])), "JSON"),
    ] {
        let error = send(request).expect_err("it cannot be sent");
        assert!(matches!(error, Error::InvalidRequest(_)) && error.to_string().contains(why), "{why}: {error}");
    }
    assert_eq!(good.calls(), 0);
}

#[test]
fn what_may_be_done_twice_is_asked_of_another_instance_after_a_failure() {
    for method in [Method::Get, Method::Head, Method::Options, Method::Put, Method::Delete] {
        assert!(is_sent_elsewhere(Behaviour::Close, |client| client.request(method, SERVICE, "/")), "{method}");
    }
    for failure in [Behaviour::Close, Behaviour::Answer(500), Behaviour::Answer(503), Behaviour::Stranger(200)] {
        assert!(is_sent_elsewhere(failure, |client| client.post(SERVICE, "/").json(&1).idempotent()), "{failure:?}");
    }
}

#[test]
fn what_may_not_be_done_twice_is_sent_to_one_instance() {
    for failure in [Behaviour::Close, Behaviour::Answer(500), Behaviour::Answer(503), Behaviour::Stranger(200)] {
        for method in [Method::Post, Method::Patch] {
            assert!(!is_sent_elsewhere(failure, |client| client.request(method, SERVICE, "/").json(&1)), "{failure:?}");
        }
    }
}

#[test]
fn what_may_not_be_done_twice_goes_elsewhere_while_nothing_of_it_was_sent() {
    let refuses = TcpListener::bind("127.0.0.97:0").and_then(|there| there.local_addr()).expect("an address");
    let (drops, _listener, _queue) = silent("127.0.0.1:0");
    for gone in [refuses, drops] {
        let good = FakeProducer::start(Behaviour::Answer(200));
        let client = client(&[gone, good.addr], |_| {});
        for answered in 1..=2 {
            let answer = send(client.post(SERVICE, "/").json(&1)).expect("the other one answers");
            assert_eq!((answer.status, good.calls()), (200, answered), "{gone}");
        }
    }
}

#[test]
fn all_attempts_of_an_idempotent_request_have_one_key_and_another_request_has_another() {
    let bad = [(); 2].map(|()| FakeProducer::start(Behaviour::Close));
    let good = FakeProducer::start(Behaviour::Answer(200));
    let client = client(&[bad[0].addr, bad[1].addr, good.addr], |config| config.call.retry_budget = Some(Ratio::ONE));
    let keys = || {
        let all = bad.iter().chain([&good]).flat_map(FakeProducer::heads);
        let key = |head: String| head.lines().find_map(|line| Some(line.strip_prefix("idempotency-key: ")?.to_owned()));
        all.map(|head| key(head).expect("each has a key")).collect::<Vec<_>>()
    };
    let mut answer = send(client.post(SERVICE, "/").idempotent());
    while keys().len() < 2 {
        answer = send(client.post(SERVICE, "/").idempotent());
        assert!(good.calls() < 4, "no bad one is asked first");
    }
    assert_eq!(answer.expect("the third answers").status, 200);
    let (all, calls) = (keys(), good.calls());
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert!(all.len() > calls && distinct.len() == calls, "{calls} requests: {all:?}");
}

#[test]
fn a_body_that_is_large_or_a_stream_is_sent_whole_and_once() {
    let large = vec![7_u8; 100 << 10];
    let stream = || Body::from_reader(futures_lite::io::Cursor::new(large.clone()), Some(large.len()));
    let good = FakeProducer::start(Behaviour::Answer(200));
    let put = |client: &Client, body: Body| send(client.request(Method::Put, SERVICE, "/").body(body));
    let client_of_good = client(&[good.addr], |_| {});
    for body in [Body::from_bytes(large.clone()), stream()] {
        assert_eq!(put(&client_of_good, body).expect("an answer").status, 200);
    }
    assert!(good.bodies().iter().all(|body| *body == large), "both came whole");

    let refuses = TcpListener::bind("127.0.0.96:0").and_then(|there| there.local_addr()).expect("an address");
    let client = client(&[refuses], |_| {});
    let error = put(&client, stream()).expect_err("it is not sent again");
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
}

#[test]
fn a_call_waits_as_long_as_the_settings_of_its_own_service_say() {
    let hung = FakeProducer::start(Behaviour::Hang);
    let client = client(&[hung.addr], |config| {
        let own = "[call.producer]\ntimeout = \"200ms\"\nattempt_timeout = \"200ms\"\n[call]\ntimeout = \"1h\"\n";
        *config = Config::load(&Sources::text(own)).expect("right");
    });
    let error = block_on(client.get(SERVICE, "/").send()).expect_err("it hangs");
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
}

#[test]
fn a_late_request_that_changes_something_is_not_copied() {
    let both = [(); 2].map(|()| FakeProducer::start(Behaviour::Late(Duration::from_millis(300), 200)));
    let client = client(&both.each_ref().map(|one| one.addr), |config| {
        config.call.hedge_after = HedgeDelay::After(Duration::from_millis(20));
    });
    let calls = || both.iter().map(FakeProducer::calls).sum::<usize>();
    for (sent, method) in [Method::Put, Method::Delete, Method::Post].into_iter().enumerate() {
        assert_eq!(send(client.request(method, SERVICE, "/")).expect("an answer").status, 200);
        assert_eq!(calls(), sent + 1, "{method}");
    }
    let before = calls();
    assert_eq!(send(client.get(SERVICE, "/")).expect("an answer").status, 200);
    assert_eq!(calls(), before + 2, "a GET is copied");
}

#[test]
fn a_request_under_another_one_has_its_trace_and_the_time_that_is_left_of_it() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let good = FakeProducer::start(Behaviour::Answer(200));
    let upstream = client(&[good.addr], |_| {});
    let mut app = tide::with_state(upstream);
    app.at("/").get(|request: tide::Request<Client>| async move {
        let answer = request.state().get(SERVICE, "/").within(*PATIENCE).under(&request).send().await?;
        Ok(tide::Response::new(answer.status))
    });
    let mut request = http_types::Request::get("http://frontdesk/");
    request.insert_header("traceparent", TRACE);
    request.insert_header(bramble::client::TIME_LEFT, "1500");
    let answer: http_types::Response = block_on(app.respond(request)).expect("an answer");
    assert_eq!(answer.status(), 200);
    let head = good.heads().remove(0);
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).expect("a header").to_owned();
    assert_eq!(value("traceparent: ")[..36], TRACE[..36]);
    let left: u64 = value("x-envoy-expected-rq-timeout-ms: ").parse().expect("milliseconds");
    assert!((1..=1500).contains(&left), "{left}");
}
