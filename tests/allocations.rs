//! The way of a call through breaker, balancer, budget and bulkhead allocates nothing.

use bramble::balance::{Balancer, Target};
use bramble::breaker::{CircuitBreaker, Outcome, State};
use bramble::bulkhead::Bulkhead;
use bramble::config::{Config, Policy, Role};
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
    let config = Config::for_role(Role::Consumer).breaker;
    let mut now = Instant::now();
    let breaker = Arc::new(CircuitBreaker::new(&config, now, 1).expect("valid"));
    let calls = allocations(|| {
        now += Duration::from_millis(50);
        breaker.try_acquire(now).expect("closed").record(OK, now);
        drop(breaker.try_acquire_owned(now).expect("closed"));
    });
    assert_eq!(calls, 0);
}

#[test]
fn an_open_circuit_that_refuses_probes_and_opens_again_allocates_nothing() {
    let config = Config::for_role(Role::Consumer).breaker;
    let mut now = Instant::now();
    let breaker = CircuitBreaker::new(&config, now, 1).expect("valid");
    let calls = allocations(|| {
        now += Duration::from_millis(900);
        if let Ok(permit) = breaker.try_acquire(now) {
            permit.record(Outcome::Refused, now);
        }
    });
    assert_eq!((calls, breaker.state()), (0, State::Open));
}

#[test]
fn a_pick_allocates_nothing_whatever_the_policy_and_whoever_is_out() {
    let mut config = Config::for_role(Role::Consumer);
    for policy in
        [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::WeightedResponseTime, Policy::PeakEwma]
    {
        config.balance.policy = policy;
        let (mut now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let balancer = Balancer::new(&config.balance, &config.breaker, "shelf-1", now, 1).expect("valid");
        let target = |number: u16| Target {
            id: format!("producer-{number}"),
            address: SocketAddr::from(([127, 0, 0, 1], number)),
            weight: 1 + u32::from(number % 3),
            zone: if number % 2 == 0 { "shelf-1" } else { "shelf-2" }.into(),
            draining: number == 9,
        };
        balancer.update(&(1..=40).map(target).collect::<Vec<_>>(), now);
        let mut call = 0;
        let calls = allocations(|| {
            now += Duration::from_millis(1);
            call += 1;
            let outcome = if call % 50 == 0 { Outcome::Refused } else { OK };
            balancer.pick(now, &mut rng, &[]).expect("somebody").finish(outcome, now);
        });
        assert_eq!(calls, 0, "{policy:?}");
    }
}

#[test]
fn a_retry_and_a_seat_allocate_nothing() {
    let config = Config::for_role(Role::Consumer).call;
    let mut now = Instant::now();
    let budget = Budget::new(&config, now).expect("valid");
    let bulkhead = Bulkhead::new("producer", &config).expect("valid");
    let calls = allocations(|| {
        now += Duration::from_millis(20);
        let seat = bulkhead.try_enter();
        budget.deposit(now);
        assert!(seat.is_ok() && (budget.try_withdraw(now) || budget.spent(now).1 > 0));
    });
    assert_eq!(calls, 0);
}
