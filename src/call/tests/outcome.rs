//! Effect of each outcome on the instance, the service and the caller: the rows of the table in the design.

use super::*;
use crate::breaker::HealthCheck;

/// Ids that differ.
fn distinct(asked: &[String]) -> usize {
    asked.iter().collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn an_answer_is_given_to_the_caller_and_its_latency_is_recorded() {
    let mut fixture = Fixture::new(1);
    fixture.spend_retries();
    (0..5).for_each(|_| assert_eq!(fixture.call(|_| ok(7)).outcome, CallOutcome::Attempt(0)));
    assert_eq!(fixture.endpoint(0).latency(fixture.now), Some(millis(7)));
    assert_eq!(fixture.retries_left(), 1, "five answers pay for one retry");
}

#[test]
fn an_answer_to_the_trial_call_closes_a_half_open_circuit() {
    let mut fixture = Fixture::new(2);
    assert_eq!(
        fixture.call(|ask| if ask.attempt == 0 { Ending::Refused } else { ok(1) }).outcome,
        CallOutcome::Attempt(1)
    );
    let out = (0..2).find(|number| fixture.state(*number) == State::Open).expect("one is out");
    fixture.wait(millis(1000));
    assert_eq!(fixture.call(|_| ok(1)).asked, [target(out).id]);
    assert_eq!(fixture.state(out), State::Ramping);
}

#[test]
fn when_the_upstream_of_an_instance_failed_exactly_one_other_is_asked_and_its_answer_given() {
    let mut fixture = Fixture::new(4);
    let failed = fixture.call(|_| Ending::UpstreamFailed);
    assert_eq!((failed.outcome, distinct(&failed.asked)), (CallOutcome::Attempt(1), 2));
    let second = fixture.call(|ask| if ask.attempt == 0 { Ending::UpstreamFailed } else { ok(1) });
    assert_eq!((second.outcome, second.asked.len()), (CallOutcome::Attempt(1), 2));
    fixture.spend_retries();
    let unpaid = fixture.call(|_| Ending::UpstreamFailed);
    assert_eq!((unpaid.outcome, unpaid.asked.len()), (CallOutcome::Attempt(0), 1), "the budget is empty");
}

#[test]
fn instances_whose_upstream_fails_stay_in_and_are_alive() {
    let mut fixture = Fixture::new(2);
    (0..50).for_each(|_| drop(fixture.call(|_| Ending::UpstreamFailed)));
    assert!((0..2).all(|number| fixture.endpoint(number).breaker().generation() == 0));
    assert!(fixture.service.next_probe(fixture.now).is_none() && fixture.service.circuit().open_since().is_none());
}

#[test]
fn an_upstream_failure_is_given_rather_than_the_error_of_the_other_instance() {
    let mut fixture = Fixture::new(2);
    for other in [Ending::Failed, Ending::Refused, NO_ROOM, Ending::TimedOut] {
        fixture.wait(Duration::from_secs(60));
        (0..2).for_each(|number| {
            fixture.service.probed(&Probe::of(&fixture.endpoint(number)), HealthCheck::Alive, fixture.now);
        });
        let run = fixture.call(|ask| if ask.attempt == 0 { Ending::UpstreamFailed } else { other });
        assert_eq!((run.outcome, run.asked.len()), (CallOutcome::Attempt(0), 2), "{other:?}");
    }
}

#[test]
fn without_room_each_other_is_asked_once_at_once_and_without_budget() {
    let mut fixture = Fixture::new(3);
    fixture.spend_retries();
    let run = fixture.call(|_| NO_ROOM);
    assert_eq!((run.outcome, run.asked.len(), distinct(&run.asked)), (CallOutcome::Attempt(2), 3, 3));
    let mut fixture = Fixture::new(3);
    fixture.spend_retries();
    let run = fixture.call(|ask| if ask.attempt < 2 { NO_ROOM } else { ok(1) });
    assert_eq!(run.outcome, CallOutcome::Attempt(2));
}

#[test]
fn when_all_have_said_that_they_have_no_room_exactly_one_is_asked_and_the_call_does_not_wait() {
    let mut fixture = Fixture::new(3);
    drop(fixture.call(|_| NO_ROOM));
    for _ in 0..20 {
        let run = fixture.call(|_| NO_ROOM); // panics if the machine waits
        assert_eq!((run.outcome, run.asked.len()), (CallOutcome::Attempt(0), 1));
    }
    fixture.wait(millis(500));
    assert_eq!(fixture.call(|_| ok(1)).outcome, CallOutcome::Attempt(0));
    assert!((0..3).all(|number| fixture.endpoint(number).breaker().generation() == 0), "none has failed");
}

#[test]
fn of_many_instances_without_room_at_most_four_are_asked() {
    let mut fixture = Fixture::new(20);
    let run = fixture.call(|_| NO_ROOM);
    assert_eq!((run.outcome, run.asked.len(), distinct(&run.asked)), (CallOutcome::Attempt(3), 4, 4));
}

#[test]
fn another_server_or_a_refused_connection_is_out_at_once_and_another_instance_is_asked_without_budget() {
    for bad in [Ending::WrongPeer, Ending::Refused] {
        let mut fixture = Fixture::new(3);
        fixture.spend_retries();
        let run = fixture.call(|ask| if ask.attempt < 2 { bad } else { ok(1) });
        assert_eq!((run.outcome, distinct(&run.asked)), (CallOutcome::Attempt(2), 3), "{bad:?}");
        let out = (0..3).filter(|number| fixture.state(*number) == State::Open).count();
        assert_eq!(out, 2, "{bad:?}");
        assert_eq!(fixture.call(|_| ok(1)).asked, run.asked[2..], "{bad:?}");
    }
}

#[test]
fn three_attempts_are_free_and_those_after_them_are_paid() {
    for bad in [Ending::WrongPeer, Ending::Refused] {
        let mut fixture = Fixture::new(8);
        let before = fixture.retries_left();
        let run = fixture.call(|ask| if ask.attempt < 5 { bad } else { ok(1) });
        assert_eq!((run.outcome, before - fixture.retries_left()), (CallOutcome::Attempt(5), 2), "{bad:?}");
        let mut fixture = Fixture::new(8);
        fixture.spend_retries();
        assert_eq!(fixture.call(|_| bad).asked.len(), 4, "{bad:?}");
    }
}

#[test]
fn a_failure_is_followed_by_another_instance_within_the_budget() {
    for bad in [Ending::Failed, Ending::TimedOut] {
        let mut fixture = Fixture::new(3);
        let before = fixture.retries_left();
        let run = fixture.call(|ask| if ask.attempt == 0 { bad } else { ok(1) });
        assert_eq!((run.outcome, distinct(&run.asked)), (CallOutcome::Attempt(1), 2), "{bad:?}");
        assert_eq!(before - fixture.retries_left(), 1, "{bad:?}");
        fixture.spend_retries();
        let run = fixture.call(|_| bad);
        assert_eq!((run.outcome, run.asked.len()), (CallOutcome::Attempt(0), 1), "{bad:?}");
        fixture.wait(Duration::from_secs(10));
        assert_eq!(fixture.call(|_| bad).asked.len(), 2, "{bad:?}: a trickle of one in ten seconds");
    }
}

#[test]
fn a_retry_that_has_no_other_instance_to_ask_costs_no_budget() {
    let mut fixture = Fixture::new(1);
    let before = fixture.retries_left();
    assert_eq!(fixture.call(|_| Ending::Failed).outcome, CallOutcome::Attempt(0));
    assert_eq!(fixture.retries_left(), before);
}

#[test]
fn an_instance_that_fails_five_times_is_out_and_its_calls_go_elsewhere() {
    let mut fixture = Fixture::new(2);
    for _ in 0..40 {
        assert!(matches!(
            fixture.call(|ask| if ask.endpoint.id() == target(0).id { Ending::Failed } else { ok(1) }).outcome,
            CallOutcome::Attempt(_)
        ));
    }
    fixture.wait(millis(500));
    assert_eq!(fixture.call(|_| ok(1)).asked, [target(1).id]);
}

#[test]
fn no_answer_within_the_time_of_an_attempt_is_a_timeout_and_has_the_instance_checked_at_once() {
    let fixture = Fixture::new(2);
    let mut call = DrivenCall::new(&fixture);
    let first = call.begin(fixture.now);
    assert_eq!(first.deadline, fixture.now + millis(2000));
    let later = fixture.now + millis(2000);
    let second = call.asks(ended(0, Ending::TimedOut), later);
    assert_ne!(first.endpoint.id(), second.endpoint.id());
    assert_eq!(second.deadline, fixture.now + millis(3000), "what is left of the whole");
    assert!(first.endpoint.latency(later).is_some_and(|latency| latency >= millis(1999)));
    let checked: Vec<_> = fixture.service.probes_due(later).iter().map(|one| one.endpoint.id().to_owned()).collect();
    assert_eq!(checked, [first.endpoint.id()]);
}

#[test]
fn a_timeout_in_less_than_half_of_the_time_of_an_attempt_records_nothing() {
    for is_told in [true, false] {
        let fixture = Fixture::new(2);
        let mut call = DrivenCall::with(&fixture, Question::until(fixture.now + millis(999)));
        let ask = call.begin(fixture.now);
        let later = fixture.now + millis(999);
        let event = if is_told { ended(0, Ending::TimedOut) } else { CallEvent::Woken };
        assert_eq!(call.ends(event, later), CallOutcome::Late);
        assert_eq!((ask.endpoint.latency(later), ask.endpoint.in_flight()), (None, 0));
        assert_eq!(ask.endpoint.breaker().snapshot(later).calls, 0);
        assert!(fixture.service.probes_due(later).is_empty());
    }
}

#[test]
fn a_timeout_in_half_of_the_time_of_an_attempt_or_more_is_recorded() {
    for is_told in [true, false] {
        let fixture = Fixture::new(2);
        let mut call = DrivenCall::with(&fixture, Question::until(fixture.now + millis(1000)));
        let ask = call.begin(fixture.now);
        let later = fixture.now + millis(1000);
        let event = if is_told { ended(0, Ending::TimedOut) } else { CallEvent::Woken };
        assert_eq!(call.ends(event, later), CallOutcome::Late);
        assert_eq!(ask.endpoint.breaker().snapshot(later).failures, 1);
        assert_eq!(fixture.service.probes_due(later).len(), 1);
    }
}

#[test]
fn a_call_that_is_dropped_gives_its_permits_back_and_records_nothing() {
    let mut fixture = Fixture::new(1);
    assert_eq!(fixture.call(|_| Ending::Refused).outcome, CallOutcome::Attempt(0));
    fixture.wait(millis(1000));
    for _ in 0..3 {
        let mut call = DrivenCall::new(&fixture);
        let trial = call.begin(fixture.now);
        assert_eq!((trial.endpoint.in_flight(), trial.endpoint.breaker().state()), (1, State::HalfOpen));
        assert_eq!(trial.endpoint.breaker().snapshot(fixture.now).probes, 1);
        drop(call);
        assert_eq!(trial.endpoint.in_flight(), 0);
        assert_eq!(trial.endpoint.breaker().snapshot(fixture.now).probes, 0, "the trial is given back");
    }
    assert_eq!(fixture.call(|_| ok(1)).outcome, CallOutcome::Attempt(0));
    assert_eq!(fixture.state(0), State::Ramping);
}

#[test]
fn an_attempt_that_its_driver_cancels_ends_the_call_and_records_nothing() {
    let fixture = Fixture::new(2);
    let mut call = DrivenCall::new(&fixture);
    let ask = call.begin(fixture.now);
    assert_eq!(call.ends(ended(0, Ending::Cancelled), fixture.now + millis(5)), CallOutcome::Attempt(0));
    assert_eq!(ask.endpoint.breaker().snapshot(fixture.now).calls, 0);
}

#[test]
fn what_was_answered_before_the_time_was_over_is_given_rather_than_that_the_time_is_over() {
    for (first, expected) in [
        (Ending::UpstreamFailed, CallOutcome::Attempt(0)),
        (NO_ROOM, CallOutcome::Attempt(0)),
        (Ending::Failed, CallOutcome::Attempt(0)),
        (Ending::Refused, CallOutcome::Late),
    ] {
        for is_told in [true, false] {
            let fixture = Fixture::new(2);
            let mut call = DrivenCall::with(&fixture, Question::until(fixture.now + millis(1500)));
            call.begin(fixture.now);
            let other = call.asks(ended(0, first), fixture.now + millis(100));
            let later = fixture.now + millis(1500);
            let event = if is_told { ended(1, Ending::TimedOut) } else { CallEvent::Woken };
            assert_eq!(call.ends(event, later), expected, "{first:?}");
            assert_eq!(other.endpoint.breaker().snapshot(later).failures, 1, "{first:?}: it has timed out");
        }
    }
}

#[test]
fn an_answer_at_the_last_moment_is_given() {
    let fixture = Fixture::new(1);
    let mut call = DrivenCall::new(&fixture);
    call.begin(fixture.now);
    assert_eq!(call.ends(ended(0, ok(3000)), fixture.now + millis(3000)), CallOutcome::Attempt(0));
}

#[test]
fn a_call_without_time_asks_no_instance() {
    let fixture = Fixture::new(1);
    let mut call = DrivenCall::with(&fixture, Question::until(fixture.now));
    assert_eq!(call.ends(CallEvent::Begin, fixture.now), CallOutcome::Late);
    assert_eq!(fixture.endpoint(0).in_flight(), 0);
}

#[test]
fn without_instances_the_verdict_says_so() {
    assert_eq!(Fixture::new(0).call(|_| ok(1)), Run { outcome: CallOutcome::NoInstance, asked: Vec::new() });
    let mut fixture = Fixture::new(1);
    fixture.service.update(&[Target { draining: true, ..target(0) }], fixture.now);
    assert_eq!(fixture.call(|_| ok(1)).outcome, CallOutcome::NoInstance);
}

#[test]
fn an_event_of_an_attempt_that_is_not_out_changes_nothing() {
    let fixture = Fixture::new(3);
    let mut call = DrivenCall::new(&fixture);
    call.begin(fixture.now);
    call.waits(ended(7, ok(1)), fixture.now);
    assert_eq!(call.ends(ended(0, ok(1)), fixture.now), CallOutcome::Attempt(0));
    assert_eq!(call.ends(ended(0, Ending::Failed), fixture.now), CallOutcome::Attempt(0));
    assert_eq!(call.machine.retries(), 0);
}

#[test]
fn equal_questions_go_to_the_same_instance_and_their_retries_to_the_same_other_one() {
    let mut fixture = Fixture::new(5);
    for key in 0..10 {
        let question = Question { key: Some(key), ..Question::until(fixture.now + millis(3000)) };
        let answer = |ask: &Ask| if ask.attempt == 0 { Ending::UpstreamFailed } else { ok(1) };
        let first = fixture.run(question, answer);
        assert_eq!(fixture.run(question, answer), first);
    }
}
