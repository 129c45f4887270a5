//! Health checks in the background: which endpoint is checked, and when.

use super::*;
use crate::breaker::HealthCheck;

/// Opens the circuit of one endpoint of a service in use.
fn refuse(fixture: &mut Fixture, number: usize) {
    let run = fixture.call(|ask| if ask.endpoint.id() == target(number).id { Ending::Refused } else { ok(1) });
    assert!(matches!(run.outcome, CallOutcome::Attempt(_)));
    if fixture.state(number) != State::Open {
        refuse(fixture, number);
    }
}

#[test]
fn an_open_circuit_is_checked_after_a_quarter_of_a_second_and_then_every_second() {
    let mut fixture = Fixture::new(3);
    refuse(&mut fixture, 1);
    let opened = fixture.now;
    assert_eq!(fixture.service.next_probe(fixture.now), Some(opened + millis(250)));
    let mut checked = Vec::new();
    for tens in 0..=400 {
        fixture.now = opened + millis(10 * tens);
        for id in fixture.probes() {
            assert_eq!(id, target(1).id);
            checked.push(10 * tens);
            fixture.service.probed(&Probe::of(&fixture.endpoint(1)), HealthCheck::Silent, fixture.now);
        }
    }
    assert_eq!(checked, [250, 1250, 2250, 3250]);
}

#[test]
fn while_all_are_out_up_to_four_are_checked_every_quarter_of_a_second_and_more_of_them_less_often() {
    for (count, every) in [(1, 250), (4, 250), (5, 500), (8, 500), (12, 750), (16, 1000)] {
        let mut fixture = Fixture::new(count);
        (0..count).for_each(|number| {
            fixture.service.probed(&Probe::of(&fixture.endpoint(number)), HealthCheck::Silent, fixture.now);
        });
        fixture.wait(millis(5000));
        for endpoint in fixture.service.probes_due(fixture.now) {
            fixture.service.probed(&endpoint, HealthCheck::Silent, fixture.now);
        }
        assert_eq!(fixture.service.next_probe(fixture.now), Some(fixture.now + millis(every)), "of {count}");
    }
}

#[test]
fn while_the_others_have_no_room_one_that_is_out_is_checked_every_quarter_of_a_second() {
    let mut fixture = Fixture::new(2);
    refuse(&mut fixture, 1);
    for _ in 0..6 {
        fixture.wait(millis(250));
        fixture.call(|ask| if ask.endpoint.id() == target(0).id { NO_ROOM } else { Ending::Refused });
        assert_eq!(fixture.probes(), [target(1).id]);
        fixture.service.probed(&Probe::of(&fixture.endpoint(1)), HealthCheck::Refused, fixture.now);
    }
    fixture.wait(millis(1000));
    assert_eq!(fixture.probes(), [target(1).id]);
    fixture.service.probed(&Probe::of(&fixture.endpoint(1)), HealthCheck::Refused, fixture.now);
    fixture.wait(millis(250));
    assert_eq!(fixture.probes(), [""; 0], "the last refusal was more than a second ago");
}

#[test]
fn a_check_that_is_in_flight_is_not_begun_again() {
    let mut fixture = Fixture::new(2);
    refuse(&mut fixture, 0);
    fixture.wait(millis(250));
    assert_eq!(fixture.probes(), [target(0).id]);
    fixture.wait(millis(5000));
    assert_eq!((fixture.probes(), fixture.service.next_probe(fixture.now)), (Vec::new(), None));
    fixture.service.probed(&Probe::of(&fixture.endpoint(0)), HealthCheck::Silent, fixture.now);
    fixture.wait(millis(1000));
    assert_eq!(fixture.probes(), [target(0).id]);
}

#[test]
fn a_good_check_closes_what_silence_opened_and_ends_the_checks() {
    let mut fixture = Fixture::new(2);
    refuse(&mut fixture, 0);
    fixture.wait(millis(250));
    assert_eq!(fixture.probes(), [target(0).id]);
    fixture.service.probed(&Probe::of(&fixture.endpoint(0)), HealthCheck::Alive, fixture.now);
    assert_eq!(fixture.state(0), State::Ramping);
    fixture.wait(millis(1000));
    assert_eq!((fixture.probes(), fixture.service.next_probe(fixture.now)), (Vec::new(), None));
}

#[test]
fn what_failing_calls_opened_is_closed_by_a_call_and_not_by_a_check() {
    let mut fixture = Fixture::new(1);
    (0..5).for_each(|_| drop(fixture.call(|_| Ending::Failed)));
    assert_eq!(fixture.state(0), State::Open);
    fixture.wait(millis(250));
    assert_eq!(fixture.probes(), [target(0).id]);
    fixture.service.probed(&Probe::of(&fixture.endpoint(0)), HealthCheck::Alive, fixture.now);
    assert_eq!(fixture.state(0), State::Open);
    fixture.wait(millis(750));
    assert_eq!(fixture.call(|_| ok(1)).outcome, CallOutcome::Attempt(0));
    assert_eq!(fixture.state(0), State::Ramping);
}

#[test]
fn an_instance_that_is_suspected_is_checked_at_once_and_out_if_it_is_silent() {
    let mut fixture = Fixture::new(2);
    let run = fixture.call(|ask| if ask.attempt == 0 { Ending::TimedOut } else { ok(1) });
    assert_eq!(fixture.probes(), run.asked[..1]);
    let suspected = (0..2).find(|number| target(*number).id == run.asked[0]).expect("one of two");
    assert_eq!(fixture.state(suspected), State::Closed);
    fixture.wait(millis(1000));
    fixture.service.probed(&Probe::of(&fixture.endpoint(suspected)), HealthCheck::Silent, fixture.now);
    assert_eq!(fixture.state(suspected), State::Open);
    fixture.wait(millis(1000));
    assert_eq!(fixture.probes(), run.asked[..1], "and it is checked until it is back");
}

#[test]
fn an_instance_that_is_suspected_and_answers_stays_in_and_is_left_alone() {
    let mut fixture = Fixture::new(2);
    fixture.call(|ask| if ask.attempt == 0 { Ending::TimedOut } else { ok(1) });
    let checked = fixture.service.probes_due(fixture.now);
    fixture.service.probed(&checked[0], HealthCheck::Alive, fixture.now);
    assert_eq!(checked[0].endpoint.breaker().state(), State::Closed);
    fixture.wait(millis(1000));
    assert_eq!((fixture.probes(), fixture.service.next_probe(fixture.now)), (Vec::new(), None));
}

#[test]
fn a_service_that_was_not_called_for_a_minute_is_not_checked_until_its_next_call() {
    let mut fixture = Fixture::new(2);
    refuse(&mut fixture, 0);
    fixture.wait(millis(59_999));
    assert!(fixture.service.next_probe(fixture.now).is_some());
    fixture.wait(millis(1));
    assert_eq!((fixture.probes(), fixture.service.next_probe(fixture.now)), (Vec::new(), None));
    let used = Question { may_hedge: false, ..Question::until(fixture.now + millis(3000)) };
    fixture.run(used, |_| Ending::Cancelled);
    assert_eq!(fixture.probes(), [target(0).id]);
}

#[test]
fn at_most_sixteen_checks_are_in_flight_and_each_endpoint_has_its_turn() {
    let mut fixture = Fixture::new(40);
    (0..40).for_each(|number| {
        fixture.service.probed(&Probe::of(&fixture.endpoint(number)), HealthCheck::Silent, fixture.now);
    });
    fixture.wait(millis(1250));
    let mut checked = std::collections::HashSet::new();
    for _ in 0..3 {
        let due = fixture.service.probes_due(fixture.now);
        assert!(due.len() <= PROBES_MAX && fixture.probes().is_empty(), "all places are taken");
        checked.extend(due.iter().map(|probe| probe.endpoint.id().to_owned()));
        due.iter().for_each(|endpoint| fixture.service.probed(endpoint, HealthCheck::Silent, fixture.now));
    }
    assert_eq!(checked.len(), 40);
}

#[test]
fn an_endpoint_that_has_left_is_not_checked_any_more() {
    let mut fixture = Fixture::new(3);
    (0..2).for_each(|number| refuse(&mut fixture, number));
    fixture.service.update(&[target(1), target(2)], fixture.now);
    fixture.wait(millis(1000));
    assert_eq!(fixture.probes(), [target(1).id]);
    fixture.service.update(&[target(2)], fixture.now);
    fixture.wait(millis(1000));
    assert_eq!((fixture.probes(), fixture.service.next_probe(fixture.now)), (Vec::new(), None));
}

#[test]
fn an_instance_that_discovery_found_again_takes_calls_at_once() {
    let mut fixture = Fixture::new(1);
    refuse_all(&mut fixture);
    fixture.service.found_again(&fixture.endpoint(0), fixture.now);
    assert_eq!(fixture.call(|_| ok(1)).outcome, CallOutcome::Attempt(0));
    assert!(fixture.endpoint(0).breaker().state().is_available());
}

fn refuse_all(fixture: &mut Fixture) {
    fixture.call(|_| Ending::Refused);
    assert_eq!(fixture.state(0), State::Open);
}
