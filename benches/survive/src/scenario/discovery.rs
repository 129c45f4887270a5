//! Clients that find instances by mDNS: what the table of discovery does while cables, boards and addresses come and
//! go.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    [cables(), addresses(), boards(), everything()].concat()
}

const START: Duration = secs(20);

fn found_by_mdns(name: impl Into<String>, servers: usize) -> Scenario {
    let scenario = Scenario::new(name, servers, 20).clients(3, 10.0);
    Scenario { mdns: true, ..scenario }
}

/// Cables that are out and in again. The processes go on.
fn cables() -> Vec<Scenario> {
    let out = |servers: usize, out: usize, seconds: u64| {
        let end = START + secs(seconds);
        found_by_mdns(format!("mDNS: cables of {out} of {servers} out for {seconds} s"), servers)
            .fault(0..out, Condition::Unreachable, START..end)
            .watching(0)
            .during_and_after(START..end, millis(200))
            .demand(Demand::FairShareWithin(secs(10)))
    };
    let lan = |seconds: u64| {
        let end = START + secs(seconds);
        found_by_mdns(format!("mDNS: clients' LAN cut for {seconds} s"), 3)
            .at(START, Change::ClientsCut(0..3, true))
            .at(end, Change::ClientsCut(0..3, false))
            .after(end, millis(200))
            .demand(Demand::FirstGoodWithin(millis(2500)))
    };
    vec![out(3, 1, 5), out(3, 1, 20), out(3, 1, 130), out(7, 5, 30), out(7, 5, 130), lan(20), lan(130)]
}

/// Instances at other addresses than before, and announcements of nothing.
fn addresses() -> Vec<Scenario> {
    let forged = |seconds: &[u64]| {
        let times = if seconds.len() > 1 { "again and again" } else { "once" };
        let mut scenario = found_by_mdns(format!("mDNS: 30 silent addresses announced beside 3, {times}"), 33)
            .each_server(|id, server| server.condition = if id < 3 { Condition::Up } else { Condition::Unreachable });
        for second in seconds {
            scenario = scenario.at(secs(*second), Change::Forge(3..33));
        }
        scenario.phase("during", START..secs(80))
    };
    vec![
        found_by_mdns("mDNS: all 3 restarted as new instances at new ports", 3)
            .at(START, Change::Servers(0..3, Condition::Dead))
            .at(secs(22), Change::StartElsewhere(0..3, Cold::No))
            .after(secs(22), millis(200)),
        found_by_mdns("mDNS: 1 of 3 restarted as a new instance at a new port", 3)
            .at(START, Change::Servers(0..1, Condition::Dead))
            .at(secs(22), Change::StartElsewhere(0..1, Cold::No))
            .watching(0)
            .during_and_after(START..secs(22), millis(200))
            .demand(Demand::FairShareWithin(secs(10))),
        found_by_mdns("mDNS: 1 of 3 moves and is announced at its old and new address", 3)
            .at(START, Change::Move(0..1))
            .watching(0)
            .after(START, millis(200))
            .demand(Demand::FairShareWithin(secs(10))),
        forged(&[20]),
        forged(&[20, 30, 40, 50, 60, 70]),
    ]
}

/// Boards and processes that end.
fn boards() -> Vec<Scenario> {
    vec![
        found_by_mdns("mDNS: 1 of 3 crashes and is back after 60 s as a new instance", 3)
            .at(START, Change::Servers(0..1, Condition::Unreachable))
            .at(secs(80), Change::Servers(0..1, Condition::Dead))
            .at(secs(82), Change::Start { servers: 0..1, cold: Cold::No, new_identity: true })
            .watching(0)
            .during_and_after(START..secs(82), millis(200))
            .demand(Demand::FairShareWithin(secs(10))),
        found_by_mdns("mDNS: 1 of 3 killed, 2 s later back as a new instance at its port", 3)
            .at(START, Change::Servers(0..1, Condition::Dead))
            .at(secs(22), Change::Start { servers: 0..1, cold: Cold::No, new_identity: true })
            .watching(0)
            .during_and_after(START..secs(22), millis(200))
            .demand(Demand::FairShareWithin(secs(10))),
        found_by_mdns("mDNS: 1 of 3 says goodbye and ends", 3)
            .at(START, Change::Servers(0..1, Condition::Absent))
            .phase("after", START..secs(50)),
        found_by_mdns("mDNS: 1 of 3 dead for 200 s without a goodbye", 3)
            .fault(0..1, Condition::Dead, START..secs(220))
            .watching(0)
            .during_and_after(START..secs(220), millis(200))
            .demand(Demand::FairShareWithin(secs(10))),
    ]
}

/// All instances at once, so that none is known while they are away.
fn everything() -> Vec<Scenario> {
    let all = |servers: usize, how: &str, condition: Condition, seconds: u64| {
        let end = START + secs(seconds);
        found_by_mdns(format!("mDNS: all {servers} {how} for {seconds} s"), servers)
            .fault(0..servers, condition, START..end)
            .after(end, millis(200))
            .demand(Demand::FirstGoodWithin(millis(2500)))
    };
    vec![
        all(1, "dead", Condition::Dead, 10),
        all(3, "dead", Condition::Dead, 10),
        all(1, "unreachable", Condition::Unreachable, 10),
        all(4, "unreachable", Condition::Unreachable, 40),
    ]
}
