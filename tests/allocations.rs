//! A call's path through bulkhead, balancer, breaker and budget allocates nothing.

use bramble::Ratio;
use bramble::balance::{BalanceSettings, Balancer, Ending, PickRequest, Policy, Target};
use bramble::breaker::{BreakerSettings, CircuitBreaker, Outcome, State};
use bramble::bulkhead::Bulkhead;
use bramble::retry::Budget;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OK: Outcome = Outcome::Success { latency: Duration::from_millis(1) };

fn allocations(mut call: impl FnMut()) -> u64 {
    call(); // what is made once, for a thread
    allocation_counter::measure(|| (0..1000).for_each(|_| call())).count_total
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(Box::new(1u8))), 1000);
}

#[test]
fn a_closed_circuit_allocates_nothing() {
    let settings = BreakerSettings::default();
    let mut now = Instant::now();
    let breaker = Arc::new(CircuitBreaker::new(&settings, now, 1));
    let calls = allocations(|| {
        now += Duration::from_millis(50);
        breaker.try_acquire(now).expect("closed").record(OK, now);
        drop(breaker.try_acquire_owned(now).expect("closed"));
    });
    assert_eq!(calls, 0);
}

#[test]
fn an_open_circuit_that_refuses_probes_and_opens_again_allocates_nothing() {
    let settings = BreakerSettings::default();
    let mut now = Instant::now();
    let breaker = CircuitBreaker::new(&settings, now, 1);
    let calls = allocations(|| {
        now += Duration::from_millis(900);
        if let Ok(permit) = breaker.try_acquire(now) {
            permit.record(Outcome::Refused, now);
        }
    });
    assert_eq!((calls, breaker.state()), (0, State::Open));
}

const POLICIES: [Policy; 5] =
    [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::WeightedResponseTime, Policy::PeakEwma];

/// A balancer of 40 endpoints in two zones.
fn balancer(policy: Policy, now: Instant) -> Balancer {
    let settings = BalanceSettings { policy, ..BalanceSettings::default() };
    let balancer = Balancer::new(&settings, &BreakerSettings::default(), "shelf-1", now, 1);
    let target = |number: u16| Target {
        id: format!("producer-{number}"),
        address: SocketAddr::from(([127, 0, 0, 1], number)),
        weight: 1 + u32::from(number % 3),
        zone: if number % 2 == 0 { "shelf-1" } else { "shelf-2" }.into(),
        draining: number == 9,
    };
    balancer.update(&(1..=40).map(target).collect::<Vec<_>>(), now);
    balancer
}

/// Allocations of a thousand calls, 1 ms apart, that end as `ending` says of the number of the call.
fn allocations_of_picks(policy: Policy, ending: impl Fn(u64) -> Ending) -> u64 {
    let (mut now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
    let balancer = balancer(policy, now);
    let mut call = 0;
    allocations(|| {
        now += Duration::from_millis(1);
        call += 1;
        let wanted = PickRequest { key: (call % 2 == 0).then_some(call), ..PickRequest::default() };
        balancer.pick(now, &mut rng, &wanted).expect("never refused").finish(ending(call), now);
    })
}

#[test]
fn a_pick_allocates_nothing_by_any_policy_with_a_key_and_without_while_all_circuits_are_closed() {
    for policy in POLICIES {
        let latency = |call| Duration::from_micros(100 * (1 + call % 9));
        assert_eq!(allocations_of_picks(policy, |call| Ending::Success { latency: latency(call) }), 0, "{policy:?}");
    }
}

#[test]
fn a_pick_allocates_nothing_by_any_policy_while_some_or_all_are_out_or_full() {
    for policy in POLICIES {
        let ending = |call| match call % 50 {
            0 => Ending::Refused,
            1 => Ending::NoRoom { retry_after: None },
            2 => Ending::TimedOut,
            _ => Ending::Success { latency: Duration::from_millis(1) },
        };
        assert_eq!(allocations_of_picks(policy, ending), 0, "{policy:?}");
        assert_eq!(allocations_of_picks(policy, |_| Ending::Refused), 0, "{policy:?}: all are out");
    }
}

#[test]
fn a_retry_and_a_permit_allocate_nothing() {
    let mut now = Instant::now();
    let budget = Budget::new(Ratio::new(0.2), 50, now);
    let bulkhead = Bulkhead::new("producer", 64);
    let mut granted = 0;
    let calls = allocations(|| {
        now += Duration::from_millis(20);
        let permit = bulkhead.try_enter();
        budget.deposit(now);
        granted += u32::from(permit.is_ok() && budget.try_withdraw(now));
    });
    assert_eq!(calls, 0);
    assert!((200..300).contains(&granted), "both ways were taken: {granted}");
}
