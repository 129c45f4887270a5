//! The whole system under load, while parts of it die, hang, end, come back, or are told lies. Real processes on
//! loopback, each test in a cluster and on ports of its own; what counts is what the person in front of the form gets.

#![expect(clippy::print_stdout, reason = "the figures of a fault")]

#[path = "support"]
mod support {
    pub(crate) mod fake_producer;
    pub(crate) mod http;
    pub(crate) mod patience;
    pub(crate) mod process;
    pub(crate) mod round_robin;
    pub(crate) mod until;
}

#[path = "survive/cluster.rs"]
mod cluster;
#[path = "survive/idle.rs"]
mod idle;
#[path = "survive/outage.rs"]
mod outage;
#[path = "survive/people.rs"]
mod people;
#[path = "survive/stranger.rs"]
mod stranger;

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use cluster::{Cluster, Service, id_of, ms};
use people::{Load, OUT_OF_DATE, PLACES, UNREACHABLE, answered_by, none_failed};
use support::http::get;
use support::until::until;

const UNKNOWN_SO_FAR: &str = "79098";

/// Waits until `id` is asked for one of the places at least: one that was found late begins with few.
fn has_a_share(consumer: &Service, id: &str) {
    until("it has a share", || PLACES.iter().any(|zip| consumer.report(zip).1["served_by"] == id));
}

#[test]
fn a_producer_that_is_killed_under_load_fails_no_question() {
    let (_cluster, mut producers, consumer) = Cluster::with_producers::<3>("kill");
    let victim = id_of(&producers[0]);
    has_a_share(&consumer, &victim);
    let load = Load::on(consumer.addr);
    thread::sleep(ms(2000));
    let killed = Instant::now();
    producers[0].kill();
    thread::sleep(ms(4000));
    let asked = load.end();
    assert!(asked.len() > 200, "that was no load: {}", asked.len());
    none_failed(&asked);
    let (before, after): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.at < killed);
    assert!(answered_by(&before).contains(&*victim), "it had its share before");
    let after = answered_by(&after);
    assert!(!after.contains(&*victim) && after.len() == 2, "the two others share what is left: {after:?}");
    let opened = format!("circuit of {victim}: open for ");
    assert!(consumer.log().iter().any(|line| line.contains(&opened)), "the log says so: {:?}", consumer.log());
}

#[test]
fn a_producer_that_is_told_to_end_under_load_fails_no_question() {
    let (_cluster, mut producers, consumer) = Cluster::with_producers::<3>("term");
    let leaving = id_of(&producers[0]);
    has_a_share(&consumer, &leaving);
    let load = Load::on(consumer.addr);
    thread::sleep(ms(1000));
    producers[0].signal("TERM");
    assert_eq!(producers[0].ends().code(), Some(0));
    let ended = Instant::now();
    thread::sleep(ms(1000));
    let asked = load.end();
    assert!(asked.len() > 100, "that was no load: {}", asked.len());
    none_failed(&asked);
    let (before, after): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.at < ended);
    assert!(answered_by(&before).contains(&*leaving), "it had its share before");
    assert!(!answered_by(&after).contains(&*leaving));
    let failed = format!("circuit of {leaving}: open");
    assert!(!consumer.log().iter().any(|line| line.contains(&failed)), "no call failed: {:?}", consumer.log());
}

#[test]
fn a_producer_that_hangs_loses_its_traffic_within_a_second() {
    let (_cluster, mut producers, consumer) = Cluster::with_producers::<3>("hang");
    let hung = id_of(&producers[0]);
    let load = Load::on(consumer.addr);
    thread::sleep(ms(1500));
    let stopped = Instant::now();
    producers[0].signal("STOP");
    thread::sleep(ms(5000));
    producers[0].signal("CONT");
    let asked = load.end();
    none_failed(&asked);

    // One in its place is asked as soon as its health check has failed, and the circuit is open from then on.
    let attempt_timeout = ms(1300);
    let later: Vec<_> = asked.iter().filter(|one| one.at > stopped + ms(1000)).collect();
    let waited: Vec<_> = later.iter().filter(|one| one.took >= attempt_timeout).collect();
    assert!(later.len() > 20, "that was no load: {} {:?}", later.len(), consumer.circuits());
    assert!(
        waited.len() <= 2.max(later.len() / 50),
        "{} of {} still went to the one that hangs: {waited:?}",
        waited.len(),
        later.len()
    );

    // Once it goes on it is as good as any: it serves when it is needed.
    producers.iter_mut().skip(1).for_each(Service::kill);
    until("it serves again", || {
        let (status, report) = consumer.report("70569");
        status == 200 && report["served_by"] == hung.as_str() && report["source"] != "stale"
    });
}

#[test]
fn with_all_producers_dead_each_fallback_does_what_it_promises_and_they_come_back_by_a_ramp() {
    let cluster = Cluster::new("dead");
    let start = |listen: &str| cluster.producer(listen, &["discovery.mdns=false"]);
    let mut producers = ["127.0.0.1:0"; 2].map(start);
    let addrs = producers.each_ref().map(|one| one.addr.to_string());
    let fixed = format!("discovery.fixed={{ producer = {addrs:?} }}");
    let consumer = |fallback: &str| {
        let fallback = format!("call.fallback={fallback}");
        let quick = ["breaker.open_for=400ms", "breaker.open_for_max=500ms", "breaker.ramp=1500ms"];
        cluster.consumer(&[&["discovery.mdns=false", &*fixed, &*fallback], &quick[..]].concat())
    };
    let [stale, silent, fast] = ["stale", "fail-silent", "fail-fast"].map(consumer);
    for form in [&stale, &silent, &fast] {
        assert_eq!(form.report("70569").0, 200);
    }

    producers.iter_mut().for_each(Service::kill);
    for _ in 0..5 {
        let (status, report) = stale.report("70569");
        assert_eq!((status, &report["source"], &report["message"]), (200, &"stale".into(), &UNREACHABLE.into()));
        assert_eq!(report["city"], "Büsnau");
    }
    let (status, page) = stale.page("70569");
    assert!(status == 200 && page.contains(UNREACHABLE) && page.contains("°C"), "{page}");
    let (status, report) = silent.report("70569");
    assert_eq!((status, &report["source"], &report["message"]), (200, &"empty".into(), &"Empty response".into()));
    assert!(report["temperature_c"].is_null(), "{report}");
    assert_eq!(fast.report("70569").0, 503);

    // Nothing is kept for a place that was never asked for, nor in a consumer that has just started.
    for (form, zip) in [(&stale, UNKNOWN_SO_FAR), (&consumer("stale"), "70569")] {
        let (status, error) = form.report(zip);
        assert_eq!((status, &error["error"]["code"]), (503, &"unavailable".into()), "{error}");
        let (status, page) = form.page(zip);
        assert!(status == 503 && !page.contains("°C") && page.contains("No weather available now"), "{page}");
    }

    let _producers = addrs.each_ref().map(|addr| start(addr));
    let is_fresh = |report: &Value| report["source"] == "live" || report["source"] == "cache";
    until("the page is fresh again", || is_fresh(&stale.report("70569").1));
    let mut seen = BTreeSet::new();
    until("every circuit is closed again", || {
        stale.report("70569");
        let circuits = stale.circuits();
        seen.extend(circuits.iter().filter(|(_, state)| state == "ramping").map(|(id, _)| id.clone()));
        circuits.iter().all(|(_, state)| state == "closed")
    });
    assert_eq!(seen, addrs.into(), "each comes back by degrees");
    for _ in 0..20 {
        assert!(is_fresh(&stale.report("70569").1));
    }
}

#[test]
fn with_the_weather_api_broken_producers_answer_out_of_date_and_recover_by_themselves() {
    let cluster = Cluster::new("broken");
    let quick = [
        "cache.fresh_for=200ms",
        "cache.stale_while_revalidate=0s",
        "breaker.open_for=400ms",
        "breaker.open_for_max=500ms",
        "breaker.ramp=500ms",
        "discovery.mdns=false",
    ];
    let producers = [(); 2].map(|()| cluster.producer("127.0.0.1:0", &quick));
    let addrs = producers.each_ref().map(|producer| producer.addr.to_string());
    let fixed = format!("discovery.fixed={{ producer = {addrs:?} }}");
    let consumer = cluster.consumer(&[&fixed, quick[0], quick[1], "discovery.mdns=false"]);
    for producer in &producers {
        for zip in PLACES {
            assert_eq!(get(producer.addr, &format!("/weather?zip={zip}&country=DE")).0, 200);
        }
    }

    cluster.faults(Some(r#"{"error_rate":1}"#));
    until("a producer's answer is out of date", || consumer.report("70569").1["source"] == "stale");
    until("the circuit before the weather API is open", || {
        for (producer, zip) in producers.iter().flat_map(|producer| PLACES.map(|zip| (producer, zip))) {
            assert_eq!(get(producer.addr, &format!("/weather?zip={zip}&country=DE")).0, 200);
        }
        producers.iter().all(|producer| producer.circuits().iter().any(|(_, state)| state == "open"))
    });
    for zip in PLACES {
        let (status, report) = consumer.report(zip);
        assert_eq!((status, &report["source"], &report["message"]), (200, &"stale".into(), &OUT_OF_DATE.into()));
        assert!(report["served_by"].as_str().is_some_and(|by| by.starts_with("producer-")), "{report}");
    }
    let (status, page) = consumer.page("70569");
    assert!(status == 200 && page.contains(OUT_OF_DATE) && !page.contains(UNREACHABLE), "{page}");
    let (status, error) = consumer.report(UNKNOWN_SO_FAR);
    assert_eq!((status, &error["error"]["code"]), (502, &"upstream_unavailable".into()), "{error}");

    cluster.faults(None);
    until("answers are fresh again, and the circuits closed", || {
        let both = producers.each_ref().map(|producer| {
            let asked = PLACES.map(|zip| get(producer.addr, &format!("/weather?zip={zip}&country=DE")).1);
            asked.iter().all(|report| !report.contains(OUT_OF_DATE))
                && producer.circuits().iter().all(|(_, state)| state == "closed")
        });
        both == [true; 2]
    });
    assert_ne!(consumer.report("70569").1["source"], "stale");
    for producer in &producers {
        let log = producer.log().join("\n");
        assert!(
            log.contains("circuit of the weather API: open for") && log.contains("circuit of the weather API: closed"),
            "{log}"
        );
    }
}
