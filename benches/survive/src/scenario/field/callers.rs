//! Many callers at once, very few calls, questions with and without keys, and moods of the API behind the servers.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    [crowds(), few(), keys(), upstreams()].concat()
}

fn keyed(known: u64, new_share: f64) -> impl Fn(&mut ClientGroup) {
    move |clients| clients.questions = Questions::Keyed { known, new_share, new_from: Duration::ZERO }
}

/// Three servers that answer 50 calls a second each.
fn three(name: &str) -> Scenario {
    Scenario::new(name, 3, 40).each_server(|_, server| server.workers = 2)
}

fn crowds() -> Vec<Scenario> {
    let bursts = |mut scenario: Scenario, clients: usize, calls: u32, period: usize| {
        for second in (15..65).step_by(period) {
            scenario = scenario.at(secs(second), Change::Burst(0..clients, calls));
        }
        scenario.phase("during", secs(15)..secs(65))
    };
    let hall = |name: &str| three(name).clients(60, 0.1);
    vec![
        bursts(hall("lecture hall: 60 clients make 2 calls at one instant, each 10 s"), 60, 2, 10),
        bursts(hall("lecture hall of 60 new processes").which(|clients| clients.short_lived = true), 60, 3, 10),
        bursts(hall("lecture hall: 60 clients, 1 of 3 servers unreachable"), 60, 2, 10)
            .at(secs(12), Change::Servers(0..1, Condition::Unreachable)),
        bursts(three("4 clients make 40 calls at one instant, each 10 s").clients(4, 5.0), 4, 40, 10),
        three("1 client with 90 % of the calls, 20 with the rest, 1 of 3 stalls")
            .clients(1, 60.0)
            .clients(20, 0.3)
            .fault(0..1, Condition::Stalled, secs(15)..secs(45))
            .during_and_after(secs(15)..secs(45), millis(300)),
    ]
}

/// A call in five minutes, for a night.
fn few() -> Vec<Scenario> {
    let night = |how: &str, condition: Condition| {
        three(&format!("1 call each 5 minutes, 1 of 3 {how}"))
            .clients(1, 1.0 / 300.0)
            .which(|clients| clients.steady = true)
            .at(secs(600), Change::Servers(0..1, condition))
            .phase("during", secs(600)..secs(6 * 3600))
    };
    vec![
        night("unreachable", Condition::Unreachable),
        night("fails half", Condition::Failing { share: 0.5, at_once: true }),
    ]
}

fn keys() -> Vec<Scenario> {
    let hot = |name: &str| three(name).clients(3, 24.0).which(keyed(1, 0.0)).clients(3, 3.0).which(keyed(40, 0.0));
    vec![
        hot("hot key: 90 % of the calls for one place, 54 % of the capacity").phase("all", secs(10)..secs(60)),
        hot("hot key: 90 % of the calls for one place, 1 of 3 is 4 x slower")
            .fault(0..1, Condition::Slow(4.0), secs(15)..secs(45))
            .during_and_after(secs(15)..secs(45), millis(300)),
        three("calls with and without keys, 1 of 3 dead")
            .clients(3, 10.0)
            .which(keyed(20, 0.1))
            .clients(3, 10.0)
            .fault(0..1, Condition::Dead, secs(15)..secs(45))
            .during_and_after(secs(15)..secs(45), millis(300)),
    ]
}

fn upstreams() -> Vec<Scenario> {
    let behind = |name: &str, milliseconds: u64, fresh: u64, known: u64, new_share: f64, rate: f64| {
        let upstream = UpstreamSpec {
            latency: millis(milliseconds),
            fresh_for: secs(fresh),
            fetch_timeout: secs(5),
            filled: false,
        };
        let scenario = Scenario::new(name, 3, 5).clients(3, rate / 3.0).which(keyed(known, new_share));
        Scenario { upstream: Some(upstream), ..scenario }
    };
    let mut flapping = behind("upstream fails for 5 s of each 10 s", 80, 20, 30, 0.0, 20.0);
    for second in (15..75).step_by(10) {
        flapping = flapping
            .at(secs(second), Change::Upstream(UpstreamCondition::Failing))
            .at(secs(second + 5), Change::Upstream(UpstreamCondition::Up));
    }
    vec![
        behind("upstream with a quota: every second call fails", 80, 10, 30, 0.2, 20.0)
            .at(secs(15), Change::Upstream(UpstreamCondition::EverySecondFails))
            .phase("during", secs(15)..secs(75)),
        flapping.phase("during", secs(15)..secs(75)),
        behind("key churn: every question is new, 1 of 3 dead", 120, 60, 1, 1.0, 30.0)
            .fault(0..1, Condition::Dead, secs(15)..secs(45))
            .during_and_after(secs(15)..secs(45), millis(300)),
        behind("upstream of 900 ms, 1 of 3 unreachable", 900, 30, 40, 0.05, 10.0)
            .fault(0..1, Condition::Unreachable, secs(15)..secs(65))
            .during_and_after(secs(15)..secs(65), millis(2500)),
        behind("upstream silent for 10 s, answers fresh for 15 s", 80, 15, 30, 0.0, 20.0)
            .at(secs(30), Change::Upstream(UpstreamCondition::Silent))
            .at(secs(40), Change::Upstream(UpstreamCondition::Up))
            .phase("during and after", secs(30)..secs(70))
            .recovery(secs(40), millis(300)),
    ]
}
