use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bramble::discovery::{Instance, InstanceRecord, InstanceState, Source, Status};

use super::*;
use crate::circuits::{CalledService, Circuit, CircuitState, Endpoint, Latency};
use crate::view::{Caller, InstanceView, News, by_service};

/// An instance as outside of the demo: there, answering, and called by no other.
fn one(service: &str, number: u8) -> InstanceView {
    let instance = Instance {
        zone: "shelf".into(),
        version: "0.2.0".into(),
        ..Instance::new(
            format!("{service}-{number:016x}"),
            service,
            SocketAddr::from(([192, 168, 178, number], 40_000)),
            Source::Mdns,
        )
    };
    let known_for = Duration::from_secs(90);
    let standing = InstanceState::Confirmed;
    InstanceView {
        seen: InstanceRecord {
            instance: Arc::new(instance),
            known_for,
            standing,
            standing_for: known_for,
            ending_for: None,
        },
        answers: Some(true),
        callers: Vec::new(),
        calls: Vec::new(),
    }
}

/// An instance that a consumer calls, with a circuit in `state`.
fn called(number: u8, state: CircuitState, change: impl FnOnce(&mut Circuit)) -> InstanceView {
    let mut circuit = Circuit {
        state: Some(state),
        in_flight: Some(2),
        latency_ms: Latency { p50: Some(1.25), p95: Some(22.0), p99: Some(1300.0) },
        recent: [("success".to_owned(), 97), ("failure".to_owned(), 2), ("timeout".to_owned(), 1)].into(),
        ..Circuit::default()
    };
    change(&mut circuit);
    let weather_api = Endpoint {
        circuit: Circuit { state: Some(CircuitState::Closed), ..Circuit::default() },
        ..Endpoint::default()
    };
    let calls = CalledService { service: "upstream".into(), endpoints: vec![weather_api], ..CalledService::default() };
    InstanceView {
        callers: vec![Caller { by: "consumer-0000000000000001".into(), circuit }],
        calls: vec![calls],
        ..one("producer", number)
    }
}

pub(crate) fn view(ones: Vec<InstanceView>) -> View {
    View {
        seen_by: "registry-0000000000000001".into(),
        at: SystemTime::UNIX_EPOCH,
        signatures_checked: false,
        caution: None,
        services: by_service(ones),
        news: Vec::new(),
        unproven: Vec::new(),
        unproven_beyond: 0,
        refused: Vec::new(),
        refused_beyond: 0,
        pi_problems: None,
        demo: None,
    }
}

fn drawn(ones: Vec<InstanceView>) -> String {
    whole(&view(ones)).into_string()
}

#[test]
fn the_link_of_an_instance_leads_to_the_page_that_it_announces_and_to_no_other_host() {
    let link = |service: &str, source: Source, path: &str| {
        let mut one = one(service, 1);
        let instance = Arc::get_mut(&mut one.seen.instance).expect("the only one");
        (instance.source, instance.path) = (source, path.into());
        let page = drawn(vec![one]);
        let links = page.split("href=\"http://192.168.178.1:40000").nth(1).expect("a link");
        links.split('"').next().expect("its end").to_owned()
    };
    assert_eq!(link("thermo", Source::Mdns, "/rooms"), "/rooms");
    assert_eq!(link("thermo", Source::Mdns, "@example.org/"), "/readyz");
    assert_eq!(link("thermo", Source::Fixed, "/"), "/readyz", "a list names no page");
    assert_eq!(link("consumer", Source::Fixed, "/"), "/");
}

#[test]
fn a_service_has_a_sentence_and_a_table_and_those_that_do_not_answer_are_counted() {
    let mut ones: Vec<InstanceView> = (1..=4).map(|number| one("producer", number)).collect();
    ones[1].seen.standing = InstanceState::Lost;
    ones.push(one("consumer", 9));
    let page = drawn(ones);
    assert!(
        page.contains("<p>3 of 4 producers answer.</p>") && page.contains("<p>1 of 1 consumer answers.</p>"),
        "{page}"
    );
    assert_eq!(page.matches("<table").count(), 2);
    assert!(page.contains("<title>4 of 5 answer"), "{page}");
    assert!(page.contains(r#"<span class="mark error">lost</span>"#), "{page}");
}

#[test]
fn each_status_is_a_word_of_its_own() {
    let status = |change: fn(&mut InstanceView)| {
        let mut one = one("producer", 1);
        change(&mut one);
        drawn(vec![one])
    };
    let ending = |one: &mut InstanceView| {
        Arc::make_mut(&mut one.seen.instance).status = Status::Drain;
        one.seen.ending_for = Some(Duration::from_secs(1));
    };
    for (page, mark) in [
        (status(|_| ()), r#"mark live">up<"#),
        (status(ending), r#"mark stale">ending</span><small>for 1 s"#),
        (status(|one| one.seen.standing = InstanceState::Unconfirmed), r#"mark stale">unconfirmed<"#),
        (status(|one| one.answers = Some(false)), r#"mark error">silent</span><small>known for "#),
    ] {
        assert!(page.contains(mark), "{mark}: {page}");
    }
}

#[test]
fn each_circuit_is_a_word_and_a_sentence() {
    let reason = || Some("5 calls in a row failed".to_owned());
    for (one, mark, says) in [
        (called(1, CircuitState::Closed, |_| ()), r#"mark live">closed<"#, "gets its full share"),
        (
            called(1, CircuitState::Open, |circuit| (circuit.reason, circuit.next_probe_ms) = (reason(), Some(3800))),
            r#"mark error">open<"#,
            "5 calls in a row failed; tried again in 3 s",
        ),
        (
            called(1, CircuitState::Open, |circuit| circuit.reason = Some("health check failed".into())),
            r#"mark error">open<"#,
            "health check failed; tried again once a health check succeeds",
        ),
        (called(1, CircuitState::HalfOpen, |_| ()), r#"mark stale">half-open<"#, "one call finds out"),
        (
            called(1, CircuitState::Ramping, |circuit| circuit.admitted_share = Some(0.34)),
            r#"mark stale">ramping<"#,
            "gets 34 % of its share",
        ),
        (called(1, CircuitState::ForcedOpen, |_| ()), r#"mark error">held open<"#, "set by hand"),
    ] {
        let page = drawn(vec![one]);
        assert!(page.contains(mark) && page.contains(says), "{mark} {says}: {page}");
    }
    let page = drawn(vec![called(1, CircuitState::Closed, |_| ()), one("producer", 2)]);
    assert!(page.contains("not called"), "no circuit of it is known: {page}");
}

#[test]
fn an_instance_without_calls_lately_is_not_said_to_get_its_share_though_its_circuit_is_closed() {
    let mut idle = called(1, CircuitState::Closed, |circuit| circuit.recent = [("success".to_owned(), 0)].into());
    let page = drawn(vec![idle.clone()]);
    assert!(page.contains("no calls lately") && !page.contains("share"), "{page}");
    idle.answers = Some(false);
    let page = drawn(vec![idle]);
    assert!(page.contains("no caller knows that it is silent") && !page.contains("share"), "{page}");
}

#[test]
fn the_open_circuit_before_the_weather_api_is_counted_for_each_producer() {
    let count = |page: &str| {
        let rest = page.split("Open circuits</dt><dd>").nth(1).expect("the tile");
        rest.split('<').next().map(str::to_owned)
    };
    let mut ones =
        vec![called(1, CircuitState::Closed, |_| ()), called(2, CircuitState::Closed, |_| ()), one("consumer", 3)];
    assert_eq!(count(&drawn(ones.clone())).as_deref(), Some("0"));
    for one in &mut ones[..2] {
        one.calls[0].endpoints[0].circuit.state = Some(CircuitState::Open);
    }
    // The consumer's circuit for the service of producers is that of the instances, which are counted themselves.
    let circuit = Circuit { state: Some(CircuitState::Open), ..Circuit::default() };
    ones[2].calls = vec![CalledService { service: "producer".into(), circuit, ..CalledService::default() }];
    assert_eq!(count(&drawn(ones.clone())).as_deref(), Some("2"));
    ones[0].callers[0].circuit.state = Some(CircuitState::Open);
    assert_eq!(count(&drawn(ones)).as_deref(), Some("3"));
}

#[test]
fn an_announced_instance_that_does_not_answer_is_listed_with_why_it_gets_no_calls() {
    let mut view = view(vec![one("producer", 1)]);
    assert!(!whole(&view).into_string().contains("Unproven"));
    view.unproven.push(Unproven {
        id: "producer-x".into(),
        service: "producer".into(),
        addr: SocketAddr::from(([192, 0, 2, 7], 9001)),
        announced_for: Duration::from_secs(65),
        reason: "does not answer GET /healthz there with its id".into(),
    });
    view.unproven_beyond = 2;
    let page = whole(&view).into_string();
    for text in ["producer at 192.0.2.7:9001", "announced for 1 min; does not answer GET /healthz", "2 more are not"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(page.contains("<title>1 of 1 answer"), "it is not counted as an instance: {page}");
}

#[test]
fn numbers_of_calls_are_those_of_its_callers() {
    let mut ones = vec![called(1, CircuitState::Closed, |_| ())];
    let other = Caller { by: "consumer-0000000000000002".into(), circuit: ones[0].callers[0].circuit.clone() };
    ones[0].callers.push(other);
    let page = drawn(ones);
    for text in [">97.0 %<", ">20.0<", "4 in flight", ">1.2 ms<", ">22 ms<", ">1.3 s<", "worst of 2 callers"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(page.contains("weather API: closed"), "{page}");
    assert!(!drawn(vec![one("registry", 1)]).contains("p99"), "an instance that is not called has no such columns");
}

#[test]
fn calls_that_failed_behind_an_instance_are_not_counted_as_its_failures() {
    let page = drawn(vec![called(1, CircuitState::Closed, |circuit| {
        circuit.recent.extend([
            ("failure".to_owned(), 0),
            ("timeout".to_owned(), 0),
            ("upstream_failed".to_owned(), 3),
        ]);
    })]);
    assert!(page.contains(">100 %<small>3 failed behind it<") && page.contains(">10.0<"), "{page}");
}

#[test]
fn what_others_say_of_themselves_cannot_become_part_of_the_page() {
    let mut ones = vec![called(1, CircuitState::Open, |circuit| circuit.reason = Some("<script>1</script>".into()))];
    Arc::make_mut(&mut ones[0].seen.instance).zone = "<b>shelf</b>".into();
    Arc::make_mut(&mut ones[0].seen.instance).service = r#"x"><script>2"#.into();
    let mut view = view(ones);
    view.news.push(News { ago: Duration::ZERO, subject: "<i>a".into(), what: "<i>b".into() });
    view.refused.push(Refused { name: "<i>c".into(), service: "<i>d".into(), addr: None, reason: "<i>e".into() });
    let page = whole(&view).into_string();
    assert!(!page.contains("<b>") && !page.contains("<i>"), "{page}");
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert_eq!(page.matches("<script defer").count() + page.matches("<script src=").count(), 1, "our own: {page}");
}

#[test]
fn a_refused_instance_is_listed_with_the_reason() {
    let mut view = view(vec![one("producer", 1)]);
    view.signatures_checked = true;
    let reason = "its signature is wrong".to_owned();
    view.refused.push(Refused { name: "producer-x".into(), service: "producer".into(), addr: None, reason });
    view.refused_beyond = 3;
    let page = whole(&view).into_string();
    assert!(page.contains("its signature is wrong") && page.contains("3 more are not listed"), "{page}");
    assert!(page.contains("by mDNS, signature checked"), "{page}");
    assert!(drawn(vec![one("producer", 1)]).contains("by mDNS, unsigned"));
}

#[test]
fn what_makes_the_list_doubtful_is_said_above_it() {
    let says = |caution| {
        let page = whole(&View { caution, ..view(vec![one("registry", 1)]) }).into_string();
        page.split("notice caution").nth(1).map(str::to_owned)
    };
    assert_eq!(says(None), None);
    assert!(says(Some(Caution::Alone)).is_some_and(|text| text.contains("UDP 5353")));
    assert!(says(Some(Caution::OutOfDate)).is_some_and(|text| text.contains("may be out of date")));
    assert!(says(Some(Caution::Settling)).is_some_and(|text| text.contains("Still looking")));
}

#[test]
fn twelve_instances_and_a_hundred_happenings_are_a_page_of_at_most_30_kb() {
    let mut ones: Vec<InstanceView> = (1..=10)
        .map(|number| {
            called(number, CircuitState::Open, |circuit| {
                circuit.reason = Some("62 of 100 calls failed within 10 s".into());
                circuit.next_probe_ms = Some(3800);
            })
        })
        .collect();
    ones.extend([one("consumer", 11), one("registry", 12)]);
    let mut view = view(ones);
    let news = News {
        ago: Duration::from_secs(100),
        subject: "producer-5f0c2a9be81d4477".into(),
        what: "was found again".into(),
    };
    view.news = vec![news; 100];
    let length = whole(&view).into_string().len();
    assert!(length <= 30 << 10, "{length} bytes");
}

#[test]
fn the_script_is_short_and_every_part_has_its_own_id() {
    assert!(include_str!("../live.js").lines().count() < 80);
    let parts = parts(&view(vec![one("producer", 1), one("consumer", 2)]));
    let ids: Vec<_> = parts.iter().map(|part| part.id.as_str()).collect();
    assert_eq!(ids, ["now", "service-consumer", "service-producer"]);
    for part in &parts {
        assert_eq!(part.html.matches(&format!(r#" id="{}""#, part.id)).count(), 1, "{}", part.html);
        assert!(part.html.starts_with("<section"), "the script makes a section of it first: {}", part.html);
    }
}
