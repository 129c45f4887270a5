//! Wi-Fi, switches, cables, slow links, and discovery that learns late.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    [wireless(), switches(), discovery(), overlapping()].concat()
}

const FAULT: Range<Duration> = secs(15)..secs(55);

fn wireless() -> Vec<Scenario> {
    let link = |loss: f64, delay: u64| Link { loss, delay: millis(delay) };
    let spikes = |name: &str, out: Range<usize>, delay: u64, period: u64, seconds: u64| {
        let mut scenario = Scenario::new(name, 4, 20).clients(5, 12.0);
        for second in (10..60).step_by(period as usize) {
            scenario = bad_link(scenario, out.clone(), link(0.02, delay), secs(second)..secs(second + seconds));
        }
        scenario.phase("during", secs(10)..secs(60))
    };
    let all_lose = Scenario::new("Wi-Fi: all 4 links lose 5 %", 4, 20).clients(5, 12.0);
    let one_loses = Scenario::new("Wi-Fi: 1 of 4 links loses 8 % and takes 20 ms", 4, 20).clients(5, 12.0);
    let mut away = Scenario::new("Wi-Fi: the client is away for 1.5 s, each 10 s", 3, 20).clients(1, 30.0);
    for second in (15..75).step_by(10) {
        let start = secs(second);
        away = away.at(start, Change::ClientsCut(0..1, true)).at(start + millis(1500), Change::ClientsCut(0..1, false));
    }
    let far = Scenario::new("2 of 6 clients behind a link of 300 ms", 3, 20)
        .clients(4, 15.0)
        .clients(2, 5.0)
        .which(|clients| clients.zone = "far");
    vec![
        bad_link(all_lose, 0..4, link(0.05, 2), FAULT).phase("during", FAULT),
        bad_link(one_loses, 0..1, link(0.08, 20), FAULT).watching(0).phase("during", FAULT),
        spikes("Wi-Fi: messages to all 4 take 150 ms for 1 s, each 7 s", 0..4, 150, 7, 1),
        spikes("Wi-Fi: messages to 1 of 4 take 400 ms for 2 s, each 10 s", 0..1, 400, 10, 2),
        away.phase("during", secs(15)..secs(75)),
        Scenario { zone_latency: millis(150), ..far }
            .fault(0..1, Condition::Dead, secs(20)..secs(40))
            .during_and_after(secs(20)..secs(40), millis(400)),
    ]
}

fn switches() -> Vec<Scenario> {
    let all = Scenario::new("switch reboots: all 4 unreachable for 40 s", 4, 20).clients(5, 6.0);
    let half = Scenario::new("switch of 3 of 6 reboots, 70 % of the others' capacity", 6, 100)
        .each_server(|_, server| server.workers = 2)
        .clients(10, 4.2);
    let mut cable = Scenario::new("loose cable: 1 of 4 unreachable for 1 s of each 2 s", 4, 20).clients(5, 12.0);
    cable = again_and_again(cable, 0..1, Condition::Unreachable, 15..55, 2, secs(1));
    vec![
        all.fault(0..4, Condition::Unreachable, FAULT)
            .after(FAULT.end, millis(300))
            .demand(Demand::FirstGoodWithin(millis(2500))),
        half.fault(0..3, Condition::Unreachable, FAULT).during_and_after(FAULT, millis(400)),
        cable.watching(0).phase("during", FAULT),
    ]
}

fn discovery() -> Vec<Scenario> {
    let late = |name: &str, servers: usize, seconds: u64| {
        let scenario = Scenario::new(name, servers, 20).clients(5, 12.0);
        Scenario { discovery: secs(seconds), ..scenario }
    };
    let start = |servers| Change::Start { servers, cold: Cold::No, new_identity: true };
    vec![
        late("1 of 3 restarted as a new instance that discovery learns after 8 s", 3, 8)
            .at(secs(15), Change::Servers(0..1, Condition::Dead))
            .at(secs(17), start(0..1))
            .watching(0)
            .during_and_after(secs(15)..secs(17), millis(200)),
        late("all 3 restarted as new instances that discovery learns after 5 s", 3, 5)
            .at(secs(15), Change::Servers(0..3, Condition::Dead))
            .at(secs(16), start(0..3))
            .after(secs(16), millis(200)),
        late("2 of 4 end, discovery learns it after 10 s", 4, 10)
            .at(secs(15), Change::Servers(0..2, Condition::Absent))
            .phase("during and after", secs(15)..secs(50)),
        late("3 of 5 known addresses are silent, unknown again after 30 s", 5, 0)
            .at(secs(1), Change::Servers(0..3, Condition::Unreachable))
            .at(secs(31), Change::Servers(0..3, Condition::Absent))
            .phase("all", secs(1)..secs(50)),
    ]
}

/// Two faults at a time.
fn overlapping() -> Vec<Scenario> {
    let boards = |name: &str, rate: f64| {
        Scenario::new(name, 4, 100).each_server(|_, server| server.workers = 2).clients(5, rate / 5.0)
    };
    let cold = Cold::Requests { factor: 6.0, count: 50 };
    let lossy = Link { loss: 0.05, delay: millis(5) };
    vec![
        boards("1 of 4 dead, and 130 % of the others' capacity for 15 s", 30.0)
            .fault(0..1, Condition::Dead, secs(15)..secs(45))
            .at(secs(20), Change::Rate(78.0 / 5.0))
            .at(secs(35), Change::Rate(6.0))
            .phase("during and after", secs(15)..secs(65))
            .recovery(secs(35), millis(400)),
        boards("clients cut for 20 s, all 4 back cold meanwhile", 45.0)
            .at(secs(15), Change::ClientsCut(0..5, true))
            .at(secs(25), Change::Servers(0..4, Condition::Dead))
            .at(secs(28), Change::Start { servers: 0..4, cold, new_identity: false })
            .at(secs(35), Change::ClientsCut(0..5, false))
            .after(secs(35), millis(400)),
        bad_link(boards("1 of 4 is 3 x slower and its link loses 5 %", 40.0), 0..1, lossy, FAULT)
            .fault(0..1, Condition::Slow(3.0), FAULT)
            .during_and_after(FAULT, millis(400)),
        boards("1 of 4 hung, another one 5 x slower", 25.0)
            .fault(0..1, Condition::Hung { healthz: true }, FAULT)
            .fault(1..2, Condition::Slow(5.0), FAULT)
            .during_and_after(FAULT, millis(400)),
        boards("overload of 120 % for 15 s while 3 % of all packets are lost", 40.0)
            .at(secs(10), Change::Loss(0.03))
            .at(secs(20), Change::Rate(96.0 / 5.0))
            .at(secs(35), Change::Rate(8.0))
            .phase("during and after", secs(10)..secs(60)),
    ]
}
