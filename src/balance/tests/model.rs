//! Random histories, against a look at every endpoint at each pick.

use super::*;
use crate::breaker::HealthCheck;
use proptest::prelude::*;

/// Step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Pick { tried: u8, key: Option<u64>, only_well: bool },
    Finish { which: usize, ending: u8 },
    Drop { which: usize },
    Update { present: u16, draining: u16 },
    Force { which: usize, open: bool },
    Probe { which: usize, alive: bool },
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let pick = (prop_oneof![2 => Just(0), 1 => any::<u8>()], prop::option::of(0u64..5), prop::bool::weighted(0.2));
    prop_oneof![
        6 => pick.prop_map(|(tried, key, only_well)| Step::Pick { tried, key, only_well }),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(which, ending)| Step::Finish { which, ending }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(present, draining)| Step::Update { present, draining }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, open)| Step::Force { which, open }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, alive)| Step::Probe { which, alive }),
        2 => (10u64..3000).prop_map(|millis| Step::Wait { millis }),
    ]
}

fn ending(number: u8) -> Ending {
    match number % 10 {
        0..=1 => ok(number.into()),
        2 => Ending::Failed,
        3 => Ending::TimedOut,
        4 => Ending::NoRoom { retry_after: (number > 99).then_some(millis(u64::from(number) * 10)) },
        5 => Ending::Refused,
        6 => Ending::WrongPeer,
        7 => Ending::UpstreamFailed,
        8 => Ending::Overtaken,
        _ => Ending::Cancelled,
    }
}

/// How good a choice an endpoint is; the smaller the better. None: it is none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Well,
    Full,
    Failing,
    Silent,
}

fn class(endpoint: &Endpoint, nanos: u64) -> Option<Class> {
    let breaker = endpoint.breaker();
    match breaker.state() {
        State::ForcedOpen => None,
        State::Open | State::HalfOpen => match breaker.open_reason() {
            Some(breaker::TripReason::Refused | breaker::TripReason::Unreachable) => Some(Class::Silent),
            _ => Some(Class::Failing),
        },
        _ if endpoint.is_full(nanos) => Some(Class::Full),
        _ => Some(Class::Well),
    }
}

/// Makes a pick and compares it with what a look at all endpoints allows.
fn pick(fixture: &mut Fixture, tried: u8, key: Option<u64>, only_well: bool) -> Result<Option<Pick>, TestCaseError> {
    let all = fixture.balancer.endpoints();
    let nanos = nanos_since(fixture.balancer.epoch, fixture.now);
    let tried: Vec<_> = all.iter().filter(|e| tried >> (fixture.number(e) % 8) & 1 == 1).cloned().collect();
    let is_first = tried.is_empty() && !only_well;
    let listed: Vec<_> = all.iter().filter(|e| !fixture.targets[fixture.number(e)].draining).cloned().collect();
    let left: Vec<_> = listed.iter().filter(|e| !tried.iter().any(|t| Arc::ptr_eq(t, e))).cloned().collect();
    let best = left.iter().filter_map(|e| class(e, nanos)).min();
    let of_class = |e: &Endpoint| class(e, nanos) == best;
    let is_due = |e: &Endpoint| {
        matches!(e.breaker().state(), State::Open | State::HalfOpen) && e.breaker().would_admit(fixture.now)
    };
    let due: Vec<_> = left.iter().filter(|e| is_first && is_due(e)).map(|e| e.id().to_owned()).collect();
    let allowed: Vec<_> = left.iter().filter(|e| of_class(e)).map(|e| e.id().to_owned()).collect();
    let is_settled = |e: &Arc<Endpoint>| {
        e.in_flight() == 0 && e.failures.at(nanos) < 0.3 && e.share(fixture.balancer.slow_start, fixture.now) >= 1.0
    };
    let candidates = || left.iter().filter(|e| class(e, nanos) == Some(Class::Well));
    let home = key.filter(|_| candidates().all(is_settled)).and_then(|key| {
        let affinity = |e: &Endpoint| e.affinity(key, 1.0);
        candidates().max_by(|a, b| affinity(a).total_cmp(&affinity(b))).map(|e| e.id().to_owned())
    });
    let due_now = fixture.balancer.since_trial.load(Ordering::Relaxed) + 1 >= TRIAL_EVERY;
    match fixture.wanted(&PickRequest { tried: &tried, key, only_well }) {
        Ok(pick) => {
            let id = pick.endpoint().id();
            if due.is_empty() || !pick.is_trial() && !due_now {
                prop_assert!(allowed.iter().any(|allowed| allowed == id), "{} is not of {:?}", id, best);
                prop_assert!(is_first || best != Some(Class::Full) && best != Some(Class::Silent));
                prop_assert!(!only_well || best == Some(Class::Well));
                prop_assert!(home.is_none_or(|home| home == id));
            } else {
                prop_assert!(pick.is_trial() && due.iter().any(|due| due == id));
            }
            prop_assert!(!pick.is_forced() || best > Some(Class::Full));
            Ok(Some(pick))
        }
        Err(error) => {
            let expected = match best {
                _ if listed.is_empty() => NoPick::Empty,
                _ if left.is_empty() => NoPick::AllTried,
                None => NoPick::ForcedOpen,
                Some(Class::Full) => NoPick::NoRoom,
                _ => NoPick::AllOut,
            };
            prop_assert_eq!(error, expected);
            prop_assert!(!is_first || best.is_none(), "a call is never refused while one is known that may take it");
            prop_assert!(best != Some(Class::Well) && (best != Some(Class::Failing) || only_well));
            Ok(None)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The model: a list of all endpoints, a list of calls in flight, and one look at every circuit at each pick.
    #[test]
    fn whatever_happens_a_pick_is_one_that_a_look_at_all_would_allow(
        policy in 0usize..5, steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut fixture = Fixture::with(POLICIES[policy], (0..12).map(target).collect(), |_| {});
        let mut held: Vec<Pick> = Vec::new();
        for step in steps {
            fixture.wait(millis(10)); // counts of before the pause are out of date
            let all = fixture.balancer.endpoints();
            let any = |which: usize| all.get(which % all.len().max(1));
            match step {
                Step::Pick { tried, key, only_well } => held.extend(pick(&mut fixture, tried, key, only_well)?),
                Step::Finish { which, ending: number } if !held.is_empty() => {
                    held.swap_remove(which % held.len()).finish(ending(number), fixture.now);
                }
                Step::Drop { which } if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::Update { present, draining } => {
                    let bit = |mask: u16, number: usize| mask >> number & 1 == 1;
                    let list: Vec<_> = (0..12).filter(|number| bit(present, *number))
                        .map(|number| Target { draining: bit(draining, number), ..target(number) }).collect();
                    fixture.update(|targets| *targets = list);
                    for endpoint in fixture.balancer.endpoints() {
                        let same = all.iter().find(|old| old.id() == endpoint.id());
                        prop_assert!(same.is_none_or(|old| Arc::ptr_eq(old, &endpoint)));
                    }
                }
                Step::Force { which, open } => if let Some(endpoint) = any(which) {
                    let to = if open { State::ForcedOpen } else { State::Closed };
                    endpoint.breaker().set(to, fixture.now).expect("legal");
                },
                Step::Probe { which, alive } => if let Some(endpoint) = any(which) {
                    endpoint.probed(if alive { HealthCheck::Alive } else { HealthCheck::Silent }, fixture.now);
                },
                Step::Wait { millis: time } => fixture.wait(millis(time)),
                Step::Finish { .. } | Step::Drop { .. } => {}
            }
            for endpoint in fixture.balancer.endpoints() {
                let mine = held.iter().filter(|pick| Arc::ptr_eq(pick.endpoint(), &endpoint)).count();
                prop_assert_eq!(endpoint.in_flight(), mine);
            }
        }
    }
}
