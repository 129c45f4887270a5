//! More calls than the servers can answer.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    let mut all = vec![bursts(), stall(), mixed(500.0), mixed(1000.0)];
    for drops_abandoned in [true, false] {
        all.extend([lasting(1.3, drops_abandoned), lasting(2.0, drops_abandoned)]);
        all.extend([pulse(1.5, 5, drops_abandoned), pulse(2.0, 10, drops_abandoned), pulse(2.5, 10, drops_abandoned)]);
        all.extend([single(1.3, drops_abandoned), single(2.0, drops_abandoned)]);
    }
    all
}

fn work(drops_abandoned: bool) -> &'static str {
    if drops_abandoned { "abandoned work dropped" } else { "abandoned work kept" }
}

/// Three servers of 10 answers a second each, and more calls than that for a minute.
fn lasting(factor: f64, drops_abandoned: bool) -> Scenario {
    let demand = Demand::Answered(80.0 / factor);
    Scenario::new(format!("load of {factor} x 30/s, {}", work(drops_abandoned)), 3, 100)
        .each_server(|_, server| (server.workers, server.drops_abandoned) = (1, drops_abandoned))
        .clients(4, 3.0)
        .at(secs(20), Change::Rate(30.0 * factor / 4.0))
        .at(secs(80), Change::Rate(3.0))
        .phase("during", secs(30)..secs(80))
        .demand(demand)
        .phase("during and after", secs(30)..secs(110))
        .recovery(secs(80), millis(900))
}

/// Five servers of 100 answers a second each at 80 % of their capacity, and for some seconds more.
fn pulse(factor: f64, seconds: u64, drops_abandoned: bool) -> Scenario {
    let end = secs(10 + seconds);
    Scenario::new(format!("pulse of {factor} x 80 % for {seconds} s, {}", work(drops_abandoned)), 5, 20)
        .each_server(|_, server| (server.workers, server.drops_abandoned) = (2, drops_abandoned))
        .clients(10, 40.0)
        .at(secs(10), Change::Rate(40.0 * factor))
        .at(end, Change::Rate(40.0))
        .phase("during and after", secs(10)..end + secs(30))
        .recovery(end, millis(200))
        .phase("from 4 s after", end + secs(4)..end + secs(30))
        .demand(Demand::Answered(95.0))
}

/// A single server of 16 answers a second: there is no other to go to.
fn single(factor: f64, drops_abandoned: bool) -> Scenario {
    Scenario::new(format!("single server, load of {factor} x 16/s, {}", work(drops_abandoned)), 1, 60)
        .each_server(|_, server| (server.workers, server.drops_abandoned) = (1, drops_abandoned))
        .clients(3, 2.0)
        .at(secs(20), Change::Rate(16.0 * factor / 3.0))
        .at(secs(60), Change::Rate(2.0))
        .phase("during and after", secs(20)..secs(90))
        .recovery(secs(60), millis(900))
}

fn bursts() -> Scenario {
    let mut scenario = Scenario::new("bursts of 2 x the capacity, 1 s of each 10 s", 3, 20).clients(10, 20.0);
    for second in (10..70).step_by(10) {
        scenario = scenario.at(secs(second), Change::Rate(120.0)).at(secs(second + 1), Change::Rate(20.0));
    }
    scenario.phase("during", secs(10)..secs(70))
}

/// All servers wait for the same thing.
fn stall() -> Scenario {
    Scenario::new("all 5 servers 100 x slower for 2 s, at half of their capacity", 5, 20)
        .clients(20, 25.0)
        .fault(0..5, Condition::Slow(100.0), secs(20)..secs(22))
        .phase("during and after", secs(20)..secs(60))
        .recovery(secs(22), millis(200))
}

/// A quick server, two of the usual kind, two slow ones: 1330 answers a second.
fn mixed(rate: f64) -> Scenario {
    Scenario::new(format!("servers of 5, 20 and 60 ms, {rate} of 1330 calls/s"), 5, 20)
        .each_server(|id, server| server.service_time = millis([5, 20, 20, 60, 60][id]))
        .clients(10, rate / 10.0)
        .phase("all", secs(10)..secs(40))
}
