//! Repetition: which requests are sent to another endpoint.

use super::*;
use crate::breaker::HealthCheck;

/// The endings after which a repeatable call asks another endpoint.
const FAILURES: [Ending; 6] =
    [Ending::Failed, Ending::TimedOut, Ending::Refused, Ending::WrongPeer, Ending::UpstreamFailed, NO_ROOM];

fn question(fixture: &Fixture, repeat: Repeat) -> Question {
    Question { may_hedge: false, repeat, ..Question::until(fixture.now + millis(3000)) }
}

#[test]
fn a_request_that_may_not_be_done_twice_goes_elsewhere_only_while_nothing_of_it_was_sent() {
    for ending in FAILURES {
        let fixture = Fixture::new(2);
        let mut call = DrivenCall::with(&fixture, question(&fixture, Repeat::Unsent));
        call.begin(fixture.now);
        assert_eq!(call.ends(ended(0, ending), fixture.now), CallOutcome::Attempt(0), "{ending:?}");
    }
    for ending in [Ending::Refused, Ending::TimedOut] {
        let fixture = Fixture::new(2);
        let mut call = DrivenCall::with(&fixture, question(&fixture, Repeat::Unsent));
        let first = call.begin(fixture.now);
        let second = call.asks(CallEvent::Unsent { attempt: 0, ending }, fixture.now);
        assert_ne!(first.endpoint.id(), second.endpoint.id(), "{ending:?}");
        assert_eq!(call.ends(ended(1, ok(3)), fixture.now), CallOutcome::Attempt(1));
    }
}

#[test]
fn a_request_whose_body_cannot_be_had_again_is_sent_once() {
    for event in [ended(0, Ending::Refused), CallEvent::Unsent { attempt: 0, ending: Ending::Refused }] {
        let fixture = Fixture::new(2);
        let mut call = DrivenCall::with(&fixture, question(&fixture, Repeat::Never));
        call.begin(fixture.now);
        assert_eq!(call.ends(event, fixture.now), CallOutcome::Attempt(0));
    }
}

#[test]
fn while_a_request_that_may_not_be_done_twice_is_out_no_other_is_asked_though_its_instance_is_silent() {
    for (repeat, asks_another) in [(Repeat::Unsent, false), (Repeat::Always, true)] {
        let fixture = Fixture::new(2);
        let mut call = DrivenCall::with(&fixture, question(&fixture, repeat));
        let first = call.begin(fixture.now);
        let suspected_at = call.waits(CallEvent::Woken, fixture.now);
        let checked_at = call.waits(CallEvent::Woken, suspected_at);
        fixture.service.probed(&Probe::of(&first.endpoint), HealthCheck::Silent, suspected_at);
        let step = call.step(CallEvent::Woken, checked_at);
        assert_eq!(matches!(step, Step::Ask(_)), asks_another, "{repeat:?}: {step:?}");
    }
}
