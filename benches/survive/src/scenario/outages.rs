//! Servers, or the network to them, are gone.

use super::*;

const COLD: Cold = Cold::Requests { factor: 6.0, count: 400 };

pub(super) fn all() -> Vec<Scenario> {
    [everything(), a_part(), clients_cut(), flapping()].concat()
}

/// All servers at once.
fn everything() -> Vec<Scenario> {
    let all_of_three = |name: &str, condition: Condition, seconds: u64, rate: f64| {
        let end = secs(20 + seconds);
        let scenario = Scenario::new(name, 3, 20).clients(1, rate).fault(0..3, condition, secs(20)..end);
        scenario.after(end, millis(400)).demand(Demand::FirstGoodWithin(millis(2500)))
    };
    let back_cold = |rate: u32, condition: Condition| {
        let how = if condition == Condition::Dead { "dead" } else { "unreachable" };
        Scenario::new(format!("all 5 {how} for 10 s, back cold, {rate} calls/s"), 5, 20)
            .clients(20, f64::from(rate) / 20.0)
            .at(secs(20), Change::Servers(0..5, condition))
            .at(secs(30), Change::Start { servers: 0..5, cold: COLD, new_identity: false })
            .after(secs(30), millis(300))
    };
    let single = |name: &str, condition: Condition| {
        Scenario::new(name, 1, 20)
            .clients(3, 5.0)
            .fault(0..1, condition, secs(20)..secs(30))
            .during_and_after(secs(20)..secs(30), millis(300))
    };
    vec![
        all_of_three("all 3 stopped for 3 s, 20 calls/s", Condition::Stopped, 3, 20.0),
        all_of_three("all 3 dead for 10 s, 20 calls/s", Condition::Dead, 10, 20.0),
        all_of_three("all 3 unreachable for 130 s, 1 call/s", Condition::Unreachable, 130, 1.0),
        all_of_three("all 3 hung for 60 s, healthz well, 5 calls/s", Condition::Hung { healthz: true }, 60, 5.0),
        back_cold(300, Condition::Dead),
        back_cold(500, Condition::Dead),
        back_cold(800, Condition::Dead),
        back_cold(500, Condition::Unreachable),
        single("single server dead for 10 s", Condition::Dead),
        single("single server unreachable for 10 s", Condition::Unreachable),
        single("single server stopped for 10 s", Condition::Stopped),
    ]
}

/// Some servers, and the others have to carry their load.
fn a_part() -> Vec<Scenario> {
    let part = |name: &str, servers: usize, out: usize, condition: Condition, rate: f64| {
        let rate = rate / 20.0;
        let scenario = Scenario::new(name, servers, 20).clients(20, rate).watching(0);
        scenario
            .fault(0..out, condition, secs(20)..secs(50))
            .during_and_after(secs(20)..secs(50), millis(200))
            .demand(Demand::FairShareWithin(secs(10)))
    };
    let herd = |name: &str, clients: usize, cold: Cold, condition: Condition| {
        let scenario = Scenario::new(name, 5, 20).clients(clients, 500.0 / clients as f64).watching(0);
        scenario
            .at(secs(20), Change::Servers(0..1, condition))
            .at(secs(40), Change::Start { servers: 0..1, cold, new_identity: false })
            .during_and_after(secs(20)..secs(40), millis(300))
    };
    let warm = Demand::FairShareWithin(secs(25)); // the first 400 requests take 12 s at full share
    let very_cold = Cold::Requests { factor: 30.0, count: 200 };
    vec![
        part("1 of 2 dead, 70 % of the other's capacity", 2, 1, Condition::Dead, 140.0),
        part("1 of 2 unreachable, 70 % of the other's capacity", 2, 1, Condition::Unreachable, 140.0),
        part("4 of 5 dead, 80 % of the last one's capacity", 5, 4, Condition::Dead, 160.0),
        part("4 of 5 unreachable, 80 % of the last one's capacity", 5, 4, Condition::Unreachable, 160.0),
        part("5 of 7 unreachable, 50 % of the others' capacity", 7, 5, Condition::Unreachable, 200.0),
        part("5 of 7 stopped, 50 % of the others' capacity", 7, 5, Condition::Stopped, 200.0),
        herd("100 clients, 1 of 5 dead, back cold", 100, COLD, Condition::Dead).demand(warm),
        herd("100 clients, 1 of 5 unreachable, back cold", 100, COLD, Condition::Unreachable).demand(warm),
        herd("100 clients, 1 of 5 dead, back 30 x slower", 100, very_cold, Condition::Dead),
        herd("1 client, 1 of 5 dead, back 30 x slower", 1, very_cold, Condition::Dead),
        Scenario::new("1 of 2 unreachable, 120 % of the other's capacity", 2, 20)
            .clients(10, 24.0)
            .fault(0..1, Condition::Unreachable, secs(20)..secs(30))
            .phase("during and after", secs(20)..secs(60))
            .recovery(secs(30), millis(300)),
    ]
}

/// The network of callers.
fn clients_cut() -> Vec<Scenario> {
    let cut = |seconds: u64| {
        let end = secs(20 + seconds);
        Scenario::new(format!("client's network cut for {seconds} s"), 5, 20)
            .clients(1, 10.0)
            .at(secs(20), Change::ClientsCut(0..1, true))
            .at(end, Change::ClientsCut(0..1, false))
            .after(end, millis(400))
            .demand(Demand::FirstGoodWithin(millis(2500)))
    };
    let mut short_cuts = Scenario::new("client's network cut for 300 ms every 3 s", 5, 20).clients(5, 20.0);
    for second in (20..80).step_by(3) {
        short_cuts = short_cuts
            .at(secs(second), Change::ClientsCut(0..5, true))
            .at(secs(second) + millis(300), Change::ClientsCut(0..5, false));
    }
    vec![
        cut(5),
        cut(30),
        cut(120),
        short_cuts.phase("during", secs(20)..secs(80)),
        Scenario::new("network loses 2 % of all packets", 5, 20)
            .clients(5, 20.0)
            .at(secs(20), Change::Loss(0.02))
            .phase("during", secs(20)..secs(80)),
    ]
}

/// A server that comes and goes.
fn flapping() -> Vec<Scenario> {
    let flapping = |period: u64, condition: Condition| {
        let how = if condition == Condition::Dead { "dead" } else { "unreachable" };
        let name = format!("1 of 5 flaps, {how} for half of each {period} s");
        let mut scenario = Scenario::new(name, 5, 20).clients(20, 10.0).watching(0);
        for start in (10..80).step_by(period as usize) {
            scenario = scenario.fault(0..1, condition, secs(start)..secs(start) + secs(period) / 2);
        }
        scenario.phase("during", secs(10)..secs(80))
    };
    let periods = [3, 10, 30].into_iter();
    periods.flat_map(|period| [flapping(period, Condition::Dead), flapping(period, Condition::Unreachable)]).collect()
}
