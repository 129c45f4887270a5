use super::*;
use crate::contestant::rules::BrambleRules;
use crate::contestant::{Contestant, baseline};
use crate::scenario::{Change, Cold, Scenario, secs};
use crate::world::{Record, run};
use std::ops::Range;

/// A client of 20 calls a second that finds `servers` servers by mDNS, for `seconds`.
fn found(servers: usize, seconds: u64) -> Scenario {
    let scenario = Scenario::new("test", servers, 20).clients(1, 20.0).phase("all", secs(0)..secs(seconds));
    Scenario { mdns: true, ..scenario }
}

fn asked(record: &Record, server: usize, time: Range<Duration>) -> usize {
    record.attempts.iter().filter(|(at, asked)| *asked == server && time.contains(at)).count()
}

/// With Bramble's rules, and with round robin.
fn both(scenario: &Scenario) -> [Record; 2] {
    let bramble = BrambleRules::default();
    let contestants: [&dyn Contestant; 2] = [&bramble, baseline::all()[0]];
    contestants.map(|contestant| run(scenario, contestant, 1))
}

#[test]
fn an_announced_address_that_is_silent_is_called_by_a_client_without_probes_alone() {
    let mut scenario = found(3, 40).at(secs(10), Change::Forge(2..3));
    scenario.servers[2].condition = Condition::Unreachable;
    let [bramble, round_robin] = both(&scenario);
    assert_eq!(asked(&bramble, 2, secs(0)..secs(40)), 0);
    assert!(!bramble.probes.is_empty(), "it has been probed");
    assert!(asked(&round_robin, 2, secs(10)..secs(40)) > 100);
}

#[test]
fn a_dead_instance_leaves_the_table_at_its_first_calls_and_a_list_of_records_when_they_run_out() {
    let scenario = found(3, 200).at(secs(20), Change::Servers(0..1, Condition::Dead));
    let [bramble, round_robin] = both(&scenario);
    assert_eq!(asked(&bramble, 0, secs(22)..secs(200)), 0);
    assert!(asked(&round_robin, 0, secs(100)..secs(115)) > 50);
    assert_eq!(asked(&round_robin, 0, secs(20) + TTL..secs(200)), 0);
}

#[test]
fn an_instance_that_says_goodbye_is_called_no_more_after_a_second() {
    let scenario = found(3, 40).at(secs(20), Change::Servers(0..1, Condition::Absent));
    for record in both(&scenario) {
        assert!(asked(&record, 0, secs(10)..secs(20)) > 0);
        assert_eq!(asked(&record, 0, secs(20) + GOODBYE..secs(40)), 0);
    }
}

#[test]
fn a_new_instance_is_called_once_it_has_announced_itself_and_answered_a_probe() {
    let mut scenario = found(2, 40).at(secs(20), Change::Start { servers: 1..2, cold: Cold::No, new_identity: true });
    scenario.servers[1].condition = Condition::Absent;
    for record in both(&scenario) {
        assert_eq!(asked(&record, 1, secs(0)..secs(20)), 0);
        assert!(asked(&record, 1, secs(21)..secs(40)) > 0);
    }
}

#[test]
fn an_instance_that_has_moved_is_called_at_its_new_address() {
    let [bramble, round_robin] = both(&found(1, 40).at(secs(20), Change::Move(0..1)));
    let answered = |record: &Record| {
        let calls: Vec<_> = record.calls.iter().filter(|call| (secs(30)..secs(40)).contains(&call.begun)).collect();
        calls.iter().filter(|call| call.answered).count() as f64 / calls.len() as f64
    };
    assert_eq!(answered(&bramble), 1.0);
    assert!(answered(&round_robin) > 0.5, "every second call is first made at the old address");
    let late =
        |record: &Record| record.calls.iter().filter(|call| call.begun > secs(30) && call.took > secs(1)).count();
    assert_eq!(late(&bramble), 0);
    assert!(late(&round_robin) > 30);
}

#[test]
fn a_client_whose_network_is_back_finds_what_has_started_meanwhile() {
    let scenario = found(2, 80)
        .at(secs(10), Change::ClientsCut(0..1, true))
        .at(secs(20), Change::Servers(0..2, Condition::Dead))
        .at(secs(30), Change::StartElsewhere(0..2, Cold::No))
        .at(secs(60), Change::ClientsCut(0..1, false));
    for record in both(&scenario) {
        let answers = |call: &&crate::world::CallRecord| call.answered && call.begun > secs(62);
        assert!(record.calls.iter().filter(answers).count() > 300);
    }
}
