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
        held("upstream fails for 60 s", UpstreamCondition::Failing),
        held("upstream is silent for 60 s", UpstreamCondition::Silent),
        held("upstream takes 1.2 s for 60 s", UpstreamCondition::Slow(millis(1200))),
        held("upstream fails half of its calls for 60 s", UpstreamCondition::HalfFail),
        expires("upstream well", UpstreamCondition::Up),
        expires("upstream silent", UpstreamCondition::Silent),
        expires("upstream fails half of its calls", UpstreamCondition::HalfFail),
        out_of_date(UpstreamCondition::Failing),
        out_of_date(UpstreamCondition::Silent),
    ]
}

fn asking(name: impl Into<String>, servers: usize, latency: Duration) -> Scenario {
    let upstream = UpstreamSpec { latency, fresh_for: secs(600), fetch_timeout: secs(5), filled: false };
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

const FAULT: Range<Duration> = secs(20)..secs(80);

/// Three producers that hold all known answers at the start.
fn filled(name: String, new_share: f64, fresh_for: Duration) -> Scenario {
    let upstream = UpstreamSpec { latency: millis(60), fresh_for, fetch_timeout: secs(5), filled: true };
    let scenario = Scenario::new(name, 3, 5)
        .clients(3, 7.0)
        .which(|clients| clients.questions = Questions::Keyed { known: 30, new_share, new_from: FAULT.start });
    Scenario { upstream: Some(upstream), ..scenario }
}

fn fault(scenario: Scenario, condition: UpstreamCondition, time: Range<Duration>) -> Scenario {
    scenario.at(time.start, Change::Upstream(condition)).at(time.end, Change::Upstream(UpstreamCondition::Up))
}

/// Half of the questions are new while the API has a fault. What all producers hold fresh stays answered.
fn held(how: &str, condition: UpstreamCondition) -> Scenario {
    fault(filled(format!("{how}, 30 places held fresh, 50 % new questions"), 0.5, secs(600)), condition, FAULT)
        .phase("during, fresh ones", FAULT)
        .last_phase(|phase| phase.known_only = true)
        .demand(Demand::Answered(99.5))
        .phase("during", FAULT)
        .after(FAULT.end, millis(200))
}

/// All answers expire at the same moment on all producers.
fn expires(how: &str, condition: UpstreamCondition) -> Scenario {
    let name = format!("30 places expire at the same moment on all 3 servers, {how}");
    fault(filled(name, 0.0, secs(30)), condition, secs(25)..secs(45))
        .phase("around", secs(25)..secs(45))
        .demand(Demand::Answered(99.5))
        .phase("after", secs(45)..secs(65))
        .demand(Demand::Answered(99.5))
}

/// The API has a fault for so long that what is kept is too old to be given without a question to it.
fn out_of_date(condition: UpstreamCondition) -> Scenario {
    let how = if condition == UpstreamCondition::Failing { "fails" } else { "is silent" };
    fault(
        filled(format!("upstream {how} for 100 s, answers fresh for 30 s"), 0.0, secs(30)),
        condition,
        secs(20)..secs(120),
    )
    .phase("during", secs(20)..secs(120))
    .demand(Demand::Answered(99.0))
    .after(secs(120), millis(200))
}
