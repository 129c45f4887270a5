//! A table of results: a line for each quantity, a column for each program, and behind each figure its ratio to axum's.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::load::LoadResult;
use crate::memory::{Memory, RESTING};

/// Program that the others are compared with.
const MEASURE: &str = "axum";
const LABEL: usize = 27;
const COLUMN: usize = 19;

/// Results of one turn under load.
pub(crate) struct Round {
    /// Questions a second.
    rate: f64,
    /// In microseconds, as all times here.
    p50: f64,
    p99: f64,
    /// Of the server's process, a question.
    cpu: f64,
}

impl Round {
    pub(crate) fn new(done: &LoadResult, cpu: Duration) -> Self {
        let questions = done.latencies.len().max(1) as f64;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            rate: questions / done.took.as_secs_f64(),
            p50: micros(done.quantile(0.50)),
            p99: micros(done.quantile(0.99)),
            cpu: micros(cpu) / questions,
        }
    }
}

/// All that is known of one program.
pub(crate) struct Measured {
    name: &'static str,
    pub(crate) rounds: Vec<Round>,
    pub(crate) memory: Memory,
    /// A question; None: not counted.
    pub(crate) instructions: Option<u64>,
}

/// A line of the table: what it says, decimals, and where the figure is.
type Line = (String, usize, fn(&Measured) -> Option<f64>);

impl Measured {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new(), memory: Memory::default(), instructions: None }
    }

    fn median(&self, of: fn(&Round) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn lines() -> [Line; 9] {
        [
            ("requests a second".into(), 0, |it| it.median(|round| round.rate)),
            ("latency p50, us".into(), 0, |it| it.median(|round| round.p50)),
            ("latency p99, us".into(), 0, |it| it.median(|round| round.p99)),
            ("CPU a request, us".into(), 1, |it| it.median(|round| round.cpu)),
            ("instructions a request".into(), 0, |it| it.instructions.map(|count| count as f64)),
            ("RSS idle, KiB".into(), 0, |it| Some(it.memory.idle as f64)),
            (format!("RSS, {RESTING} idle conn., KiB"), 0, |it| Some(it.memory.resting as f64)),
            ("  an idle connection, KiB".into(), 1, |it| Some(it.memory.a_connection)),
            ("RSS under load, KiB".into(), 0, |it| Some(it.memory.loaded as f64)),
        ]
    }
}

/// Where and how it was measured.
pub(crate) fn head(connections: usize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(": "));
    let model = field("model name").or_else(|| field("Model")).map_or("unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let others = load.split(' ').next().unwrap_or_default();
    format!(
        "{model}, {cores} cores, Linux {}, load {others}; {connections} connections, loopback, one thread a server;\n\
         medians of alternating rounds; (ratio to axum)",
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// `columns` as a table under `title`.
pub(crate) fn render(title: &str, columns: &[&Measured]) -> String {
    let mut out = format!("\n{title:LABEL$}");
    for column in columns {
        let _ = write!(out, "{:>COLUMN$}", column.name);
    }
    let measure = columns.iter().find(|column| column.name.starts_with(MEASURE));
    for (label, decimals, value) in Measured::lines() {
        let _ = write!(out, "\n{label:LABEL$}");
        let one = measure.and_then(|measure| value(measure)).filter(|one| *one > 0.0);
        for column in columns {
            let cell = match (value(column), one) {
                (None, _) => "-".to_owned(),
                (Some(value), Some(one)) => format!("{} ({:.2})", grouped(value, decimals), value / one),
                (Some(value), None) => grouped(value, decimals),
            };
            let _ = write!(out, "{cell:>COLUMN$}");
        }
    }
    out
}

/// `12345.6` as `12,345.6`.
fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        for (value, decimals, shown) in [(0.0, 0, "0"), (999.96, 1, "1,000.0"), (1_234_567.0, 0, "1,234,567")] {
            assert_eq!(grouped(value, decimals), shown);
        }
    }

    #[test]
    fn a_figure_stands_beside_its_ratio_to_axum_and_a_missing_one_is_a_dash() {
        let measured = |name, instructions| Measured { instructions, ..Measured::new(name) };
        let (ours, axum, other) =
            (measured("bramble", Some(30_000)), measured("axum", Some(20_000)), measured("nginx", None));
        let table = render("serving", &[&ours, &axum, &other]);
        let line = table.lines().find(|line| line.starts_with("instructions")).expect("the line is there");
        let cells: Vec<&str> = line.split_whitespace().skip(3).collect();
        assert_eq!(cells, ["30,000", "(1.50)", "20,000", "(1.00)", "-"]);
    }
}
