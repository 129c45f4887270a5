//! The circuit of the whole service.

use super::*;
use crate::breaker::{HealthCheck, Outcome};

/// All health checks fail at this moment.
fn all_silent(story: &Fixture) {
    for endpoint in story.service.balancer().endpoints() {
        story.service.probed(&Probe::of(&endpoint), HealthCheck::Silent, story.now);
    }
}

/// A service that has been silent long enough for its circuit to be open.
fn open(count: usize) -> Fixture {
    let mut story = Fixture::new(count);
    story.succeed(1);
    story.wait(millis(3000));
    all_silent(&story);
    assert!(story.service.circuit().open_since().is_some());
    story
}

#[test]
fn it_opens_when_all_are_out_and_none_has_answered_for_three_seconds() {
    let mut story = Fixture::new(2);
    story.wait(millis(1000));
    story.succeed(1);
    story.wait(millis(2999));
    all_silent(&story);
    assert!(story.service.circuit().open_since().is_none(), "an answer less than three seconds ago");
    story.wait(millis(1));
    all_silent(&story);
    assert_eq!(story.service.circuit().open_since(), Some(story.now));
    let retry_at = Some(story.now + millis(3000));
    assert_eq!(story.call(|_| ok(1)), Run { outcome: CallOutcome::Open { retry_at }, asked: Vec::new() });
}

#[test]
fn it_stays_closed_while_one_instance_is_in_however_badly_it_answers() {
    let mut story = Fixture::new(3);
    for _ in 0..20 {
        story.wait(millis(1000));
        (0..2).for_each(|number| {
            story.service.probed(&Probe::of(&story.endpoint(number)), HealthCheck::Silent, story.now);
        });
        assert!(matches!(story.call(|_| Ending::Failed).outcome, CallOutcome::Attempt(_)));
    }
    assert!(story.service.circuit().generation() == 0);
}

#[test]
fn it_stays_closed_while_instances_answer_and_fail() {
    let mut story = Fixture::new(2);
    for _ in 0..50 {
        story.wait(millis(200));
        let run = story.call(|_| Ending::Failed);
        assert!(matches!(run.outcome, CallOutcome::Attempt(_)), "{run:?}");
    }
    assert_eq!(story.service.circuit().generation(), 0);
}

#[test]
fn it_stays_closed_while_all_refuse_connections_since_that_costs_a_call_no_time() {
    let mut story = Fixture::new(3);
    for _ in 0..50 {
        story.wait(millis(200));
        assert!(matches!(story.call(|_| Ending::Refused).outcome, CallOutcome::Attempt(_)));
    }
    assert_eq!(story.service.circuit().generation(), 0);
}

#[test]
fn while_it_is_open_one_call_is_let_through_every_three_seconds() {
    let mut story = open(2);
    let mut asked = Vec::new();
    for tenths in 1..=100 {
        story.wait(millis(100));
        let run = story.call(|_| Ending::TimedOut);
        if !run.asked.is_empty() {
            asked.push((tenths, run.asked.len()));
        }
    }
    assert_eq!(asked, [(30, 1), (60, 1), (90, 1)]);
}

#[test]
fn any_proof_of_life_closes_it() {
    let proofs: [fn(&mut Fixture); 4] = [
        |story| story.service.probed(&Probe::of(&story.endpoint(1)), HealthCheck::Alive, story.now),
        |story| story.service.found_again(&story.endpoint(0), story.now),
        |story| {
            story.service.update(&[target(0), target(1), target(2)], story.now);
        },
        |story| {
            story.wait(millis(3000));
            assert_eq!(story.call(|_| Ending::Failed).outcome, CallOutcome::Attempt(0));
        },
    ];
    for proof in proofs {
        let mut story = open(2);
        story.wait(millis(500));
        proof(&mut story);
        assert!(story.service.circuit().open_since().is_none());
        assert!(!story.call(|_| ok(1)).asked.is_empty());
    }
}

#[test]
fn a_list_without_a_new_instance_is_no_proof_of_life() {
    let story = open(2);
    story.service.update(&[target(1)], story.now);
    story.service.update(&[target(1), Target { draining: true, ..target(7) }], story.now);
    assert!(story.service.circuit().open_since().is_some());
}

#[test]
fn calls_that_it_refuses_keep_the_health_checks_going() {
    let mut story = open(1);
    story.wait(millis(59_000));
    story.call(|_| Ending::TimedOut);
    story.wait(millis(59_000));
    assert_eq!(story.probes(), [target(0).id]);
}

#[test]
fn while_all_refuse_connections_calls_are_let_through_however_often_that_is_checked() {
    let mut story = Fixture::new(2);
    for number in 0..2 {
        story.endpoint(number).breaker().try_acquire(story.now).expect("closed").record(Outcome::Refused, story.now);
    }
    for _ in 0..20 {
        story.wait(millis(1000));
        (0..2).for_each(|number| {
            story.service.probed(&Probe::of(&story.endpoint(number)), HealthCheck::Refused, story.now);
        });
        assert_eq!(story.service.circuit().open_since(), None);
    }
}
