//! Zones, and instances that come, go and change their identity.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        zones(10, 10, 20.0, 1),
        zones(40, 10, 10.0, 1),
        zones(10, 10, 40.0, 1),
        zones(15, 15, 20.0, 3),
        zone_lost(),
        new_instance(),
        restarted(),
        rolling_restart(),
        deployed(),
    ]
}

/// The first `first` servers are in zone a, the others of five or six in zone b; a message between the zones takes 2
/// ms.
fn zones(clients_of_a: usize, clients_of_b: usize, rate: f64, first: usize) -> Scenario {
    let servers = if first == 1 { 5 } else { 2 * first };
    let others = servers - first;
    let name = format!("zones of {first} and {others} servers, {clients_of_a} and {clients_of_b} clients of {rate}/s");
    let scenario = Scenario::new(name, servers, 20)
        .each_server(|id, server| server.zone = if id < first { "a" } else { "b" })
        .clients(clients_of_a, rate)
        .which(|clients| clients.zone = "a")
        .clients(clients_of_b, rate)
        .which(|clients| clients.zone = "b")
        .watching(0)
        .phase("all", secs(10)..secs(40));
    Scenario { zone_latency: millis(2), ..scenario }
}

/// All servers of the own zone are gone.
fn zone_lost() -> Scenario {
    let scenario = zones(10, 10, 10.0, 3);
    Scenario { name: "own zone of 3 unreachable, the other zone well".to_owned(), phases: Vec::new(), ..scenario }
        .fault(0..3, Condition::Unreachable, secs(20)..secs(50))
        .during_and_after(secs(20)..secs(50), millis(200))
}

const COLD: Cold = Cold::Requests { factor: 8.0, count: 300 };

/// A fifth instance, cold.
fn new_instance() -> Scenario {
    Scenario::new("a new cold instance joins 4", 5, 20)
        .each_server(|id, server| {
            server.condition = if id == 0 { Condition::Absent } else { Condition::Up };
        })
        .clients(20, 20.0)
        .at(secs(20), Change::Start { servers: 0..1, cold: COLD, new_identity: true })
        .watching(0)
        .after(secs(20), millis(200))
        .demand(Demand::FairShareWithin(secs(25)))
}

/// A producer of the demo: killed and started again under a new identity.
fn restarted() -> Scenario {
    Scenario::new("1 of 5 killed, 2 s later back as a new instance", 5, 20)
        .clients(5, 10.0)
        .at(secs(20), Change::Servers(0..1, Condition::Dead))
        .at(secs(22), Change::Start { servers: 0..1, cold: Cold::No, new_identity: true })
        .watching(0)
        .during_and_after(secs(20)..secs(22), millis(200))
        .demand(Demand::FairShareWithin(secs(15)))
}

/// Restarts one after the other: each is dead for 5 s and comes back cold, the same instance as before.
fn rolling_restart() -> Scenario {
    let mut scenario = Scenario::new("rolling restart of 5, each back cold", 5, 20).clients(20, 25.0);
    let cold = Cold::Requests { factor: 6.0, count: 200 };
    for id in 0..5 {
        let start = secs(20 + 12 * id as u64);
        scenario = scenario.restarts(id..id + 1, Condition::Dead, start..start + secs(5), cold);
    }
    scenario.phase("during", secs(20)..secs(90))
}

/// The same with new identities, and slow by time instead of by requests.
fn deployed() -> Scenario {
    let mut scenario = Scenario::new("rolling deployment of 5 new instances, slow at first", 5, 20).clients(20, 25.0);
    let cold = Cold::Seconds { factor: 10.0, warm_after: secs(4) };
    for id in 0..5 {
        let start = secs(20 + 8 * id as u64);
        scenario = scenario
            .at(start, Change::Servers(id..id + 1, Condition::Dead))
            .at(start + secs(2), Change::Start { servers: id..id + 1, cold, new_identity: true });
    }
    scenario.phase("during", secs(20)..secs(70))
}
