//! Scores: what the users of one contestant got in a phase of a scenario, and whether that is worse than the
//! baselines'.

use crate::scenario::{Demand, Phase, Scenario};
use crate::world::{CallRecord, Record};
use std::fmt;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const P99_FROM: usize = 300; // answers: with fewer, three answers decide on the 99th percentile
const RECOVERED_SECONDS: usize = 5; // in a row
const RECOVERED_ANSWERS: f64 = 0.99;

// What Bramble may lose by.
const ANSWERED_LESS: f64 = 1.0; // percent points
const P99_FACTOR: f64 = 1.1;
const P99_MORE: Duration = Duration::from_millis(2);
const RECOVERY_MORE: Duration = Duration::from_secs(2);
const ATTEMPTS_MAX: f64 = 1.5;

/// The figures of one contestant, over all seeds.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Calls begun in the phase.
    pub calls: usize,
    /// Percent of them.
    pub answered: f64,
    /// Of the answered calls.
    pub p50: Option<Duration>,
    /// Of the answered calls, if they are enough for it.
    pub p99: Option<Duration>,
    /// From the repair to the end of the first answered call that began after it; the mean of all seeds.
    pub first_good: Duration,
    /// From the repair to the beginning of the last call without an answer; the mean of all seeds.
    pub last_bad: Duration,
    /// From the repair to 5 s in a row in which 99 % are answered, quickly; the mean of all seeds. The rest of the
    /// phase, if that is never so.
    pub recovered: Duration,
    /// Instances asked per call.
    pub attempts: f64,
    /// The watched server's share of the attempts, in percent.
    pub share: Option<f64>,
    /// From the repair to five seconds in which the watched server has three quarters of a fair share.
    pub fair_share: Option<Duration>,
    /// Calls to the API behind the servers, per seed.
    pub fetches: f64,
    /// The share of the servers' work whose caller had left, in percent.
    pub wasted: f64,
}

impl Figures {
    /// Sums up the runs of one contestant, one for each seed.
    pub fn new(scenario: &Scenario, phase: &Phase, runs: &[Record]) -> Self {
        let counts = |call: &&CallRecord| phase.holds(call.begun) && (call.known || !phase.known_only);
        let calls: Vec<Vec<CallRecord>> =
            runs.iter().map(|run| run.calls.iter().filter(counts).copied().collect()).collect();
        let total: usize = calls.iter().map(Vec::len).sum();
        let mut latencies: Vec<Duration> = answered(calls.iter().flatten()).map(|call| call.took).collect();
        latencies.sort_unstable();
        let attempts: usize = calls.iter().flatten().map(|call| call.attempts).sum();
        let repaired = phase.repaired();
        let length = phase.to - repaired;
        let first_good = |run: &Vec<CallRecord>| {
            answered(run).filter(|call| call.begun >= repaired).map(|call| call.begun + call.took).min()
        };
        let last_bad = |run: &Vec<CallRecord>| run.iter().filter(|call| !call.answered).map(|call| call.begun).max();
        let worked = runs.iter().flat_map(|run| &run.worked).filter(|(at, _)| phase.holds(*at));
        let wasted = worked.clone().filter(|(_, in_time)| !in_time).count();
        let fetches = runs.iter().flat_map(|run| &run.fetches).filter(|at| phase.holds(**at)).count();
        Self {
            calls: total,
            answered: percent(latencies.len(), total),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99).filter(|_| latencies.len() >= P99_FROM),
            first_good: mean(calls.iter().map(|run| first_good(run).map_or(length, |at| at - repaired))),
            last_bad: mean(
                calls.iter().map(|run| last_bad(run).map_or(Duration::ZERO, |at| at.saturating_sub(repaired))),
            ),
            recovered: mean(calls.iter().map(|run| recovered(phase, run))),
            attempts: attempts as f64 / total.max(1) as f64,
            share: scenario.watched.map(|server| {
                let shares = runs.iter().map(|run| share(run, server, phase.from, phase.to));
                100.0 * shares.sum::<f64>() / runs.len() as f64
            }),
            fair_share: scenario
                .watched
                .map(|server| mean(runs.iter().map(|run| fair_share(phase, run, server, scenario.servers.len())))),
            fetches: fetches as f64 / runs.len().max(1) as f64,
            wasted: percent(wasted, worked.count()),
        }
    }

    /// Losses against the best baseline, or against what is demanded.
    pub fn losses(&self, baselines: &[Self], phase: &Phase) -> Vec<Loss> {
        let mut losses = Vec::new();
        let best = baselines.iter().map(|other| other.answered).fold(0.0, f64::max);
        if self.answered < best - ANSWERED_LESS {
            losses.push(Loss::Answered { ours: self.answered, best });
        }
        let as_much = |other: &&Self| other.answered >= self.answered.max(best) - ANSWERED_LESS;
        let best = baselines.iter().filter(as_much).filter_map(|other| other.p99).min();
        if let (Some(ours), Some(best)) = (self.p99, best) {
            if ours > best.mul_f64(P99_FACTOR) + P99_MORE {
                losses.push(Loss::P99 { ours, best });
            }
        }
        if phase.recovery.is_some() {
            let (ours, best) = (self.recovered, baselines.iter().map(|other| other.recovered).min());
            losses.extend(best.filter(|best| ours > *best + RECOVERY_MORE).map(|best| Loss::Recovery { ours, best }));
        }
        if self.attempts > ATTEMPTS_MAX {
            losses.push(Loss::Attempts(self.attempts));
        }
        losses.extend(phase.demands.iter().filter(|demand| !self.meets(demand)).map(|demand| Loss::Demand(*demand)));
        losses
    }

    fn meets(&self, demand: &Demand) -> bool {
        match *demand {
            Demand::FairShareWithin(limit) => self.fair_share.is_some_and(|after| after <= limit),
            Demand::FirstGoodWithin(limit) => self.first_good <= limit,
            Demand::Fetches(limit) => self.fetches <= limit as f64,
            Demand::Answered(least) => self.answered >= least,
        }
    }
}

/// How a row is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Fewer calls are answered, in percent.
    Answered {
        /// Bramble's.
        ours: f64,
        /// The best baseline's.
        best: f64,
    },
    /// The 99th percentile is longer than that of the best baseline that answers as much.
    P99 {
        /// Bramble's.
        ours: Duration,
        /// The baseline's.
        best: Duration,
    },
    /// Takes longer until calls are answered again.
    Recovery {
        /// Bramble's.
        ours: Duration,
        /// The best baseline's.
        best: Duration,
    },
    /// So many instances are asked per call.
    Attempts(f64),
    /// A demand is not met.
    Demand(Demand),
}

impl Loss {
    /// Kind of the loss, in one word, and its amount: percent points, milliseconds, seconds, or attempts a call.
    pub fn amount(&self) -> (&'static str, f64) {
        match self {
            Self::Answered { ours, best } => ("answered", best - ours),
            Self::P99 { ours, best } => ("p99", (*ours - *best).as_secs_f64() * 1e3),
            Self::Recovery { ours, best } => ("recovery", (*ours - *best).as_secs_f64()),
            Self::Attempts(attempts) => ("attempts", *attempts),
            Self::Demand(_) => ("demand", 0.0),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { ours, best } => write!(f, "answered {ours:.1} %, best baseline {best:.1} %"),
            Self::P99 { ours, best } => {
                write!(f, "p99 {} ms, best baseline {} ms", ours.as_millis(), best.as_millis())
            }
            Self::Recovery { ours, best } => {
                write!(f, "recovery {:.1} s, best baseline {:.1} s", ours.as_secs_f64(), best.as_secs_f64())
            }
            Self::Attempts(attempts) => write!(f, "{attempts:.2} attempts a call"),
            Self::Demand(Demand::FairShareWithin(limit)) => write!(f, "no fair share within {limit:?}"),
            Self::Demand(Demand::FirstGoodWithin(limit)) => write!(f, "first answer not within {limit:?}"),
            Self::Demand(Demand::Fetches(limit)) => write!(f, "more than {limit} calls to the upstream"),
            Self::Demand(Demand::Answered(least)) => write!(f, "answered less than {least} %"),
        }
    }
}

fn answered<'a>(calls: impl IntoIterator<Item = &'a CallRecord>) -> impl Iterator<Item = &'a CallRecord> {
    calls.into_iter().filter(|call| call.answered)
}

fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

fn mean(durations: impl ExactSizeIterator<Item = Duration>) -> Duration {
    let count = durations.len().max(1) as u32;
    durations.sum::<Duration>() / count
}

/// By the nearest rank: the smallest value that at least `percent` of all do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied()
}

fn recovered(phase: &Phase, calls: &[CallRecord]) -> Duration {
    let repaired = phase.repaired();
    let limit = phase.recovery.map_or(Duration::MAX, |recovery| recovery.p95);
    let seconds = (phase.to - repaired).as_secs() as usize;
    let mut by_second = vec![Vec::new(); seconds + 1];
    for call in calls.iter().filter(|call| call.begun >= repaired) {
        by_second[(call.begun - repaired).as_secs() as usize].push(*call);
    }
    let is_good = |calls: &Vec<CallRecord>| {
        let mut latencies: Vec<Duration> = answered(calls).map(|call| call.took).collect();
        latencies.sort_unstable();
        let enough = latencies.len() as f64 >= RECOVERED_ANSWERS * calls.len() as f64;
        enough && percentile(&latencies, 95).is_none_or(|p95| p95 <= limit)
    };
    let good: Vec<bool> = by_second[..seconds].iter().map(is_good).collect();
    let first = good.windows(RECOVERED_SECONDS).position(|window| window.iter().all(|good| *good));
    first.map_or(phase.to - repaired, |second| SECOND * second as u32)
}

/// A server's share of all attempts, 0 to 1.
fn share(run: &Record, server: usize, from: Duration, to: Duration) -> f64 {
    let before = |time: Duration| run.attempts.partition_point(|(at, _)| *at < time);
    let within = &run.attempts[before(from)..before(to)];
    within.iter().filter(|(_, asked)| *asked == server).count() as f64 / within.len().max(1) as f64
}

fn fair_share(phase: &Phase, run: &Record, server: usize, servers: usize) -> Duration {
    const WINDOW: Duration = Duration::from_secs(5);
    let windows = (0..).map(|second| phase.repaired() + SECOND * second).take_while(|from| *from + WINDOW <= phase.to);
    let is_fair = |from: &Duration| share(run, server, *from, *from + WINDOW) >= 0.75 / servers as f64;
    windows.into_iter().find(is_fair).unwrap_or(phase.to) - phase.repaired()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Recovery, millis, secs};

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let sorted: Vec<Duration> = (1..=200).map(millis).collect();
        assert_eq!(percentile(&sorted, 50), Some(millis(100)));
        assert_eq!(percentile(&sorted, 99), Some(millis(198)));
        assert_eq!(percentile(&sorted[..1], 99), Some(millis(1)));
        assert_eq!(percentile(&[], 99), None);
    }

    fn call(begun: Duration, took: Duration, answered: bool) -> CallRecord {
        CallRecord { begun, took, answered, attempts: 1, known: true }
    }

    fn phase() -> Phase {
        let recovery = Some(Recovery { from: secs(10), p95: millis(100) });
        Phase { name: "after", from: secs(10), to: secs(30), known_only: false, recovery, demands: Vec::new() }
    }

    #[test]
    fn recovery_is_the_first_of_five_good_seconds() {
        let every_100_ms = |bad: fn(Duration) -> bool, took: fn(Duration) -> Duration| -> Vec<CallRecord> {
            (100..300).map(|n| millis(n * 100)).map(|at| call(at, took(at), !bad(at))).collect()
        };
        let quick = |_: Duration| millis(20);
        assert_eq!(recovered(&phase(), &every_100_ms(|_| false, quick)), Duration::ZERO);
        assert_eq!(recovered(&phase(), &every_100_ms(|at| at < millis(12_500), quick)), secs(3));
        assert_eq!(recovered(&phase(), &every_100_ms(|at| at == millis(16_000), quick)), Duration::ZERO);
        assert_eq!(recovered(&phase(), &every_100_ms(|at| at == millis(13_000), quick)), secs(4));
        let slow_at_first = |at: Duration| if at < secs(15) { millis(200) } else { millis(20) };
        assert_eq!(recovered(&phase(), &every_100_ms(|_| false, slow_at_first)), secs(5));
        assert_eq!(recovered(&phase(), &every_100_ms(|_| true, quick)), secs(20));
    }

    fn figures(answered: f64, p99: u64) -> Figures {
        Figures {
            calls: 1000,
            answered,
            p50: Some(millis(20)),
            p99: Some(millis(p99)),
            first_good: Duration::ZERO,
            last_bad: Duration::ZERO,
            recovered: Duration::ZERO,
            attempts: 1.0,
            share: None,
            fair_share: None,
            fetches: 0.0,
            wasted: 0.0,
        }
    }

    #[test]
    fn the_p99_of_a_baseline_that_answers_less_counts_for_nothing() {
        let (quick_but_bad, good) = (figures(60.0, 10), figures(99.5, 60));
        assert_eq!(figures(99.0, 68).losses(&[quick_but_bad.clone(), good.clone()], &phase()), []);
        let slow = figures(99.0, 69).losses(&[quick_but_bad.clone(), good.clone()], &phase());
        assert_eq!(slow, [Loss::P99 { ours: millis(69), best: millis(60) }]);
        let few = figures(98.0, 9).losses(&[quick_but_bad, good], &phase());
        assert_eq!(few, [Loss::Answered { ours: 98.0, best: 99.5 }]);
    }

    #[test]
    fn late_recovery_and_many_attempts_lose_a_row() {
        let best = [figures(99.0, 60)];
        let late = Figures { recovered: secs(3), attempts: 1.6, ..figures(99.0, 60) };
        let expected = [Loss::Recovery { ours: secs(3), best: secs(0) }, Loss::Attempts(1.6)];
        assert_eq!(late.losses(&best, &phase()), expected);
        let in_time = Figures { recovered: secs(2), attempts: 1.5, ..figures(99.0, 60) };
        assert_eq!(in_time.losses(&best, &phase()), []);
    }
}
