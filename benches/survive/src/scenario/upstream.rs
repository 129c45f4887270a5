//! The API behind the servers fails, is slow, or is paid by the call.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        fails(1.0, 0.5, UpstreamCondition::Failing),
        fails(20.0, 0.5, UpstreamCondition::Failing),
        fails(20.0, 0.7, UpstreamCondition::Failing),
        fails(20.0, 0.5, UpstreamCondition::Silent),
        slow(1200),
        slower(),
        paid(),
    ]
}

fn asking(name: impl Into<String>, servers: usize, latency: Duration) -> Scenario {
    let upstream = UpstreamSpec { latency, fresh_for: secs(600), fetch_timeout: secs(5) };
    Scenario { upstream: Some(upstream), ..Scenario::new(name, servers, 5) }
}

/// The API fails while a share of the questions is new: the others are fresh on every server and must be answered.
fn fails(rate: f64, new_share: f64, condition: UpstreamCondition) -> Scenario {
    let how = if condition == UpstreamCondition::Failing { "fails" } else { "is silent" };
    let start = if rate < 5.0 { secs(300) } else { secs(60) };
    let end = start + secs(60);
    let name = format!("upstream {how}, {:.0} % new questions, {rate} calls/s", new_share * 100.0);
    asking(name, 3, millis(60))
        .clients(1, rate)
        .which(|clients| clients.questions = Questions::Keyed { known: 7, new_share, new_from: start })
        .at(start, Change::Upstream(condition))
        .at(end, Change::Upstream(UpstreamCondition::Up))
        .phase("during, fresh ones", start..end)
        .last_phase(|phase| phase.known_only = true)
        .demand(Demand::Answered(97.0))
        .phase("after", end..end + secs(30))
        .recovery(end, millis(400))
}

/// An API that takes longer than many a time limit.
fn slow(milliseconds: u64) -> Scenario {
    let name = format!("upstream takes {milliseconds} ms");
    let mut scenario = asking(name, 3, millis(milliseconds))
        .clients(1, 1.0)
        .which(|clients| clients.questions = Questions::Keyed { known: 20, new_share: 0.0, new_from: secs(0) })
        .phase("all", secs(0)..secs(120))
        .demand(Demand::Answered(99.0));
    scenario.limits.attempt = millis(2000);
    scenario
}

/// An API that takes longer than any attempt: the answer is late for its caller, and there for the next one.
fn slower() -> Scenario {
    asking("upstream takes 2600 ms", 3, millis(2600))
        .clients(1, 0.5)
        .which(|clients| {
            clients.steady = true;
            clients.questions = Questions::Keyed { known: 5, new_share: 0.0, new_from: secs(0) };
        })
        .phase("all", secs(0)..secs(240))
        .demand(Demand::Answered(94.0))
}

/// Few questions, asked again and again: each costs one call to the API, not one per server.
fn paid() -> Scenario {
    asking("7 questions asked 12 times each, 5 servers", 5, millis(60))
        .clients(1, 1.0)
        .which(|clients| {
            clients.steady = true;
            clients.questions = Questions::Keyed { known: 7, new_share: 0.0, new_from: secs(0) };
        })
        .phase("all", secs(0)..secs(84))
        .demand(Demand::Fetches(7))
}
