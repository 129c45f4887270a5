//! Scenarios of real clusters of Raspberry Pis, written without knowledge of the rules.

mod callers;
mod machines;
mod networks;

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    [machines::all(), networks::all(), callers::all()].concat()
}

/// A board that is off for a time, boots (connections are refused) for two seconds, and starts its service cold.
fn reboot(scenario: Scenario, servers: Range<usize>, off: Range<Duration>) -> Scenario {
    const COLD: Cold = Cold::Seconds { factor: 5.0, warm_after: secs(3) };
    let boot_time = secs(2);
    scenario
        .at(off.start, Change::Servers(servers.clone(), Condition::Unreachable))
        .at(off.end, Change::Servers(servers.clone(), Condition::Dead))
        .at(off.end + boot_time, Change::Start { servers, cold: COLD, new_identity: false })
}

/// A condition that comes in each period and lasts for a time.
fn again_and_again(
    mut scenario: Scenario,
    servers: Range<usize>,
    condition: Condition,
    time: Range<u64>,
    period: u64,
    lasting: Duration,
) -> Scenario {
    for second in time.step_by(period as usize) {
        scenario = scenario.fault(servers.clone(), condition, secs(second)..secs(second) + lasting);
    }
    scenario
}

/// The links of some servers are bad for a time.
fn bad_link(scenario: Scenario, servers: Range<usize>, link: Link, time: Range<Duration>) -> Scenario {
    scenario.at(time.start, Change::Links(servers.clone(), link)).at(time.end, Change::Links(servers, Link::default()))
}
