//! Runs scenarios with all contestants and prints what came out.

use crate::contestant::{Contestant, baseline};
use crate::scenario::{Phase, Scenario};
use crate::score::{Figures, Loss};
use crate::world::{self, Record};
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// A phase of a scenario, scored.
#[derive(Debug)]
pub struct Row {
    /// `SCENARIO, PHASE`; unique.
    pub name: String,
    /// The baselines first, then Bramble.
    pub contestants: Vec<(&'static str, Figures)>,
    /// How Bramble lost it; empty if it did not.
    pub losses: Vec<Loss>,
}

/// Scores `bramble` and the baselines in each of `scenarios`, with each of `seeds`. The runs are independent, so that
/// as many threads as there are processors take one after the other; the result does not depend on them.
pub fn score(scenarios: &[Scenario], bramble: &dyn Contestant, seeds: Range<u64>) -> Vec<Row> {
    let [first, second, third] = baseline::all();
    let contestants = [first, second, third, bramble];
    let jobs = scenarios.iter().flat_map(|scenario| contestants.iter().map(move |contestant| (scenario, *contestant)));
    let figures = in_parallel(&jobs.collect::<Vec<_>>(), |(scenario, contestant)| {
        let runs: Vec<Record> = seeds.clone().map(|seed| world::run(scenario, contestant, seed)).collect();
        scenario.phases.iter().map(|phase| Figures::new(scenario, phase, &runs)).collect::<Vec<_>>()
    });
    let mut rows = Vec::new();
    for (scenario, figures) in scenarios.iter().zip(figures.chunks(contestants.len())) {
        for (i, (phase, name)) in scenario.phases.iter().zip(scenario.row_names()).enumerate() {
            let figures = contestants.iter().zip(figures).map(|(one, phases)| (one.name(), phases[i].clone()));
            rows.push(Row::new(name, phase, figures.collect()));
        }
    }
    rows
}

/// The results of `work` on each of `jobs`, in their order.
fn in_parallel<J: Copy + Sync + Send, R: Send>(jobs: &[J], work: impl Fn(J) -> R + Sync) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let waiting = Mutex::new(jobs.iter().zip(&results));
    let worker = || {
        while let Some((job, result)) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
            let done = work(*job);
            if let Ok(mut result) = result.lock() {
                *result = Some(done);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    results.into_iter().filter_map(|result| result.into_inner().ok().flatten()).collect()
}

impl Row {
    fn new(name: String, phase: &Phase, contestants: Vec<(&'static str, Figures)>) -> Self {
        let baselines: Vec<Figures> = contestants.iter().rev().skip(1).map(|(_, figures)| figures.clone()).collect();
        let losses = contestants.last().map(|(_, figures)| figures.losses(&baselines, phase)).unwrap_or_default();
        Self { name, contestants, losses }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome: Vec<String> = self.losses.iter().map(Loss::to_string).collect();
        let mark = if outcome.is_empty() { "" } else { "  LOST: " };
        writeln!(f, "{}{mark}{}", self.name, outcome.join("; "))?;
        writeln!(
            f,
            "  {:14} {:>8} {:>10} {:>8} {:>8} {:>10} {:>8} {:>9} {:>8} {:>7} {:>6} {:>7} {:>6}",
            "",
            "calls",
            "answered",
            "p50",
            "p99",
            "first good",
            "last bad",
            "recovered",
            "attempts",
            "wasted",
            "share",
            "fair in",
            "fetches"
        )?;
        for (name, figures) in &self.contestants {
            writeln!(f, "  {name:14} {figures}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms =
            |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
        let share = self.share.map_or("-".to_owned(), |share| format!("{share:.1} %"));
        let fair = self.fair_share.map_or("-".to_owned(), |after| format!("{:.0} s", after.as_secs_f64()));
        write!(
            f,
            "{:>8} {:>8.2} % {:>8} {:>8} {:>8.2} s {:>6.1} s {:>7.1} s {:>8.2} {:>5.1} % {share:>6} {fair:>7} {:>6.1}",
            self.calls,
            self.answered,
            ms(self.p50),
            ms(self.p99),
            self.first_good.as_secs_f64(),
            self.last_bad.as_secs_f64(),
            self.recovered.as_secs_f64(),
            self.attempts,
            self.wasted,
            self.fetches,
        )
    }
}
