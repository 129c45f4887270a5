//! The table of a service: one row an instance, and of the columns only those that say something.

use std::time::Duration;

use bramble::discovery::{Instance, InstanceState, Source, Status};
use maud::{Markup, html};

use super::words::{in_words, milliseconds, or_dash, percent};
use crate::circuits::{CalledService, Circuit, CircuitState};
use crate::view::{InstanceView, Service};

/// Columns that a service has.
pub(super) struct Columns {
    /// Other services call it.
    pub(super) is_called: bool,
    /// The service calls others.
    pub(super) calls: bool,
    /// Signatures are checked.
    pub(super) signed: bool,
}

/// Columns whose values only callers know.
const OF_CALLS: [&str; 5] = ["Success", "Calls/s", "p50", "p95", "p99"];

/// All instances of `service`.
pub(super) fn table(service: &Service, columns: &Columns, id: &str) -> Markup {
    html! {
        table.instances role="table" aria-labelledby={ (id) "-name" } {
            thead {
                tr role="row" {
                    @for head in ["Instance", "Address", "Status"] { th role="columnheader" scope="col" { (head) } }
                    @if columns.is_called {
                        th role="columnheader" scope="col" { "Circuit" }
                        @for head in OF_CALLS { th.number role="columnheader" scope="col" { (head) } }
                    }
                    @if columns.calls { th role="columnheader" scope="col" { "Its circuits" } }
                }
            }
            tbody { @for one in &service.instances { (row(one, columns)) } }
        }
    }
}

fn row(one: &InstanceView, columns: &Columns) -> Markup {
    let instance = &one.seen.instance;
    let failed_behind = one.recent().map(|calls| calls.upstream_failed);
    html! {
        tr role="row" {
            th role="rowheader" scope="row" {
                code { (instance.id) }
                small {
                    "version " (or_dash(&instance.version))
                    @if !instance.zone.is_empty() { " · zone " (instance.zone) }
                    @if instance.weight != 1 { " · weight " (instance.weight) }
                }
            }
            td role="cell" data-l="Address" {
                a href={ "http://" (instance.addr) (link(instance)) } { (instance.addr) }
                small { "by " (instance.source.as_str()) (signature(instance.source, columns.signed)) }
            }
            td role="cell" data-l="Status" { (status(one)) }
            @if columns.is_called {
                td.why role="cell" data-l="Circuit" { (circuit(one)) }
                @for (head, number) in OF_CALLS.iter().zip(numbers(one)) {
                    td.number role="cell" data-l=(head) {
                        (number.as_deref().unwrap_or("–"))
                        @if let (Some(count), "Calls/s") = (one.in_flight(), *head) { small { (count) " in flight" } }
                        @if let (Some(count @ 1..), "Success") = (failed_behind, *head) {
                            small { (count) " failed behind it" }
                        }
                    }
                }
            }
            @if columns.calls {
                td role="cell" data-l="Its circuits" {
                    @for callee in &one.calls { div { (callee_mark(callee)) } }
                    @if one.calls.is_empty() { "–" }
                }
            }
        }
    }
}

/// Path of its page for people: the announced one; of an instance that is not announced it is known for services of this
/// repository only. A path begins with `/`, else it would change the host of the link.
fn link(instance: &Instance) -> &str {
    match instance.source {
        Source::Mdns if instance.path.starts_with('/') => &instance.path,
        _ if matches!(&*instance.service, "consumer" | "registry") => "/",
        _ => "/readyz",
    }
}

/// A fixed list and a DNS name are the operator's own word; only what is announced needs a signature.
fn signature(source: Source, signed: bool) -> &'static str {
    match source {
        Source::Mdns if signed => ", signature checked",
        Source::Mdns => ", unsigned",
        Source::Dns | Source::Fixed => "",
    }
}

/// A word, a shape and a colour: each says it alone.
pub(super) fn mark(kind: &'static str, word: &str) -> Markup {
    html! { span.mark.(kind) { (word) } }
}

fn status(one: &InstanceView) -> Markup {
    let (kind, word) = match (one.seen.standing, one.seen.instance.status, one.answers) {
        (InstanceState::Lost, ..) => ("error", "lost"),
        (InstanceState::Unproven, ..) => ("stale", "unproven"),
        (_, Status::Drain, _) => ("stale", "ending"),
        (_, _, Some(false)) => ("error", "silent"),
        (InstanceState::Unconfirmed, ..) => ("stale", "unconfirmed"),
        (InstanceState::Confirmed, ..) => ("live", "up"),
    };
    let time = match (word, one.seen.ending_for, one.seen.standing) {
        ("ending", Some(time), _) => time,
        (_, _, InstanceState::Confirmed) => one.seen.known_for,
        _ => one.seen.standing_for,
    };
    let since = if word == "silent" { "known for " } else { "for " };
    html! { (mark(kind, word)) small { (since) (in_words(time)) } }
}

fn circuit(one: &InstanceView) -> Markup {
    let Some(circuit) = one.circuit() else { return html! { (mark("none", "not called")) } };
    let state = circuit.state.unwrap_or(CircuitState::Unknown);
    let callers = one.callers.len();
    let is_idle = one.recent().is_some_and(|calls| calls.all() == 0);
    let says = match (state, is_idle, one.answers) {
        (CircuitState::Closed, true, Some(false)) => "no calls lately, so no caller knows that it is silent".to_owned(),
        (CircuitState::Closed, true, _) => "no calls lately".to_owned(),
        _ => sentence(circuit, state),
    };
    html! {
        (state_mark(state, state.as_str()))
        small {
            (says)
            @if callers > 1 { ", worst of " (callers) " callers" }
        }
    }
}

fn state_mark(state: CircuitState, word: &str) -> Markup {
    let kind = match state {
        CircuitState::Closed => "live",
        CircuitState::Open | CircuitState::ForcedOpen | CircuitState::Empty => "error",
        CircuitState::Ramping | CircuitState::HalfOpen => "stale",
        CircuitState::Disabled | CircuitState::MetricsOnly | CircuitState::Unknown => "none",
    };
    mark(kind, word)
}

fn sentence(circuit: &Circuit, state: CircuitState) -> String {
    let why = circuit.reason.as_deref().unwrap_or("no reason given");
    let next = circuit.next_probe_ms.map(Duration::from_millis);
    match (state, circuit.share()) {
        (CircuitState::Open, _) => match next {
            Some(next) if next.as_secs() > 0 => format!("{why}; tried again in {}", in_words(next)),
            Some(_) => format!("{why}; tried again with the next call"),
            None => format!("{why}; tried again once a health check succeeds"),
        },
        (CircuitState::HalfOpen, _) => "one call finds out whether it is back".to_owned(),
        (CircuitState::Ramping, Some(share)) => format!("gets {:.0} % of its share", share * 100.0),
        (CircuitState::Closed, Some(share)) => format!("is new, gets {:.0} % of its share", share * 100.0),
        (CircuitState::Closed | CircuitState::Ramping, None) => "gets its full share".to_owned(),
        (CircuitState::ForcedOpen | CircuitState::Disabled | CircuitState::MetricsOnly, _) => "set by hand".to_owned(),
        (CircuitState::Empty | CircuitState::Unknown, _) => String::new(),
    }
}

/// In the order of [`OF_CALLS`].
fn numbers(one: &InstanceView) -> [Option<String>; 5] {
    let latency = |of| one.latency(of).map(milliseconds);
    [
        one.recent().and_then(|calls| percent(calls.good, calls.good + calls.bad)),
        one.rate().map(|rate| format!("{rate:.1}")),
        latency(|circuit| circuit.latency_ms.p50),
        latency(|circuit| circuit.latency_ms.p95),
        latency(|circuit| circuit.latency_ms.p99),
    ]
}

/// Link to a service that it calls, with the state of the circuit.
fn callee_mark(callee: &CalledService) -> Markup {
    let name = if callee.service == "upstream" { "weather API" } else { &callee.service };
    let circuit = callee.standing();
    let state = circuit.and_then(|circuit| circuit.state).unwrap_or(CircuitState::Unknown);
    let says = circuit.filter(|_| !matches!(state, CircuitState::Closed | CircuitState::Unknown));
    html! {
        (state_mark(state, &format!("{name}: {}", state.as_str())))
        @if let Some(circuit) = says { small { (sentence(circuit, state)) } }
    }
}
