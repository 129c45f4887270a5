//! OpenMetrics 1.0 is strict where Prometheus' own format was not: a family that is told of twice, or in two places,
//! makes a scraper drop the whole page. Collectors do not know of each other; so the page puts their families together.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};

use super::latency::{BOUNDS, Histogram, PERCENTS, Summary};

/// Type of the numbers in a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricType {
    /// Only grows; its samples get the ending `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by length since the start; see [`OpenMetrics::histogram`].
    Histogram,
    /// Durations of the last ten seconds by percentile; see [`OpenMetrics::summary`].
    Summary,
    /// Set of states, of which one holds; see [`OpenMetrics::state`].
    StateSet,
    /// Is always 1 and carries labels; its sample gets the ending `_info`.
    Info,
}

impl MetricType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::StateSet => "stateset",
            Self::Info => "info",
        }
    }

    /// Of the samples that [`OpenMetrics::sample`] writes.
    fn ending(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            _ => "",
        }
    }
}

/// A page of OpenMetrics 1.0 text in the making.
///
/// ```
/// use bramble::telemetry::{MetricType, OpenMetrics};
///
/// let mut page = OpenMetrics::default();
/// page.family("bramble_calls", MetricType::Counter, "Calls by their outcome.");
/// page.sample(&[("outcome", "success")], 3);
/// page.family("bramble_load", MetricType::Gauge, "How busy it is.");
/// page.family("bramble_calls", MetricType::Counter, "Calls by their outcome.");
/// page.sample(&[("outcome", "failure")], 1);
/// assert_eq!(
///     page.finish(),
///     "# TYPE bramble_calls counter\n# HELP bramble_calls Calls by their outcome.\n\
///      bramble_calls_total{outcome=\"success\"} 3\nbramble_calls_total{outcome=\"failure\"} 1\n# TYPE bramble_load gauge\n\
///      \x23 HELP bramble_load How busy it is.\n\x23 EOF\n"
/// );
/// ```
#[derive(Debug, Default)]
pub struct OpenMetrics {
    /// In the order in which they were begun; each name once.
    families: Vec<Family>,
    /// Where samples go; none before the first family, and after one that was refused.
    current: Option<usize>,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: MetricType,
    text: String,
    /// Labels of the metrics it has: a second one with the same labels would spoil the page.
    seen: HashSet<String>,
}

impl OpenMetrics {
    /// The content type of the page.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Begins a family, or goes on with it. `name` ends in its base unit (`_seconds`, `_bytes`, `_ratio`) if it has one,
    /// and in no ending that a [`MetricType`] adds. Samples under another type than the first are dropped.
    pub fn family(&mut self, name: &str, kind: MetricType, help: &str) {
        let known = self.families.iter().position(|family| family.name == name);
        self.current = match known {
            Some(index) if self.families.get(index).is_some_and(|family| family.kind == kind) => Some(index),
            Some(_) => {
                log::error!("{name} is told as a {}, which it is not", kind.as_str());
                None
            }
            None => {
                self.families.push(Family::new(name, kind, help));
                Some(self.families.len() - 1)
            }
        };
    }

    /// A number of the family that was begun last: a counter, a gauge or an info.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.metric(labels, |family, labels| family.line(family.kind.ending(), labels, "", &value));
    }

    /// Durations since the start, in seconds.
    pub fn histogram(&mut self, labels: &[(&str, &str)], value: &Histogram) {
        let (counts, sum) = value.cumulative();
        self.metric(labels, |family, labels| {
            for (bound, count) in BOUNDS.iter().zip(counts) {
                family.line("_bucket", labels, &format!("le=\"{bound:?}\""), &count);
            }
            let all = counts[BOUNDS.len()];
            family.line("_bucket", labels, "le=\"+Inf\"", &all);
            family.line("_count", labels, "", &all);
            family.line("_sum", labels, "", &sum);
        });
    }

    /// Durations of the last ten seconds, in seconds; nothing if there were none.
    pub fn summary(&mut self, labels: &[(&str, &str)], value: &Summary) {
        if value.count == 0 {
            return;
        }
        self.metric(labels, |family, labels| {
            for (percent, time) in PERCENTS.iter().zip(value.percentiles) {
                family.line("", labels, &format!("quantile=\"{:?}\"", percent / 100.0), &time.as_secs_f64());
            }
        });
    }

    /// State of a [`MetricType::StateSet`] among `all`: 1 for `now`, 0 for the others.
    pub fn state(&mut self, labels: &[(&str, &str)], all: &[&str], now: &str) {
        self.metric(labels, |family, labels| {
            for state in all {
                let label = format!("{}=\"{state}\"", family.name);
                family.line("", labels, &label, &u8::from(*state == now));
            }
        });
    }

    /// The whole page.
    pub fn finish(self) -> String {
        let mut page: String = self.families.into_iter().map(|family| family.text).collect();
        page.push_str("# EOF\n");
        page
    }

    /// Writes a metric into the current family, unless that has one with these labels.
    fn metric(&mut self, labels: &[(&str, &str)], write: impl FnOnce(&mut Family, &str)) {
        let Some(family) = self.current.and_then(|index| self.families.get_mut(index)) else { return };
        let labels = written(labels);
        if family.seen.contains(&labels) {
            log::debug!("{}{{{labels}}} is told twice; the first counts", family.name);
            return;
        }
        write(family, &labels);
        family.seen.insert(labels);
    }
}

impl Family {
    fn new(name: &str, kind: MetricType, help: &str) -> Self {
        let mut text = format!("# TYPE {name} {}\n", kind.as_str());
        for unit in ["seconds", "bytes", "ratio"] {
            if name.ends_with(&format!("_{unit}")) {
                append(&mut text, format_args!("# UNIT {name} {unit}\n"));
            }
        }
        append(&mut text, format_args!("# HELP {name} "));
        escape(&mut text, help);
        text.push('\n');
        Self { name: name.to_owned(), kind, text, seen: HashSet::new() }
    }

    /// `labels` and `more` are written already.
    fn line(&mut self, ending: &str, labels: &str, more: &str, value: &dyn Display) {
        let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
        let (open, close) = if labels.is_empty() && more.is_empty() { ("", "") } else { ("{", "}") };
        let name = &self.name;
        append(&mut self.text, format_args!("{name}{ending}{open}{labels}{comma}{more}{close} {value}\n"));
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (index, (name, value)) in labels.iter().enumerate() {
        append(&mut text, format_args!("{}{name}=\"", if index == 0 { "" } else { "," }));
        escape(&mut text, value);
        text.push('"');
    }
    text
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all that is written to it");
}

#[cfg(test)]
#[path = "../../tests/support/openmetrics.rs"]
pub(crate) mod check;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn labels_are_escaped_and_units_are_told() {
        let mut page = OpenMetrics::default();
        page.family("age_seconds", MetricType::Gauge, "Age.");
        page.sample(&[("a", "x\"y"), ("b", "\\\n")], 1.5);
        let expected = "# TYPE age_seconds gauge\n# UNIT age_seconds seconds\n# HELP age_seconds Age.\n\
                        age_seconds{a=\"x\\\"y\",b=\"\\\\\\n\"} 1.5\n# EOF\n";
        assert_eq!(page.finish(), expected);
    }

    /// A page with every type, with hostile labels, from two collectors that do not know of each other.
    fn everything() -> String {
        let mut page = OpenMetrics::default();
        let durations = Histogram::default();
        [1, 30, 400, 60_000].iter().for_each(|ms| durations.observe(Duration::from_millis(*ms)));
        let latencies = crate::telemetry::latency::Latencies::new(Instant::now());
        let now = Instant::now();
        latencies.observe(Duration::from_millis(7), now);
        for service in ["producer", "a \"b\" \\ c\nd"] {
            let labels = [("service", service)];
            page.family("bramble_calls", MetricType::Counter, "Calls; \"all\" \\ of\nthem.");
            page.sample(&labels, 3);
            page.family("bramble_call_duration_seconds", MetricType::Histogram, "How long.");
            page.histogram(&labels, &durations);
            page.family("bramble_attempt_duration_seconds", MetricType::Summary, "How long lately.");
            page.summary(&labels, &latencies.summary(now));
            page.family("bramble_circuit_state", MetricType::StateSet, "Its state.");
            page.state(&labels, &["open", "closed"], "closed");
            page.family("bramble_build", MetricType::Info, "What runs.");
            page.sample(&[("version", service)], 1);
        }
        page.finish()
    }

    #[test]
    fn a_page_of_every_kind_is_valid_and_each_family_is_in_one_place() {
        let page = everything();
        check::page(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
        assert_eq!(page.matches("# TYPE").count(), 5);
        assert!(page.contains("bramble_circuit_state{service=\"producer\",bramble_circuit_state=\"closed\"} 1\n"));
        assert!(page.contains("bramble_call_duration_seconds_bucket{service=\"producer\",le=\"+Inf\"} 4\n"));
        assert!(page.contains("bramble_attempt_duration_seconds{service=\"producer\",quantile=\"0.995\"} 0.007\n"));
    }

    #[test]
    fn what_is_told_twice_or_as_another_kind_does_not_spoil_the_page() {
        let mut page = OpenMetrics::default();
        page.sample(&[], 1); // before any family
        for kind in [MetricType::Gauge, MetricType::Gauge, MetricType::Counter] {
            page.family("load", kind, "Load.");
            page.sample(&[("of", "me")], 1);
        }
        assert_eq!(page.finish(), "# TYPE load gauge\n# HELP load Load.\nload{of=\"me\"} 1\n# EOF\n");
    }

    #[test]
    fn a_summary_of_no_calls_claims_nothing() {
        let mut page = OpenMetrics::default();
        page.family("wait_seconds", MetricType::Summary, "Wait.");
        page.summary(&[], &Summary::default());
        assert!(!page.finish().contains("quantile"));
    }

    #[test]
    fn the_reference_parser_reads_a_page_of_every_kind() {
        check::by_reference(&everything()).unwrap_or_else(|why| panic!("{why}"));
    }
}
