//! `bramble weather`: one question from the terminal, by the same way as the form's.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bramble::config::Role;
use bramble::serve::Host;
use bramble_consumer::{Ask as _, Producers, Question};
use bramble_weather::{Query, Report, Source};

use crate::Failure;
use crate::args::Weather;
use crate::roles::on_executor;

pub(crate) fn run(options: &Weather) -> Result<(), Failure> {
    let query = Query::parse(&options.zip, options.country.as_deref()).map_err(|errors| {
        let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(sentences.join(" "))
    })?;
    let config = options.settings.load(Role::Command, Vec::new())?;
    let patience = config.call.timeout;
    let report = on_executor(|executor| async move {
        let host = Host::new(Role::Command, config, executor)?;
        let producers = Producers::new(&host.config, host.client()?, Arc::clone(&host.executor));
        let producers = producers.map_err(|error| Failure::Usage(error.to_string()))?;
        let question = Question { query: &query, deadline: Instant::now() + patience, trace: None };
        producers.weather(&question).await.map_err(|error| Failure::Running(error.message))
    })?;
    print(&report, options.json).map_err(|error| Failure::Running(format!("standard output: {error}")))
}

fn print(report: &Report, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let text = serde_json::to_string(report)?;
        return writeln!(out, "{text}");
    }
    let zip = report.zip.as_deref().unwrap_or_default();
    let country = report.country.as_deref().unwrap_or_default();
    match &report.city {
        Some(city) => writeln!(out, "{city} ({zip} {country})")?,
        None => writeln!(out, "{zip} {country}")?,
    }
    let number = |value: Option<f64>, unit: &str| value.map(|value| format!("{value:.1} {unit}"));
    let lines = [
        ("weather", report.description.clone()),
        ("temperature", number(report.temperature_c, "°C")),
        ("feels like", number(report.feels_like_c, "°C")),
        ("humidity", report.humidity_pct.map(|value| format!("{value:.0} %"))),
        ("pressure", report.pressure_hpa.map(|value| format!("{value:.0} hPa"))),
        ("wind", number(report.wind_mps, "m/s")),
        ("observed", report.observed_at.map(|at| humantime::format_rfc3339_seconds(at).to_string())),
        ("answered by", report.served_by.clone()),
    ];
    for (name, value) in lines {
        writeln!(out, "  {name:<12} {}", value.as_deref().unwrap_or("not reported"))?;
    }
    if !matches!(report.source, Source::Live | Source::Cache) {
        writeln!(out, "{}", report.message)?;
    }
    out.flush()
}
