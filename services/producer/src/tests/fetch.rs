//! A call to the weather API outlives its caller, and only the call itself teaches the circuit.

use std::time::{Duration, Instant};

use bramble_weather::{Code, Query, Report, Source};
use smol::future::{poll_once, yield_now};

use super::fake::{Behaviour, Bench, NOT_FOUND, config};
use super::{DOWN, GOOD, circuit, code, header};

fn query(zip: &str) -> Query {
    Query::parse(zip, Some("DE")).expect("a question")
}

/// Asks for a place with so little time that the answer of an API that waits comes too late.
async fn in_a_hurry(bench: &Bench, zip: &str, second: u64) -> Result<Report, bramble_weather::ApiError> {
    let deadline = Instant::now() + Duration::from_millis(20);
    bench.weather.report_at(&query(zip), bench.at(second), deadline).await
}

/// Waits until the cache has what the API answered.
async fn until_kept(bench: &Bench, entries: u64) {
    while bench.weather.counts().cache.entries < entries {
        yield_now().await;
    }
}

#[test]
fn an_answer_that_is_late_for_its_caller_is_there_for_the_next_one() {
    let bench = Bench::new(Behaviour::Wait);
    bench.run(async {
        let error = in_a_hurry(&bench, "70569", 0).await.expect_err("too late");
        assert_eq!((error.code, error.retry_after_s()), (Code::UpstreamTimeout, Some(1)));
        assert_eq!(bench.calls(), 1, "the call goes on");
        let mut joined = Box::pin(bench.ask("70569", 0));
        assert!(poll_once(&mut joined).await.is_none());
        bench.release(GOOD);
        assert_eq!(joined.await.expect("a report").source, Source::Live, "joins the call that goes on");
        assert_eq!(bench.ask("70569", 1).await.expect("a report").source, Source::Cache);
        assert_eq!(bench.calls(), 1, "one call for all of them");
        assert_eq!(circuit(&bench)["failures_in_a_row"], 0);
    });
}

#[test]
fn an_answer_without_a_caller_left_is_kept_and_recorded_as_any_other() {
    let bench = Bench::new(Behaviour::Wait);
    bench.run(async {
        in_a_hurry(&bench, "70569", 0).await.expect_err("too late");
        bench.release(GOOD);
        until_kept(&bench, 1).await;
        assert_eq!(bench.ask("70569", 1).await.expect("a report").source, Source::Cache);
        assert_eq!((bench.calls(), bench.weather.counts().upstream.answered), (1, 1));
    });
}

#[test]
fn a_refresh_that_is_late_for_its_caller_is_there_for_the_next_one() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.ask("70569", 0).await.expect("a report");
        bench.does(Behaviour::Wait);
        assert_eq!(in_a_hurry(&bench, "70569", 610).await.expect("kept").source, Source::Stale, "revalidated");
        assert_eq!(in_a_hurry(&bench, "70569", 700).await.expect("kept").source, Source::Stale, "waits in vain");
        while bench.calls() < 2 {
            yield_now().await;
        }
        bench.release(GOOD);
        while bench.weather.counts().upstream.answered < 2 {
            yield_now().await;
        }
        assert_eq!(bench.ask("70569", 700).await.expect("a report").source, Source::Cache);
        assert_eq!(bench.calls(), 2, "one refresh for both");
    });
}

#[test]
fn callers_that_give_up_teach_the_circuit_nothing() {
    let bench = Bench::new(Behaviour::Wait);
    bench.run(async {
        for zip in 1..=30 {
            let error = in_a_hurry(&bench, &zip.to_string(), 0).await.expect_err("too late");
            assert_eq!(error.code, Code::UpstreamTimeout);
        }
        let shown = circuit(&bench);
        assert_eq!((&shown["state"], &shown["recent_calls"]), (&"closed".into(), &0.into()), "{shown}");
        assert_eq!(shown["in_flight"], 30);
    });
}

#[test]
fn fetches_are_bounded_and_one_more_place_is_told_to_wait() {
    let mut config = config();
    config.call.max_concurrent = 3;
    let bench = Bench::with(Behaviour::Wait, &config);
    bench.run(async {
        for zip in 1..=3 {
            in_a_hurry(&bench, &zip.to_string(), 0).await.expect_err("too late");
        }
        let error = in_a_hurry(&bench, "4", 0).await.expect_err("no room");
        assert_eq!((error.code, error.code.status()), (Code::Overloaded, 503));
        assert_eq!(in_a_hurry(&bench, "3", 0).await.expect_err("joins").code, Code::UpstreamTimeout);
        assert_eq!(bench.calls(), 3);
    });
}

#[test]
fn slow_answers_open_no_circuit() {
    let mut config = config();
    config.breaker.slow_call = Duration::from_nanos(1);
    let bench = Bench::with(GOOD, &config);
    bench.run(async {
        for zip in 1..=60 {
            bench.ask(&zip.to_string(), 0).await.expect("a report");
        }
        assert_eq!(circuit(&bench)["state"], "closed");
    });
}

#[test]
fn places_that_are_fresh_stay_so_while_the_weather_api_is_down_whatever_else_is_asked() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        for zip in 1..=10 {
            bench.ask(&zip.to_string(), 0).await.expect("a report");
        }
        bench.does(DOWN);
        for new in 100..400_u64 {
            let error = bench.ask(&new.to_string(), new).await.expect_err("nothing is known of a new place");
            assert_eq!((error.code, error.code.status()), (Code::UpstreamUnavailable, 502));
            let report = bench.ask(&(new % 10 + 1).to_string(), new).await.expect("kept");
            assert_eq!((report.source, report.message.as_str()), (Source::Cache, Report::OK));
        }
        assert!(bench.calls() < 10 + 150, "{} calls: the circuit was open", bench.calls());
    });
}

#[test]
fn after_an_outage_unknown_places_close_the_circuit_as_well() {
    let bench = Bench::new(DOWN);
    bench.run(async {
        for zip in 1..=10 {
            bench.ask(&zip.to_string(), 0).await.expect_err("down");
        }
        assert_eq!(circuit(&bench)["state"], "open");
        bench.does(Behaviour::Answer(404, NOT_FOUND));
        for zip in 10..=57 {
            assert_eq!(code(bench.ask(&zip.to_string(), 4).await), Code::UnknownPlace);
        }
        assert_eq!(circuit(&bench)["state"], "closed");
    });
}

#[test]
fn an_outage_costs_three_seconds_after_its_end_however_long_it_was() {
    let bench = Bench::new(DOWN);
    bench.run(async {
        for second in 0..600 {
            let error = bench.ask(&format!("1{second}"), second).await.expect_err("down");
            assert!(error.retry_after_s().is_some_and(|wait| (1..=3).contains(&wait)), "{second}: {error:?}");
        }
        bench.does(GOOD);
        assert_eq!(bench.ask("2", 603).await.expect("a report").source, Source::Live);
    });
}

#[test]
fn the_time_to_wait_is_what_is_left_until_the_circuit_is_tried_again() {
    let bench = Bench::new(DOWN);
    bench.run(async {
        for zip in 1..=10 {
            bench.ask(&zip.to_string(), 0).await.expect_err("down");
        }
        let response = bench.get("/weather?zip=70569&country=DE").await;
        assert_eq!((u16::from(response.status()), header(&response, "retry-after").as_str()), (502, "3"));
        let millis: u64 = header(&response, "x-bramble-retry-after-ms").parse().expect("milliseconds");
        assert!((2000..=3000).contains(&millis), "{millis}");
        let left = bench.ask("70569", 2).await.expect_err("open").retry_after.expect("known");
        assert!((900..=1100).contains(&left.as_millis()), "{left:?}");
    });
}
