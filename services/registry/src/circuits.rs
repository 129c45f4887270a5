//! `/circuits` of other services, read as foreign input: what is missing is unknown, what is too much is left out, and
//! no sentence is longer than a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Services that one service calls; more are not shown.
const MOST_SERVICES: usize = 16;
/// Instances of one service; as many as a directory holds.
const MOST_ENDPOINTS: usize = bramble::discovery::MAX_PER_SERVICE;
/// Characters of a name or a reason.
const LONGEST: usize = 120;
/// Over how long `recent` is counted, in seconds.
const RECENT_S: f64 = 10.0;

/// The whole answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Circuits {
    /// Services that it calls.
    #[serde(default)]
    pub services: Vec<CalledService>,
}

/// A service that is called.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CalledService {
    /// Name of the service.
    pub service: String,
    /// Circuit of the service; its best instance's while its own is closed. A service of one instance may leave it out.
    #[serde(flatten)]
    pub circuit: Circuit,
    /// Instances of the service.
    #[serde(skip_serializing)]
    pub endpoints: Vec<Endpoint>,
}

/// An instance, as a caller sees it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Endpoint {
    /// Name of the instance.
    pub id: String,
    /// Where it is called.
    pub addr: String,
    /// Circuit of the instance.
    #[serde(flatten)]
    pub circuit: Circuit,
}

/// A circuit, and the calls that went through it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Circuit {
    /// Effect of the circuit on calls.
    pub state: Option<CircuitState>,
    /// Why it opened last.
    pub reason: Option<String>,
    /// Until a call tries it again. None while open: not before a health check has succeeded.
    pub next_probe_ms: Option<u64>,
    /// Share of its usual load that it gets.
    pub admitted_share: Option<f64>,
    /// Share of calls that a new instance gets.
    pub slow_start_share: Option<f64>,
    /// Calls that wait for their answer.
    pub in_flight: Option<u64>,
    /// How long calls took in the last ten seconds.
    pub latency_ms: Latency,
    /// Counts of the calls of the last ten seconds, by outcome.
    pub recent: BTreeMap<String, u64>,
}

/// Calls to an instance by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Answers of the instance, also that there is no such place.
    pub good: u64,
    /// Failures of the instance.
    pub bad: u64,
    /// Failures of a server behind it, such as the weather API.
    pub upstream_failed: u64,
}

impl Calls {
    /// All of them.
    pub fn all(self) -> u64 {
        self.good + self.bad + self.upstream_failed
    }
}

impl std::ops::Add for Calls {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            good: self.good + other.good,
            bad: self.bad + other.bad,
            upstream_failed: self.upstream_failed + other.upstream_failed,
        }
    }
}

/// Percentiles in milliseconds, where there were calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Latency {
    /// Half of the calls were faster.
    pub p50: Option<f64>,
    /// 95 of 100 were.
    pub p95: Option<f64>,
    /// 99 of 100 were.
    pub p99: Option<f64>,
}

/// Effect of a circuit on calls; the order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// Calls pass whatever becomes of them.
    Disabled,
    /// Calls pass and are counted.
    MetricsOnly,
    /// Calls pass; the instance gets a growing share.
    Ramping,
    /// A single call passes, as a trial.
    HalfOpen,
    /// No call passes.
    Open,
    /// No call passes, by hand.
    ForcedOpen,
    /// There is no instance to call.
    Empty,
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

impl Circuits {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is no such JSON.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let mut read: Self = serde_json::from_slice(body)?;
        read.services.truncate(MOST_SERVICES);
        for callee in &mut read.services {
            callee.endpoints.truncate(MOST_ENDPOINTS);
            shorten(&mut callee.service);
            callee.circuit.reason.iter_mut().for_each(shorten);
            for one in &mut callee.endpoints {
                shorten(&mut one.id);
                shorten(&mut one.addr);
                one.circuit.reason.iter_mut().for_each(shorten);
            }
        }
        Ok(read)
    }
}

impl CalledService {
    /// Circuit of the service; without one of its own, the worst of its instances.
    pub fn standing(&self) -> Option<&Circuit> {
        let worst = || self.endpoints.iter().map(|one| &one.circuit).max_by_key(|circuit| circuit.state);
        if self.circuit.state.is_some() { Some(&self.circuit) } else { worst() }
    }
}

impl Circuit {
    /// Counts of the calls of the last ten seconds, if they are counted.
    pub fn calls(&self) -> Option<Calls> {
        let count = |name| self.recent.get(name).copied().unwrap_or_default();
        (!self.recent.is_empty()).then(|| Calls {
            good: count("success") + count("bad_request"),
            bad: count("failure") + count("timeout") + count("rejected"),
            upstream_failed: count("upstream_failed"),
        })
    }

    /// Calls a second, if they are counted.
    pub fn rate(&self) -> Option<f64> {
        self.calls().map(|calls| calls.all() as f64 / RECENT_S)
    }

    /// The share of calls it gets, if that is less than all.
    pub fn share(&self) -> Option<f64> {
        let share = self.admitted_share.unwrap_or(1.0).min(self.slow_start_share.unwrap_or(1.0));
        (share < 1.0).then_some(share)
    }
}

impl CircuitState {
    /// As a person reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "only counting",
            Self::Ramping => "ramping",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
            Self::ForcedOpen => "held open",
            Self::Empty => "no instance",
            Self::Unknown => "unknown",
        }
    }

    /// Whether no call goes through.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::ForcedOpen)
    }
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_one_instance_without_a_state_of_its_own_stands_as_that_does() {
        let body = br#"{"id":"producer-a","services":[{"service":"upstream","in_flight":0,"endpoints":[
            {"id":"api","addr":"api:443","state":"open","reason":"5 calls in a row failed","next_probe_ms":900}]}]}"#;
        let read = Circuits::read(body).expect("valid");
        let circuit = read.services[0].standing().expect("one");
        assert_eq!((circuit.state, circuit.next_probe_ms), (Some(CircuitState::Open), Some(900)));
    }

    #[test]
    fn what_is_strange_is_unknown_and_what_is_long_is_cut() {
        let body = format!(
            r#"{{"services":[{{"service":"{}","state":"sulking","next_probe_ms":null,"endpoints":[]}}]}}"#,
            "ü".repeat(5000)
        );
        let read = Circuits::read(body.as_bytes()).expect("valid");
        assert_eq!(read.services[0].circuit.state, Some(CircuitState::Unknown));
        assert_eq!(read.services[0].service.chars().count(), LONGEST + 1);
        assert!(Circuits::read(b"<html>").is_err());
        let many = serde_json::json!({"services": vec![serde_json::json!({"service": "a"}); 99]});
        assert_eq!(Circuits::read(many.to_string().as_bytes()).expect("valid").services.len(), MOST_SERVICES);
    }
}
