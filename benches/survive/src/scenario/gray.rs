//! Servers that are neither well nor gone: slow, failing at times, answering nonsense, hung.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    [failing(), wrong(), slow()].concat()
}

const FAULT: Range<Duration> = secs(15)..secs(45);

/// A fault of one of five servers for half a minute; then its fair share has to come back.
fn one_of_five(name: &str, condition: Condition, clients: usize, rate: f64) -> Scenario {
    Scenario::new(name, 5, 20)
        .clients(clients, rate / clients as f64)
        .fault(0..1, condition, FAULT)
        .watching(0)
        .during_and_after(FAULT, millis(200))
        .demand(Demand::FairShareWithin(secs(15)))
}

fn failing() -> Vec<Scenario> {
    let at_once = |share| Condition::Failing { share, at_once: true };
    let late = |share| Condition::Failing { share, at_once: false };
    let all_of_five = |name: &str, share: f64, rate: f64| {
        Scenario::new(name, 5, 20)
            .clients(20, rate / 20.0)
            .fault(0..5, late(share), secs(20)..secs(50))
            .during_and_after(secs(20)..secs(50), millis(200))
    };
    let rare = |name: &str, milliseconds: u64, rate: f64, share: f64| {
        Scenario::new(name, 3, milliseconds)
            .clients(1, rate)
            .at(secs(0), Change::Servers(0..3, late(share)))
            .phase("all", secs(10)..secs(70))
    };
    vec![
        one_of_five("1 of 5 fails 30 % at once, 1 client", at_once(0.3), 1, 100.0),
        one_of_five("1 of 5 fails 30 % at once, 20 clients", at_once(0.3), 20, 100.0),
        one_of_five("1 of 5 fails 5 % at once, 1 client", at_once(0.05), 1, 100.0),
        one_of_five("1 of 5 fails 100 % at once, 20 clients", at_once(1.0), 20, 400.0),
        one_of_five("1 of 5 fails 30 % after its work, 20 clients", late(0.3), 20, 400.0),
        all_of_five("all 5 fail 2 %, 60 % of the capacity", 0.02, 600.0),
        all_of_five("all 5 fail 50 %", 0.5, 400.0),
        all_of_five("all 5 fail 100 %", 1.0, 400.0),
        rare("3 servers of 20 ms fail 0.05 %, 75 % of the capacity", 20, 450.0, 0.0005),
        rare("3 servers of 2 ms fail 0.1 %, 50 calls/s", 2, 50.0, 0.001),
        // One failure of one server of 2 ms: for how long has it less than its share?
        Scenario::new("one failure of a server of 2 ms", 3, 2)
            .clients(1, 50.0)
            .fault(0..1, late(1.0), secs(20)..secs(20) + millis(50))
            .watching(0)
            .phase("after", secs(20)..secs(50))
            .recovery(secs(20) + millis(50), millis(200))
            .demand(Demand::FairShareWithin(secs(6))),
    ]
}

/// Answers of another program, and answers that are none.
fn wrong() -> Vec<Scenario> {
    let stranger = |status: u16, servers: usize| {
        Scenario::new(format!("a stranger at 1 of {servers} addresses answers {status}"), servers, 20)
            .clients(5, 4.0)
            .fault(0..1, Condition::Stranger(status), FAULT)
            .watching(0)
            .during_and_after(FAULT, millis(200))
            .last_phase(|phase| phase.demands.push(Demand::FairShareWithin(secs(15))))
    };
    let of_three = [404, 301, 403, 200].map(|status| stranger(status, 3));
    let of_two = [404, 200].map(|status| stranger(status, 2));
    let mut all: Vec<Scenario> = of_three.into_iter().chain(of_two).collect();
    for scenario in &mut all {
        scenario.phases[0].demands.push(Demand::Answered(96.0));
    }
    all.push(one_of_five("1 of 5 answers 200 with nonsense", Condition::Lying(1.0), 20, 200.0));
    all.push(one_of_five("1 of 5 answers 30 % with nonsense", Condition::Lying(0.3), 20, 200.0));
    all
}

fn slow() -> Vec<Scenario> {
    let hung = |healthz| Condition::Hung { healthz };
    vec![
        one_of_five("1 of 5 is 10 x slower", Condition::Slow(10.0), 20, 400.0),
        one_of_five("1 of 5 hangs, healthz well, 20 clients", hung(true), 20, 400.0),
        one_of_five("1 of 5 hangs, healthz well, 1 client", hung(true), 1, 5.0),
        one_of_five("1 of 5 hangs, healthz silent, 20 clients", hung(false), 20, 400.0),
        one_of_five("1 of 5 stopped for 30 s, 20 clients", Condition::Stopped, 20, 400.0),
        Scenario::new("1 of 3 servers of 300 ms is 3 x slower", 3, 300)
            .clients(5, 3.0)
            .fault(0..1, Condition::Slow(3.0), secs(20)..secs(60))
            .during_and_after(secs(20)..secs(60), millis(1200)),
    ]
}
