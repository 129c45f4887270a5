//! The circuit of the whole service.

use super::*;
use crate::breaker::{HealthCheck, Outcome};

/// All health checks fail at this moment.
fn all_silent(fixture: &Fixture) {
    for endpoint in fixture.service.balancer().endpoints() {
        fixture.service.probed(&Probe::of(&endpoint), HealthCheck::Silent, fixture.now);
    }
}

/// A service that has been silent long enough for its circuit to be open.
fn open(count: usize) -> Fixture {
    let mut fixture = Fixture::new(count);
    fixture.succeed(1);
    fixture.wait(millis(3000));
    all_silent(&fixture);
    assert!(fixture.service.circuit().open_since().is_some());
    fixture
}

#[test]
fn it_opens_when_all_are_out_and_none_has_answered_for_three_seconds() {
    let mut fixture = Fixture::new(2);
    fixture.wait(millis(1000));
    fixture.succeed(1);
    fixture.wait(millis(2999));
    all_silent(&fixture);
    assert!(fixture.service.circuit().open_since().is_none(), "an answer less than three seconds ago");
    fixture.wait(millis(1));
    all_silent(&fixture);
    assert_eq!(fixture.service.circuit().open_since(), Some(fixture.now));
    let retry_at = Some(fixture.now + millis(3000));
    assert_eq!(fixture.call(|_| ok(1)), Run { outcome: CallOutcome::Open { retry_at }, asked: Vec::new() });
}

#[test]
fn it_stays_closed_while_one_instance_is_in_however_badly_it_answers() {
    let mut fixture = Fixture::new(3);
    for _ in 0..20 {
        fixture.wait(millis(1000));
        (0..2).for_each(|number| {
            fixture.service.probed(&Probe::of(&fixture.endpoint(number)), HealthCheck::Silent, fixture.now);
        });
        assert!(matches!(fixture.call(|_| Ending::Failed).outcome, CallOutcome::Attempt(_)));
    }
    assert!(fixture.service.circuit().generation() == 0);
}

#[test]
fn it_stays_closed_while_instances_answer_and_fail() {
    let mut fixture = Fixture::new(2);
    for _ in 0..50 {
        fixture.wait(millis(200));
        let run = fixture.call(|_| Ending::Failed);
        assert!(matches!(run.outcome, CallOutcome::Attempt(_)), "{run:?}");
    }
    assert_eq!(fixture.service.circuit().generation(), 0);
}

#[test]
fn it_stays_closed_while_all_refuse_connections_since_that_costs_a_call_no_time() {
    let mut fixture = Fixture::new(3);
    for _ in 0..50 {
        fixture.wait(millis(200));
        assert!(matches!(fixture.call(|_| Ending::Refused).outcome, CallOutcome::Attempt(_)));
    }
    assert_eq!(fixture.service.circuit().generation(), 0);
}

#[test]
fn while_it_is_open_one_call_is_let_through_every_three_seconds() {
    let mut fixture = open(2);
    let mut asked = Vec::new();
    for tenths in 1..=100 {
        fixture.wait(millis(100));
        let run = fixture.call(|_| Ending::TimedOut);
        if !run.asked.is_empty() {
            asked.push((tenths, run.asked.len()));
        }
    }
    assert_eq!(asked, [(30, 1), (60, 1), (90, 1)]);
}

#[test]
fn any_proof_of_life_closes_it() {
    let proofs: [fn(&mut Fixture); 4] = [
        |fixture| fixture.service.probed(&Probe::of(&fixture.endpoint(1)), HealthCheck::Alive, fixture.now),
        |fixture| fixture.service.found_again(&fixture.endpoint(0), fixture.now),
        |fixture| {
            fixture.service.update(&[target(0), target(1), target(2)], fixture.now);
        },
        |fixture| {
            fixture.wait(millis(3000));
            assert_eq!(fixture.call(|_| Ending::Failed).outcome, CallOutcome::Attempt(0));
        },
    ];
    for proof in proofs {
        let mut fixture = open(2);
        fixture.wait(millis(500));
        proof(&mut fixture);
        assert!(fixture.service.circuit().open_since().is_none());
        assert!(!fixture.call(|_| ok(1)).asked.is_empty());
    }
}

#[test]
fn a_list_without_a_new_instance_is_no_proof_of_life() {
    let fixture = open(2);
    fixture.service.update(&[target(1)], fixture.now);
    fixture.service.update(&[target(1), Target { draining: true, ..target(7) }], fixture.now);
    assert!(fixture.service.circuit().open_since().is_some());
}

#[test]
fn calls_that_it_refuses_keep_the_health_checks_going() {
    let mut fixture = open(1);
    fixture.wait(millis(59_000));
    fixture.call(|_| Ending::TimedOut);
    fixture.wait(millis(59_000));
    assert_eq!(fixture.probes(), [target(0).id]);
}

#[test]
fn while_all_refuse_connections_calls_are_let_through_however_often_that_is_checked() {
    let mut fixture = Fixture::new(2);
    for number in 0..2 {
        fixture
            .endpoint(number)
            .breaker()
            .try_acquire(fixture.now)
            .expect("closed")
            .record(Outcome::Refused, fixture.now);
    }
    for _ in 0..20 {
        fixture.wait(millis(1000));
        (0..2).for_each(|number| {
            fixture.service.probed(&Probe::of(&fixture.endpoint(number)), HealthCheck::Refused, fixture.now);
        });
        assert_eq!(fixture.service.circuit().open_since(), None);
    }
}
