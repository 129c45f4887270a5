//! The contestants, each as it would be used: one function that makes one guarded call, for one thread.

#![allow(missing_docs)]

use bramble::balance::{BalanceSettings, Balancer, Ending, PickRequest, Target};
use bramble::breaker::{BreakerSettings, CircuitBreaker, Outcome, State};
use futures_lite::future::block_on;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than a run: what opens for the bench stays open.
const LONG: Duration = Duration::from_secs(3600);
const ANSWER: Outcome = Outcome::Success { latency: Duration::from_millis(1) };

fn ours(open: bool) -> (Arc<CircuitBreaker>, Instant) {
    let mut config = BreakerSettings::default();
    (config.open_for, config.open_for_max) = (LONG, LONG);
    let now = Instant::now();
    let breaker = Arc::new(CircuitBreaker::new(&config, now, 1));
    if open {
        for _ in 0..5 {
            breaker.try_acquire(now).expect("closed").record(Outcome::Failure, now);
        }
    }
    assert_eq!(breaker.state(), if open { State::Open } else { State::Closed });
    (breaker, now)
}

/// As much work as a guarded call, all of it the thread's own: on an idle machine it is as fast on all cores as on one.
pub fn nothing_shared() -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    || {
        let mut rng = fastrand::Rng::new();
        Box::new(move |calls| {
            for _ in 0..calls * 8 {
                std::hint::black_box(rng.u64(..));
            }
        })
    }
}

/// The breaker alone; the caller has read the clock anyway, to know how long the call took.
pub fn bramble(open: bool) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    let (breaker, start) = ours(open);
    move || {
        let (breaker, mut now) = (Arc::clone(&breaker), start);
        Box::new(move |calls| {
            for _ in 0..calls {
                now += Duration::from_micros(1); // time passes, buckets turn
                if let Ok(permit) = breaker.try_acquire(now) {
                    permit.record(ANSWER, now);
                }
            }
        })
    }
}

/// As a call does it: the clock is read before and after.
pub fn bramble_with_clock(open: bool) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    let (breaker, _) = ours(open);
    move || {
        let breaker = Arc::clone(&breaker);
        Box::new(move |calls| {
            for _ in 0..calls {
                let start = Instant::now();
                if let Ok(permit) = breaker.try_acquire(start) {
                    let end = Instant::now();
                    permit.record(Outcome::Success { latency: end - start }, end);
                }
            }
        })
    }
}

pub fn recloser(open: bool) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    let breaker = Arc::new(recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(LONG).build());
    for _ in 0..if open { 300 } else { 0 } {
        let _ = breaker.call(|| Err::<(), ()>(()));
    }
    assert_eq!(breaker.call(|| Ok::<(), ()>(())).is_err(), open);
    move || {
        let breaker = Arc::clone(&breaker);
        Box::new(move |calls| {
            for _ in 0..calls {
                let _ = std::hint::black_box(breaker.call(|| Ok::<(), ()>(())));
            }
        })
    }
}

pub fn failsafe(open: bool) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    use failsafe::{CircuitBreaker as _, Config, FailurePolicy, backoff, failure_policy};
    let wait = backoff::constant(LONG);
    let policy = failure_policy::success_rate_over_time_window(0.5, 20, Duration::from_secs(10), wait.clone())
        .or_else(failure_policy::consecutive_failures(5, wait));
    let breaker = Arc::new(Config::new().failure_policy(policy).build());
    for _ in 0..if open { 300 } else { 0 } {
        let _ = breaker.call(|| Err::<(), ()>(()));
    }
    assert_eq!(breaker.call(|| Ok::<(), ()>(())).is_err(), open);
    move || {
        let breaker = Arc::clone(&breaker);
        Box::new(move |calls| {
            for _ in 0..calls {
                let _ = std::hint::black_box(breaker.call(|| Ok::<(), ()>(())));
            }
        })
    }
}

/// With its default window, of counts: its window of time keeps a record of every call.
pub fn tower_resilience(open: bool) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    use tower::{Layer, Service, service_fn, util::ServiceExt};
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::standard()
        .wait_duration_in_open(LONG)
        .build()
        .expect("defaults are valid");
    let service = layer.layer(service_fn(|()| std::future::ready(Ok::<(), Infallible>(()))));
    if open {
        block_on(service.force_open());
    }
    let mut first = service.clone();
    assert_eq!(block_on(async { first.ready().await.expect("ready").call(()).await }).is_err(), open);
    move || {
        let mut service = service.clone();
        // It sleeps when two callers meet, by tokio's clock.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Box::new(move |calls| {
            runtime.block_on(async {
                for _ in 0..calls {
                    let answer = match service.ready().await {
                        Ok(service) => service.call(()).await,
                        Err(error) => Err(error),
                    };
                    let _ = std::hint::black_box(answer);
                }
            });
        })
    }
}

/// Pick by peak EWMA, and what follows a call.
pub fn bramble_pick(endpoints: usize) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    let (balance, breaker, start) = (BalanceSettings::default(), BreakerSettings::default(), Instant::now());
    let balancer = Balancer::new(&balance, &breaker, "", start, 1);
    let target = |number: usize| Target {
        id: format!("producer-{number}"),
        address: SocketAddr::from(([127, 0, 0, 1], number as u16)),
        weight: 1,
        zone: String::new(),
        draining: false,
    };
    balancer.update(&(0..endpoints).map(target).collect::<Vec<_>>(), start);
    let balancer = Arc::new(balancer);
    move || {
        let (balancer, mut now, mut rng) = (Arc::clone(&balancer), start, fastrand::Rng::new());
        Box::new(move |calls| {
            for _ in 0..calls {
                now += Duration::from_micros(1);
                let pick = balancer.pick(now, &mut rng, &PickRequest::default()).expect("all are well");
                std::hint::black_box(pick.endpoint().address());
                pick.finish(Ending::Success { latency: Duration::from_millis(1) }, now);
            }
        })
    }
}

/// The same choice; it belongs to one caller, so each thread has its own. Without a breaker an endpoint.
pub fn tower_pick(endpoints: usize) -> impl Fn() -> Box<dyn FnMut(u64)> + Sync {
    use tower::balance::p2c::Balance;
    use tower::load::{CompleteOnResponse, PeakEwma};
    use tower::{Service, ServiceExt, discover::ServiceList, service_fn};
    move || {
        let endpoint = |number: usize| {
            let service = service_fn(move |()| std::future::ready(Ok::<usize, Infallible>(number)));
            PeakEwma::new(service, Duration::from_millis(30), 10e9, CompleteOnResponse::default())
        };
        let list: Vec<_> = (0..endpoints).map(endpoint).collect();
        let mut balance = Balance::new(ServiceList::new::<()>(list));
        Box::new(move |calls| {
            block_on(async {
                for _ in 0..calls {
                    let endpoint = balance.ready().await.expect("all are well");
                    std::hint::black_box(endpoint.call(()).await.expect("all are well"));
                }
            });
        })
    }
}
