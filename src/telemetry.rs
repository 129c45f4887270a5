//! What a process tells of itself. Whoever has something to tell implements [`Collect`]; nobody is asked on the way of
//! a request, and reading never holds a lock that a call waits for longer than a copy takes.

use std::fmt::{Display, Write as _};

/// Something with numbers to show under `/metrics` and, if it guards calls, under `/circuits`.
pub trait Collect: Send + Sync {
    /// Writes its numbers.
    fn metrics(&self, to: &mut OpenMetrics);

    /// Its circuits as JSON: one object a service that is called. None if it calls nobody.
    fn circuits(&self) -> Vec<serde_json::Value> {
        Vec::new()
    }

    /// What it does without at the moment, by name, for `/readyz`: the service is ready all the same.
    fn cautions(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// What kind of number a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples get the ending `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Is always 1 and carries labels; its sample gets the ending `_info`.
    Info,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge => "",
            Self::Info => "_info",
        }
    }
}

/// A page of OpenMetrics 1.0 text in the making.
///
/// ```
/// use bramble::telemetry::{Kind, OpenMetrics};
///
/// let mut page = OpenMetrics::default();
/// page.family("bramble_calls", Kind::Counter, "Calls by their outcome.");
/// page.sample(&[("outcome", "success")], 3);
/// assert_eq!(
///     page.finish(),
///     "# TYPE bramble_calls counter\n# HELP bramble_calls Calls by their outcome.\n\
///      bramble_calls_total{outcome=\"success\"} 3\n# EOF\n"
/// );
/// ```
#[derive(Debug, Default)]
pub struct OpenMetrics {
    text: String,
    /// Name with ending of the samples of the family that was begun last.
    sample: String,
}

impl OpenMetrics {
    /// The content type of the page.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Begins a family. `name` ends in its base unit (`_seconds`, `_bytes`) if it has one, and not in `_total`.
    /// All samples of a family must follow it, and a family is begun once a page.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.sample.clear();
        self.sample.push_str(name);
        self.sample.push_str(kind.ending());
        self.line(format_args!("# TYPE {name} {}", kind.as_str()));
        for unit in ["seconds", "bytes", "ratio"] {
            if name.ends_with(&format!("_{unit}")) {
                self.line(format_args!("# UNIT {name} {unit}"));
            }
        }
        self.line(format_args!("# HELP {name} {help}"));
    }

    /// One number of the family that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.sample);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}"));
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a string takes all that is written to it");
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_units_are_told() {
        let mut page = OpenMetrics::default();
        page.family("age_seconds", Kind::Gauge, "Age.");
        page.sample(&[("a", "x\"y"), ("b", "\\\n")], 1.5);
        let expected = "# TYPE age_seconds gauge\n# UNIT age_seconds seconds\n# HELP age_seconds Age.\n\
                        age_seconds{a=\"x\\\"y\",b=\"\\\\\\n\"} 1.5\n# EOF\n";
        assert_eq!(page.finish(), expected);
    }
}
