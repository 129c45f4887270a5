//! Few calls, clients of one call, hedging on and off.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    let hung = Condition::Hung { healthz: true };
    let silent = Condition::Unreachable;
    let mut all = vec![
        low(0.05, "unreachable", silent),
        low(0.05, "hung, healthz well", hung),
        low(0.05, "dead", Condition::Dead),
        low(0.5, "hung, healthz well", hung),
        low(5.0, "unreachable", silent),
        short_lived("unreachable", silent),
        short_lived("dead", Condition::Dead),
        short_lived("hung, healthz well", hung),
    ];
    for may_hedge in [true, false] {
        all.extend([plain(may_hedge), one_slow(may_hedge)]);
    }
    all
}

/// A single client, and one of three servers does not answer from 60 s on.
fn low(rate: f64, how: &str, condition: Condition) -> Scenario {
    let end = if rate < 0.1 { secs(7200) } else { secs(660) };
    Scenario::new(format!("{} calls a minute, 1 of 3 {how}", rate * 60.0), 3, 50)
        .clients(1, rate)
        .at(secs(60), Change::Servers(0..1, condition))
        .watching(0)
        .phase("during", secs(60)..end)
}

/// Each call is the first and last of its process.
fn short_lived(how: &str, condition: Condition) -> Scenario {
    Scenario::new(format!("clients of one call, 1 of 3 {how}"), 3, 20)
        .clients(5, 2.0)
        .which(|clients| clients.short_lived = true)
        .at(secs(10), Change::Servers(0..1, condition))
        .watching(0)
        .phase("during", secs(10)..secs(130))
}

fn name(what: &str, may_hedge: bool) -> String {
    format!("{what}, hedging {}", if may_hedge { "on" } else { "off" })
}

/// Without faults.
fn plain(may_hedge: bool) -> Scenario {
    let scenario = Scenario::new(name("all well, 60 % of the capacity", may_hedge), 5, 20).clients(20, 30.0);
    Scenario { may_hedge, ..scenario }.phase("all", secs(10)..secs(40))
}

fn one_slow(may_hedge: bool) -> Scenario {
    let scenario = Scenario::new(name("1 of 3 hangs at 2 calls/s", may_hedge), 3, 50).clients(1, 2.0);
    let fault = secs(60)..secs(360);
    Scenario { may_hedge, ..scenario }
        .fault(0..1, Condition::Hung { healthz: true }, fault.clone())
        .watching(0)
        .during_and_after(fault, millis(300))
}
