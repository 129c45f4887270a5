//! Last resorts: the endpoint that is asked when none is well, and the trial calls of open circuits.

use super::*;
use crate::breaker::HealthCheck;

/// Endpoints 0 to 4: well, without room, answering but failing, silent, forced open by hand.
fn one_of_each(policy: Policy) -> Fixture {
    let story = Fixture::new(policy, 5);
    story.call(1, Ending::NoRoom { retry_after: Some(Duration::from_secs(60)) });
    (0..5).for_each(|_| story.call(2, Ending::Failed));
    story.call(3, Ending::Refused);
    force_open(&story, 4);
    story
}

fn force_open(story: &Fixture, number: usize) {
    story.endpoint(number).breaker().set(State::ForcedOpen, story.now).expect("legal");
}

/// Picks for `wanted`, the best first, as each that was picked is forced open; at last the error.
fn order(mut story: Fixture, wanted: &PickRequest<'_>) -> (Vec<usize>, NoPick) {
    let mut picked = Vec::new();
    loop {
        match story.choice(wanted) {
            Ok(number) => {
                for _ in 0..20 {
                    assert_eq!(story.choice(wanted), Ok(number), "the same class each time");
                }
                picked.push(number);
                force_open(&story, number);
            }
            Err(error) => return (picked, error),
        }
    }
}

#[test]
fn the_first_attempt_goes_to_one_that_is_well_then_full_then_failing_then_silent_and_never_to_one_forced_open() {
    for policy in POLICIES {
        let (picked, error) = order(one_of_each(policy), &PickRequest::default());
        assert_eq!((picked, error), (vec![0, 1, 2, 3], NoPick::ForcedOpen), "{policy:?}");
    }
}

#[test]
fn a_key_changes_nothing_about_the_order_of_last_resorts() {
    let wanted = PickRequest { key: Some(7), ..PickRequest::default() };
    assert_eq!(order(one_of_each(Policy::PeakEwma), &wanted), (vec![0, 1, 2, 3], NoPick::ForcedOpen));
}

#[test]
fn a_second_attempt_asks_neither_an_endpoint_without_room_nor_a_silent_one() {
    for policy in POLICIES {
        let mut story = one_of_each(policy);
        let tried = [story.endpoint(0)];
        let wanted = PickRequest { tried: &tried, ..PickRequest::default() };
        assert_eq!(story.choice(&wanted), Err(NoPick::NoRoom));
        force_open(&story, 1);
        assert_eq!(story.choice(&wanted), Ok(2), "one that answers, but fails, may answer this time");
        force_open(&story, 2);
        assert_eq!(story.choice(&wanted), Err(NoPick::AllOut));
        force_open(&story, 3);
        assert_eq!(story.choice(&wanted), Err(NoPick::ForcedOpen));
    }
}

#[test]
fn a_copy_of_a_late_call_never_goes_to_an_endpoint_that_is_not_well() {
    for policy in POLICIES {
        let mut story = one_of_each(policy);
        story.wait(Duration::from_secs(2)); // and trial calls are due
        let wanted = PickRequest { only_well: true, ..PickRequest::default() };
        assert_eq!(story.choice(&wanted), Ok(0));
        force_open(&story, 0);
        assert_eq!(story.choice(&wanted), Err(NoPick::NoRoom));
        force_open(&story, 1);
        assert_eq!(story.choice(&wanted), Err(NoPick::AllOut));
        force_open(&story, 2);
        assert_eq!(story.choice(&wanted), Err(NoPick::AllOut));
    }
}

#[test]
fn with_99_of_100_out_all_calls_go_to_the_one_that_is_well() {
    for policy in POLICIES {
        let mut story = Fixture::new(policy, 100);
        (0..100).filter(|number| *number != 42).for_each(|number| story.trip(number));
        story.wait(millis(10));
        assert!((0..500).all(|_| story.choice(&PickRequest::default()) == Ok(42)), "{policy:?}");
    }
}

#[test]
fn of_endpoints_that_are_all_silent_each_is_asked_at_times() {
    let mut story = Fixture::new(Policy::PeakEwma, 4);
    (0..4).for_each(|number| story.trip(number));
    let mut picks = [0; 4];
    (0..400).for_each(|_| picks[story.choice(&PickRequest::default()).expect("never refused")] += 1);
    assert!(picks.iter().all(|count| (60..140).contains(count)), "{picks:?}");
}

#[test]
fn a_last_resort_that_fails_leaves_its_circuit_as_it_was_and_one_that_answers_closes_it() {
    for answer in [ok(3), Ending::UpstreamFailed, Ending::NoRoom { retry_after: None }] {
        let mut story = Fixture::new(Policy::Random, 1);
        story.trip(0);
        story.wait(millis(10));
        let before = story.seen(0).breaker;
        for bad in [Ending::Failed, Ending::TimedOut, Ending::Refused, Ending::WrongPeer, Ending::Cancelled] {
            let pick = story.pick();
            assert!(pick.is_forced() && !pick.is_trial());
            pick.finish(bad, story.now);
            assert_eq!(story.seen(0).breaker, before, "{bad:?}");
        }
        story.pick().finish(answer, story.now);
        assert_eq!(story.endpoint(0).breaker().state(), State::Ramping, "{answer:?}");
    }
}

#[test]
fn statistics_of_the_time_before_an_outage_do_not_outlive_it() {
    for answer in [ok(10), Ending::UpstreamFailed] {
        let mut story = Fixture::new(Policy::PeakEwma, 2);
        story.spread(100);
        (0..5).for_each(|_| {
            let held = story.pick_of(0);
            story.wait(Duration::from_secs(2));
            held.finish(Ending::TimedOut, story.now);
        });
        assert_eq!(story.endpoint(0).breaker().state(), State::Open);
        story.wait(Duration::from_secs(1));
        let trial = story.pick();
        assert!(trial.is_trial());
        trial.finish(answer, story.now);
        assert!(story.seen(0).cost < 0.011, "{answer:?}: {}", story.seen(0).cost);
        story.trip(1);
        assert!(
            story.endpoint(1).probed(HealthCheck::Alive, story.now),
            "a good health check closes what silence opened"
        );
        assert!(story.seen(1).cost < 0.011, "{answer:?}: {}", story.seen(1).cost);
    }
}

#[test]
fn a_due_trial_call_goes_first_although_others_are_cheaper_and_only_once() {
    for policy in POLICIES {
        let mut story = Fixture::new(policy, 3);
        story.spread(100);
        story.call(0, ok(2000));
        story.trip(0);
        story.wait(Duration::from_secs(1));
        assert!(story.seen(0).cost > 10.0 * story.seen(1).cost);
        let picks: Vec<_> = (0..30).map(|_| story.pick()).collect();
        let numbers: Vec<_> = picks.iter().map(|pick| story.number(pick.endpoint())).collect();
        assert!(numbers[0] == 0 && picks[0].is_trial(), "{policy:?}: {numbers:?}");
        assert!(numbers[1..].iter().all(|number| *number != 0), "{policy:?}: {numbers:?}");
    }
}

#[test]
fn a_trial_call_is_the_first_attempt_of_a_call_and_neither_a_retry_nor_a_copy() {
    let mut story = Fixture::new(Policy::PeakEwma, 3);
    story.trip(0);
    story.wait(Duration::from_secs(1));
    let tried = [story.endpoint(1)];
    assert_eq!(story.choice(&PickRequest { tried: &tried, ..PickRequest::default() }), Ok(2));
    assert_ne!(story.choice(&PickRequest { only_well: true, ..PickRequest::default() }), Ok(0));
    assert_eq!(
        story.choice(&PickRequest { key: Some(3), ..PickRequest::default() }),
        Ok(0),
        "whatever home the question has"
    );
}

#[test]
fn a_circuit_whose_last_health_check_failed_gets_no_trial_call() {
    let mut story = Fixture::new(Policy::PeakEwma, 2);
    story.trip(0);
    story.endpoint(0).probed(HealthCheck::Silent, story.now);
    story.wait(Duration::from_secs(30));
    assert!((0..50).all(|_| story.choice(&PickRequest::default()) == Ok(1)));
}
