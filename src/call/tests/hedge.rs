//! A copy of a late call, its budget, and what the slower of the two shows.

use super::*;
use crate::breaker::HealthCheck;

/// A service of which the last hundred calls took 1 to 100 ms: a p95 of 96 ms.
fn known(count: usize) -> Fixture {
    let mut fixture = Fixture::new(count);
    (1..=100).for_each(|latency| fixture.succeed(latency));
    assert_eq!(fixture.service.p95(), millis(96));
    fixture
}

#[test]
fn a_copy_goes_to_another_instance_when_the_call_is_later_than_95_of_100() {
    let fixture = known(3);
    let mut call = DrivenCall::new(&fixture);
    let first = call.begin(fixture.now);
    let late = fixture.now + millis(96);
    assert_eq!(call.waits(CallEvent::Woken, fixture.now), late);
    assert_eq!(call.waits(CallEvent::Woken, late - millis(1)), late);
    let copy = call.asks(CallEvent::Woken, late);
    assert!(copy.attempt == 1 && copy.endpoint.id() != first.endpoint.id());
    assert_eq!(call.waits_until(CallEvent::Woken, late), fixture.now + millis(3000), "and no second copy");
    assert_eq!(call.ends(ended(1, ok(5)), late + millis(5)), CallOutcome::Attempt(1));
}

#[test]
fn while_few_latencies_are_known_a_call_is_late_after_200_ms_and_never_before_10() {
    let mut fixture = Fixture::new(2);
    let late = |fixture: &Fixture| {
        let mut call = DrivenCall::new(fixture);
        call.begin(fixture.now);
        call.waits(CallEvent::Woken, fixture.now) - fixture.now
    };
    assert_eq!(late(&fixture), millis(200));
    (0..20).for_each(|_| fixture.succeed(1));
    assert_eq!(late(&fixture), millis(10));
}

#[test]
fn when_a_call_is_late_can_be_set_or_turned_off_for_all_or_for_one() {
    let wait = |fixture: &Fixture, may_hedge: bool| {
        let mut call = DrivenCall::with(fixture, Question { may_hedge, ..Question::until(fixture.now + millis(3000)) });
        call.begin(fixture.now);
        call.waits(CallEvent::Woken, fixture.now) - fixture.now
    };
    let fixed = Fixture::with(2, |settings| settings.hedge_after = HedgeDelay::After(millis(70)));
    let suspected = millis(240); // 1.2 times what is taken for the p95 while it is unknown
    assert_eq!((wait(&fixed, true), wait(&fixed, false)), (millis(70), suspected));
    let off = Fixture::with(2, |settings| settings.hedge_after = HedgeDelay::Off);
    assert_eq!(wait(&off, true), suspected);
}

#[test]
fn no_copy_is_sent_where_no_other_instance_is_well_and_none_is_paid_for() {
    let fixture = known(2);
    let mut call = DrivenCall::new(&fixture);
    let first = call.begin(fixture.now);
    let other = fixture.service.balancer().endpoints().into_iter().find(|one| one.id() != first.endpoint.id());
    other.expect("two").probed(HealthCheck::Silent, fixture.now);
    assert_eq!(call.waits_until(CallEvent::Woken, fixture.now + millis(96)), fixture.now + millis(3000));
}

#[test]
fn copies_are_paid_from_a_budget_of_their_own_that_a_tenth_of_the_successes_fills() {
    let copies = |fixture: &Fixture, calls: usize| {
        let is_copied = |_: &usize| {
            let mut call = DrivenCall::new(fixture);
            call.begin(fixture.now);
            let late = fixture.now + fixture.service.p95().max(millis(10));
            let copied = matches!(call.step(CallEvent::Woken, late), Step::Ask(_));
            call.step(ended(0, Ending::Cancelled), late);
            copied
        };
        (0..calls).filter(is_copied).count()
    };
    let mut fixture = Fixture::new(3);
    fixture.spend_retries();
    assert_eq!(copies(&fixture, 100), 5, "what is there at the start");
    (0..30).for_each(|_| fixture.succeed(1));
    assert_eq!(copies(&fixture, 100), 3);
    fixture.wait(Duration::from_secs(20));
    assert_eq!(copies(&fixture, 100), 2, "a trickle with time");
    (0..1000).for_each(|_| fixture.succeed(1));
    assert_eq!(copies(&fixture, 100), 10, "what is saved is bounded");
    let fixture = Fixture::new(3);
    let before = fixture.retries_left();
    copies(&fixture, 100);
    assert_eq!(fixture.retries_left(), before, "copies take nothing from retries");
}

#[test]
fn the_slower_of_two_copies_counts_with_the_time_it_was_out_at_least() {
    let fixture = known(2);
    let mut call = DrivenCall::new(&fixture);
    let first = call.begin(fixture.now);
    let late = fixture.now + millis(96);
    call.asks(CallEvent::Woken, late);
    let answered = late + millis(4);
    assert_eq!(call.ends(ended(1, ok(4)), answered), CallOutcome::Attempt(1));
    let latency = first.endpoint.latency(answered).expect("known");
    assert!(latency >= millis(99), "{latency:?}");
    assert_eq!(first.endpoint.breaker().snapshot(answered).failures, 0, "which is no failure");
    assert_eq!(first.endpoint.in_flight(), 0);
    assert!(fixture.service.probes_due(answered).is_empty(), "100 ms are less than 1.2 times the p95");
}

#[test]
fn the_slower_of_two_copies_has_its_instance_checked_if_it_was_out_for_long() {
    let fixture = known(2);
    let mut call = DrivenCall::new(&fixture);
    let first = call.begin(fixture.now);
    call.asks(CallEvent::Woken, fixture.now + millis(96));
    let answered = fixture.now + millis(117);
    call.ends(ended(1, ok(21)), answered);
    let checked: Vec<_> = fixture.service.probes_due(answered).iter().map(|one| one.endpoint.id().to_owned()).collect();
    assert_eq!(checked, [first.endpoint.id()]);
}

#[test]
fn the_slower_of_two_copies_has_timed_out_if_it_was_out_for_the_time_of_an_attempt() {
    let fixture = known(3);
    let mut call = DrivenCall::new(&fixture);
    let first = call.begin(fixture.now);
    call.asks(CallEvent::Woken, fixture.now + millis(96));
    let answered = fixture.now + millis(2001);
    call.ends(ended(1, ok(1905)), answered);
    assert_eq!(first.endpoint.breaker().snapshot(answered).failures, 1);
}

#[test]
fn when_one_of_two_copies_fails_the_call_waits_for_the_other_and_asks_no_third_meanwhile() {
    for bad in [Ending::Failed, Ending::Refused, NO_ROOM, Ending::WrongPeer, Ending::UpstreamFailed] {
        let fixture = known(4);
        let mut call = DrivenCall::new(&fixture);
        call.begin(fixture.now);
        let late = fixture.now + millis(96);
        call.asks(CallEvent::Woken, late);
        assert_eq!(call.waits_until(ended(0, bad), late + millis(1)), fixture.now + millis(3000), "{bad:?}");
        assert_eq!(call.ends(ended(1, ok(5)), late + millis(5)), CallOutcome::Attempt(1), "{bad:?}");
    }
}

#[test]
fn while_instances_have_no_room_no_copy_is_sent() {
    let mut fixture = known(3);
    let run = fixture.call(|ask| if ask.attempt == 0 { NO_ROOM } else { ok(1) });
    assert_eq!(run.outcome, CallOutcome::Attempt(1));
    fixture.wait(millis(500));
    let mut call = DrivenCall::new(&fixture);
    call.begin(fixture.now);
    call.waits_until(CallEvent::Woken, fixture.now + millis(96));
    fixture.wait(millis(5000));
    let mut call = DrivenCall::new(&fixture);
    call.begin(fixture.now);
    call.asks(CallEvent::Woken, fixture.now + millis(96));
}

#[test]
fn an_instance_that_is_silent_is_checked_when_it_is_late_and_another_is_asked_when_it_has_failed() {
    let fixture = known(3);
    let question = Question { may_hedge: false, key: Some(7), ..Question::until(fixture.now + millis(3000)) };
    let mut call = DrivenCall::with(&fixture, question);
    let first = call.begin(fixture.now);
    let suspected = call.waits(CallEvent::Woken, fixture.now);
    assert_eq!(suspected - fixture.now, millis(96).mul_f64(1.2));
    let checked = call.waits(CallEvent::Woken, suspected);
    let due = fixture.service.probes_due(suspected);
    assert!(due.len() == 1 && Arc::ptr_eq(&due[0].endpoint, &first.endpoint));
    fixture.service.probed(&Probe::of(&first.endpoint), HealthCheck::Silent, checked - millis(50));
    let second = call.asks(CallEvent::Woken, checked);
    assert!(!second.cached_only && !Arc::ptr_eq(&second.endpoint, &first.endpoint));
    assert_eq!(call.ends(ended(1, ok(5)), checked + millis(5)), CallOutcome::Attempt(1));
}

#[test]
fn a_call_to_silent_instances_asks_the_first_that_is_back_at_most_100_ms_later() {
    for copies in [false, true] {
        let fixture = known(3);
        let mut call =
            DrivenCall::with(&fixture, Question { may_hedge: copies, ..Question::until(fixture.now + millis(3000)) });
        let first = call.begin(fixture.now);
        let mut now = fixture.now + millis(96);
        if copies {
            call.asks(CallEvent::Woken, now);
        }
        let all = fixture.service.balancer().endpoints();
        assert!(all.iter().all(|endpoint| endpoint.probed(HealthCheck::Silent, now)));
        while now < fixture.now + millis(1400) {
            now = call.waits(CallEvent::Woken, now);
        }
        let is_untried = |one: &&Arc<Endpoint>| call.machine.tried.iter().all(|tried| !Arc::ptr_eq(tried, one));
        let back = all.iter().find(is_untried).expect("three");
        back.probed(HealthCheck::Alive, now);
        let woken = call.waits(CallEvent::Woken, now - millis(1));
        assert!(woken <= now + millis(100), "{:?}", woken - fixture.now);
        let second = call.asks(CallEvent::Woken, woken);
        assert!(Arc::ptr_eq(&second.endpoint, back) && !Arc::ptr_eq(&second.endpoint, &first.endpoint));
    }
}

#[test]
fn an_instance_that_is_late_but_alive_is_waited_for() {
    let fixture = known(3);
    let mut call =
        DrivenCall::with(&fixture, Question { may_hedge: false, ..Question::until(fixture.now + millis(3000)) });
    let first = call.begin(fixture.now);
    let suspected = call.waits(CallEvent::Woken, fixture.now);
    let checked = call.waits(CallEvent::Woken, suspected);
    fixture.service.probed(&Probe::of(&first.endpoint), HealthCheck::Alive, checked - millis(50));
    assert_eq!(call.waits(CallEvent::Woken, checked), fixture.now + millis(3000));
}

#[test]
fn the_copy_of_a_question_that_is_not_in_the_other_cache_leaves_the_call_to_its_home() {
    let fixture = known(3);
    let question = Question { key: Some(7), ..Question::until(fixture.now + millis(3000)) };
    let mut call = DrivenCall::with(&fixture, question);
    assert!(!call.begin(fixture.now).cached_only);
    let late = fixture.now + millis(96);
    assert!(call.asks(CallEvent::Woken, late).cached_only);
    call.waits_until(ended(1, Ending::UpstreamTimedOut), late + millis(1));
    assert_eq!(call.ends(ended(0, ok(1200)), fixture.now + millis(1200)), CallOutcome::Attempt(0));
}

#[test]
fn a_question_whose_home_is_silent_is_asked_of_the_only_other_instance_after_its_cache_had_nothing() {
    let fixture = known(2);
    let question = Question { key: Some(7), ..Question::until(fixture.now + millis(3000)) };
    let mut call = DrivenCall::with(&fixture, question);
    let home = call.begin(fixture.now);
    let late = fixture.now + millis(96);
    let copy = call.asks(CallEvent::Woken, late);
    let suspected = call.waits(ended(1, Ending::UpstreamTimedOut), late + millis(1));
    let checked = call.waits(CallEvent::Woken, suspected);
    fixture.service.probed(&Probe::of(&home.endpoint), HealthCheck::Silent, checked - millis(50));
    let second = call.asks(CallEvent::Woken, checked);
    assert!(Arc::ptr_eq(&second.endpoint, &copy.endpoint) && !second.cached_only);
    assert_eq!(call.ends(ended(2, ok(5)), checked + millis(5)), CallOutcome::Attempt(2));
}

#[test]
fn after_a_504_another_instance_is_asked_for_what_its_cache_has_and_the_504_is_given_if_it_has_nothing() {
    let fixture = known(3);
    let question = Question { key: Some(7), ..Question::until(fixture.now + millis(3000)) };
    let mut call = DrivenCall::with(&fixture, question);
    call.begin(fixture.now);
    assert!(call.asks(ended(0, Ending::UpstreamTimedOut), fixture.now).cached_only);
    assert_eq!(call.ends(ended(1, Ending::UpstreamTimedOut), fixture.now), CallOutcome::Attempt(0));
}

#[test]
fn when_both_copies_fail_a_third_instance_is_asked_within_the_budget() {
    let fixture = known(4);
    let mut call = DrivenCall::new(&fixture);
    call.begin(fixture.now);
    let late = fixture.now + millis(96);
    call.asks(CallEvent::Woken, late);
    call.waits(ended(1, Ending::Failed), late);
    let before = fixture.retries_left();
    call.asks(ended(0, Ending::Failed), late);
    assert_eq!(before - fixture.retries_left(), 1);
}

#[test]
fn a_retry_that_is_late_has_a_copy_as_well() {
    let fixture = known(4);
    let mut call = DrivenCall::new(&fixture);
    call.begin(fixture.now);
    let again = fixture.now + millis(50);
    call.asks(ended(0, Ending::Refused), again);
    assert_eq!(call.waits(CallEvent::Woken, again), again + millis(96));
    let copy = call.asks(CallEvent::Woken, again + millis(96));
    assert_eq!(copy.attempt, 2);
}

#[test]
fn a_copy_of_a_question_goes_to_the_next_home() {
    let fixture = known(5);
    let asked = |key: u64| {
        let mut call =
            DrivenCall::with(&fixture, Question { key: Some(key), ..Question::until(fixture.now + millis(3000)) });
        let first = call.begin(fixture.now);
        let copy = call.asks(CallEvent::Woken, fixture.now + millis(96));
        (first.endpoint.id().to_owned(), copy.endpoint.id().to_owned())
    };
    assert_eq!(asked(1), asked(1));
}

#[test]
fn a_copy_waits_for_as_long_as_a_busy_instance_is_expected_to_take() {
    let fixture = known(2);
    let mut calls: Vec<_> = (0..6).map(|_| DrivenCall::new(&fixture)).collect();
    calls.iter_mut().for_each(|call| drop(call.begin(fixture.now)));
    let late = fixture.now + millis(96);
    assert!(calls[0].waits(CallEvent::Woken, late) > late, "the other instance has a queue, too");
    let mut calls = calls.into_iter();
    let mut first = calls.next().expect("six calls");
    drop(calls); // the others have ended
    let is_asked = |step: Step| matches!(step, Step::Ask(_));
    assert!(is_asked(first.step(CallEvent::Woken, late + millis(600))));
}
