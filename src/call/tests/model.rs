//! Random calls in virtual time: what holds whatever comes back.

use super::*;
use crate::breaker::HealthCheck;
use proptest::prelude::*;

/// Outcome of an attempt, and after how many milliseconds.
type Answer = (u8, u64);

fn ending((kind, time): Answer) -> Ending {
    match kind % 9 {
        0..=2 => ok(time),
        3 => Ending::UpstreamFailed,
        4 => Ending::NoRoom { retry_after: (time % 2 == 0).then_some(millis(time)) },
        5 => Ending::WrongPeer,
        6 => Ending::Failed,
        7 => Ending::Refused,
        _ => Ending::TimedOut,
    }
}

/// How much an outcome is worth to the caller.
fn worth(ending: Ending) -> u8 {
    match ending {
        Ending::Success { .. } => 5,
        Ending::UpstreamFailed => 4,
        Ending::NoRoom { .. } => 3,
        Ending::Failed => 2,
        _ => 1,
    }
}

/// Costs of calls so far.
#[derive(Default)]
struct Cost {
    successes: usize,
    free: usize,
    paid: usize,
    copies: usize,
}

/// An attempt that is out: when it ends, and how.
struct AttemptInFlight {
    attempt: usize,
    at: Instant,
    ending: Ending,
}

/// Drives one call; `answers` are what its attempts bring, each after its time.
fn drive(
    fixture: &mut Fixture,
    question: Question,
    answers: &mut impl Iterator<Item = Answer>,
    cost: &mut Cost,
) -> Result<(), TestCaseError> {
    let known = fixture.service.balancer().endpoints().len();
    let mut machine = CallMachine::new(&fixture.service, question);
    let (mut out, mut asked): (Vec<AttemptInFlight>, Vec<Arc<Endpoint>>) = (Vec::new(), Vec::new());
    let mut ended: Vec<(usize, Ending)> = Vec::new();
    let mut event = CallEvent::Begin;
    let looks = 4000 / CHECKED_AGAIN.as_millis() as usize; // while instances are silent
    for _ in 0..4 * (known + 1) + looks {
        match machine.step(event, fixture.now, &mut fixture.rng) {
            Step::Ask(ask) => {
                prop_assert_eq!(ask.attempt, asked.len());
                prop_assert!(!asked.iter().any(|one| Arc::ptr_eq(one, &ask.endpoint)), "asked twice");
                prop_assert!(ask.deadline <= question.deadline && ask.deadline > fixture.now);
                let is_copy = !out.is_empty();
                prop_assert!(!ask.cached_only || question.key.is_some());
                let was_free = asked.len() <= FREE_TRIES
                    && ended.last().is_some_and(|(_, ending)| {
                        matches!(ending, Ending::Refused | Ending::WrongPeer | Ending::NoRoom { .. })
                    });
                match () {
                    () if is_copy => cost.copies += 1,
                    () if was_free => cost.free += 1,
                    () if ask.attempt > 0 => cost.paid += 1,
                    () => {}
                }
                let answer = answers.next().unwrap_or((0, 1));
                let (ending, at) = (ending(answer), fixture.now + millis(answer.1));
                let is_late = ending == Ending::TimedOut || at > ask.deadline;
                out.push(AttemptInFlight {
                    attempt: ask.attempt,
                    at: if is_late { ask.deadline } else { at },
                    ending: if is_late { Ending::TimedOut } else { ending },
                });
                asked.push(ask.endpoint);
                let is_silent = |one: &&AttemptInFlight| !asked[one.attempt].breaker().state().is_available();
                let silent = out.iter().filter(is_silent).count();
                prop_assert!(out.len() <= 2 || (out.len() == 3 && silent >= 2), "{} out at a time", out.len());
                event = CallEvent::Woken;
            }
            Step::Wait(until) => {
                prop_assert!(!out.is_empty() && until > fixture.now && until <= question.deadline);
                let next = (0..out.len()).min_by_key(|index| out[*index].at).filter(|index| out[*index].at <= until);
                event = match next {
                    Some(index) => {
                        let AttemptInFlight { attempt, at, ending } = out.swap_remove(index);
                        fixture.now = at;
                        ended.push((attempt, ending));
                        cost.successes += usize::from(matches!(ending, Ending::Success { .. }));
                        CallEvent::Ended { attempt, ending }
                    }
                    None => {
                        fixture.now = until;
                        CallEvent::Woken
                    }
                };
            }
            Step::Done(outcome) => {
                let best = ended.iter().map(|(_, ending)| worth(*ending)).max();
                match outcome {
                    CallOutcome::Attempt(number) => {
                        let given = ended.iter().find(|(attempt, _)| *attempt == number);
                        prop_assert_eq!(given.map(|(_, ending)| worth(*ending)), best);
                        prop_assert!(out.is_empty() || best == Some(5) || fixture.now >= question.deadline);
                    }
                    CallOutcome::Late => prop_assert!(fixture.now >= question.deadline && best.unwrap_or(0) <= 1),
                    CallOutcome::NoInstance => prop_assert!(known == 0),
                    CallOutcome::Open { .. } => prop_assert!(asked.is_empty() && known > 0),
                }
                prop_assert!(asked.iter().all(|endpoint| endpoint.in_flight() == 0), "a permit was kept");
                prop_assert_eq!(machine.retries(), asked.len().saturating_sub(1));
                return Ok(());
            }
        }
    }
    Err(TestCaseError::fail("the call does not end"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_call_always_ends_with_the_best_that_came_within_its_budgets(
        count in 0usize..7,
        calls in prop::collection::vec((1u64..4000, prop::option::of(0u64..3), any::<bool>(), 0u64..2000), 1..60),
        answers in prop::collection::vec((any::<u8>(), 0u64..2500), 1..200),
    ) {
        let mut fixture = Fixture::new(count);
        let (mut answers, mut cost) = (answers.into_iter().cycle(), Cost::default());
        for (index, (time, key, may_hedge, pause)) in calls.into_iter().enumerate() {
            fixture.wait(millis(pause));
            for endpoint in fixture.service.probes_due(fixture.now) {
                let found = match answers.next() {
                    Some((kind, _)) if kind % 3 == 0 => HealthCheck::Alive,
                    Some((kind, _)) if kind % 3 == 1 => HealthCheck::Refused,
                    _ => HealthCheck::Silent,
                };
                fixture.service.probed(&endpoint, found, fixture.now);
            }
            let question = Question { key, may_hedge, ..Question::until(fixture.now + millis(time)) };
            drive(&mut fixture, question, &mut answers, &mut cost)?;
            let seconds = (fixture.now - fixture.start).as_secs_f64();
            // Attempts beside one that is out are copies, or paid as retries since its instance is silent.
            let retries = 26.0 + 0.2 * cost.successes as f64 + 0.1 * seconds;
            let copies = 6.0 + 0.1 * cost.successes as f64 + 0.1 * seconds;
            prop_assert!(cost.paid as f64 <= retries, "retries");
            prop_assert!((cost.paid + cost.copies) as f64 <= retries + copies, "retries and copies");
            prop_assert!(cost.free <= 3 * (index + 1), "attempts without budget");
        }
    }
}
