use super::*;
use crate::contestant::rules::BrambleRules;
use crate::contestant::{Contestant, baseline};
use crate::scenario::{Change, Questions, Scenario, millis, secs};
use crate::world::{CallRecord, Record, run};
use std::ops::Range;

/// A server and one client of 10 calls a second with one question again and again, and a share of new ones, for 200 s.
fn one_producer(fresh_for: Duration, new_share: f64) -> Scenario {
    let upstream = UpstreamSpec { latency: millis(60), fresh_for, fetch_timeout: secs(5), filled: true };
    let scenario = Scenario::new("test", 1, 5)
        .clients(1, 10.0)
        .which(|clients| clients.questions = Questions::Keyed { known: 1, new_share, new_from: Duration::ZERO });
    Scenario { upstream: Some(upstream), ..scenario }.phase("all", secs(0)..secs(200))
}

fn run_round_robin(scenario: &Scenario) -> Record {
    run(scenario, baseline::all()[0], 1)
}

fn known(record: &Record, time: Range<Duration>) -> Vec<CallRecord> {
    record.calls.iter().filter(|call| call.known && time.contains(&call.begun)).copied().collect()
}

fn fetches(record: &Record, time: Range<Duration>) -> usize {
    record.fetches.iter().filter(|at| time.contains(*at)).count()
}

#[test]
fn an_answer_that_has_just_expired_is_given_at_once_while_one_fetch_refreshes_it() {
    let record = run_round_robin(&one_producer(secs(60), 0.0));
    assert_eq!(fetches(&record, secs(0)..secs(60)), 0, "it was there at the start");
    assert_eq!(fetches(&record, secs(60)..secs(100)), 1);
    let calls = known(&record, secs(60)..secs(62));
    assert!(calls.iter().all(|call| call.answered && call.took < millis(50)), "{calls:?}");
}

#[test]
fn an_answer_that_is_long_out_of_date_is_given_when_the_upstream_fails() {
    let fails = one_producer(secs(20), 0.0).at(secs(10), Change::Upstream(UpstreamCondition::Failing));
    let calls = known(&run_round_robin(&fails), secs(60)..secs(200));
    assert!(calls.iter().all(|call| call.answered));
    assert!(calls.iter().any(|call| call.took > UPSTREAM_ERROR), "the upstream was asked first");
}

#[test]
fn a_question_whose_fetch_has_failed_is_not_fetched_again_for_a_second() {
    let fails = one_producer(secs(20), 0.0).at(secs(10), Change::Upstream(UpstreamCondition::Failing));
    let count = fetches(&run_round_robin(&fails), secs(60)..secs(160));
    assert!((80..=100).contains(&count), "{count} in 100 s, of 1000 calls");
}

#[test]
fn an_upstream_that_fails_is_asked_hardly_ever_once_the_producers_circuit_has_opened() {
    let fails = one_producer(secs(600), 0.5).at(secs(10), Change::Upstream(UpstreamCondition::Failing));
    let bramble = BrambleRules::default();
    let [with, without] = [&bramble as &dyn Contestant, baseline::all()[0]].map(|one| run(&fails, one, 1));
    assert!(fetches(&without, secs(20)..secs(120)) > 400);
    assert!(fetches(&with, secs(20)..secs(120)) < 120);
    assert!(known(&with, secs(20)..secs(120)).iter().all(|call| call.answered && call.took < millis(50)));
}

#[test]
fn the_circuit_of_a_producer_closes_again() {
    let back = one_producer(secs(600), 0.5)
        .at(secs(10), Change::Upstream(UpstreamCondition::Failing))
        .at(secs(60), Change::Upstream(UpstreamCondition::Up));
    let record = run(&back, &BrambleRules::default(), 1);
    assert!(record.calls.iter().filter(|call| call.begun > secs(65)).all(|call| call.answered));
}
