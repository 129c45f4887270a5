//! Trouble on demand: what a client survives is only known when upstream is slow, wrong, silent or absurd at will.
//!
//! [`Faults`] is parsed once, with every mistake said at once; [`Faults::plan`] decides about one call, with its
//! randomness as an argument.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tide::StatusCode;

use crate::places::Places;

/// Longer than any client waits; more would only keep connections.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// A call that "never" answers ends after this, so that forgotten faults do not fill the process.
pub(crate) const HANG_MAX: Duration = Duration::from_secs(300);
const KEYS: &str = "latency, error_rate, status, hang, garbage, only";

/// Faults of the answers at the moment. The default is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Faults {
    /// At most `LATENCY_MAX`.
    latency: Duration,
    /// 0-1.
    error_rate: f64,
    /// 400-599; None is 500.
    status: Option<u16>,
    hang: bool,
    garbage: bool,
    /// An index into the places.
    only: Option<usize>,
}

/// Fate of one call: delay, status, broken body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Passes first.
    pub(crate) latency: Duration,
    pub(crate) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Answer,
    Hang,
    Fail(u16),
    Garbage,
}

impl Faults {
    /// Reads `{"latency":"800ms","error_rate":0.3,"status":500,"hang":false,"garbage":false,"only":"70569,DE"}`; every
    /// key may be left out. A `status` without `error_rate` is for every call.
    ///
    /// # Errors
    ///
    /// A sentence for each mistake, beginning with the key.
    pub(crate) fn parse(body: &[u8], places: &Places) -> Result<Self, Vec<String>> {
        let given: Map<String, Value> =
            serde_json::from_slice(body).map_err(|error| vec![format!("the body must be a JSON object: {error}")])?;
        let mut faults = Self::default();
        let mut mistakes = Vec::new();
        for (key, value) in &given {
            if let Err(what) = faults.set(key, value, places) {
                // Debug quoting keeps control characters of a stranger's key out of terminals.
                mistakes.push(format!("{}: {what}", key.escape_debug()));
            }
        }
        if !given.contains_key("error_rate") && given.contains_key("status") {
            faults.error_rate = 1.0;
        }
        if mistakes.is_empty() { Ok(faults) } else { Err(mistakes) }
    }

    fn set(&mut self, key: &str, value: &Value, places: &Places) -> Result<(), String> {
        match key {
            "latency" => self.latency = latency(value)?,
            "error_rate" => {
                let rate = value.as_f64().filter(|rate| (0.0..=1.0).contains(rate));
                self.error_rate = rate.ok_or("must be a number from 0 to 1, for example 0.3")?;
            }
            "status" => self.status = Some(status(value)?),
            "hang" => self.hang = value.as_bool().ok_or("must be true or false")?,
            "garbage" => self.garbage = value.as_bool().ok_or("must be true or false")?,
            "only" if value.is_null() => self.only = None, // as `view` shows it
            "only" => {
                let text = value.as_str().ok_or("must be a postal code and country, for example \"70569,DE\"")?;
                let (zip, country) = split_zip(text);
                let known = places.by_zip(zip, country);
                self.only = Some(known.ok_or_else(|| format!("no such place: {}", text.escape_debug()))?);
            }
            _ => return Err(format!("unknown; there are {KEYS}")),
        }
        Ok(())
    }

    /// Plan for a call that asks for this place, if it asks for one that is known.
    pub(crate) fn plan(&self, place: Option<usize>, rng: &mut fastrand::Rng) -> Plan {
        if self.only.is_some() && self.only != place {
            return Plan { latency: Duration::ZERO, then: Then::Answer };
        }
        let then = if self.hang {
            Then::Hang
        } else if self.error_rate > 0.0 && rng.f64() < self.error_rate {
            Then::Fail(self.status.unwrap_or(500))
        } else if self.garbage {
            Then::Garbage
        } else {
            Then::Answer
        };
        Plan { latency: self.latency, then }
    }

    /// The same as JSON, in the words they are set with.
    pub(crate) fn view<'a>(&self, places: &'a Places) -> View<'a> {
        View {
            latency: humantime::format_duration(self.latency).to_string(),
            error_rate: self.error_rate,
            status: self.status.unwrap_or(500),
            hang: self.hang,
            garbage: self.garbage,
            only: self.only.and_then(|index| places.all().get(index)).map(Label),
        }
    }
}

/// `GET /sim/faults`.
#[derive(Debug, Serialize)]
pub(crate) struct View<'a> {
    latency: String,
    error_rate: f64,
    status: u16,
    hang: bool,
    garbage: bool,
    only: Option<Label<'a>>,
}

/// A place as it is asked for: `70569,DE`.
#[derive(Debug)]
pub(crate) struct Label<'a>(pub(crate) &'a crate::Place);

impl Serialize for Label<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{},{}", self.0.zip(), self.0.country()))
    }
}

/// `ZIP,CC`, where the country is US if there is none, as upstream has it.
pub(crate) fn split_zip(text: &str) -> (&str, &str) {
    text.rsplit_once(',').unwrap_or((text, "US"))
}

fn latency(value: &Value) -> Result<Duration, String> {
    let given = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    let given = given.ok_or("must be a duration, for example \"800ms\" or \"2s\"")?;
    if given > LATENCY_MAX { Err("at most 60s; to never answer, set hang".into()) } else { Ok(given) }
}

fn status(value: &Value) -> Result<u16, String> {
    let given = value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|code| (400..=599).contains(code));
    let given = given.ok_or("must be a number from 400 to 599")?;
    // The HTTP types under tide know the registered ones only.
    StatusCode::try_from(given).map_err(|_| format!("{given} is no registered HTTP status"))?;
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Faults, Vec<String>> {
        Faults::parse(body.as_bytes(), &Places::embedded())
    }

    #[test]
    fn all_mistakes_are_said_at_once_each_with_its_key() {
        let body =
            r#"{"latency":"soon","error_rate":1.5,"status":399,"hang":"no","garbage":1,"only":"1,XX","colour":1}"#;
        let mistakes = parse(body).expect_err("seven mistakes");
        for key in ["latency", "error_rate", "status", "hang", "garbage", "only", "colour"] {
            let named = mistakes.iter().filter(|mistake| mistake.starts_with(&format!("{key}: "))).count();
            assert_eq!(named, 1, "{key} in {mistakes:?}");
        }
        assert_eq!(mistakes.len(), 7);
    }

    #[test]
    fn limits_are_kept() {
        for body in [
            r#"{"latency":"61s"}"#,
            r#"{"latency":800}"#,
            r#"{"latency":"-1s"}"#,
            r#"{"error_rate":-0.1}"#,
            r#"{"error_rate":"0.3"}"#,
            r#"{"status":600}"#,
            r#"{"status":599}"#,
            r#"{"status":500.5}"#,
            r#"{"only":70569}"#,
            r#"[]"#,
            "",
            "{",
        ] {
            assert_eq!(parse(body).map_err(|mistakes| mistakes.len()), Err(1), "{body}");
        }
        for body in [r#"{"latency":"60s"}"#, r#"{"error_rate":0}"#, r#"{"error_rate":1.0}"#, r#"{"status":400}"#, "{}"]
        {
            assert!(parse(body).is_ok(), "{body}");
        }
    }

    #[test]
    fn about_the_share_asked_for_fails_and_the_same_seed_fails_the_same_calls() {
        let faults = parse(r#"{"error_rate":0.3,"status":503}"#).expect("well-formed");
        let draw = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            (0..10_000).map(|_| faults.plan(None, &mut rng).then).collect::<Vec<_>>()
        };
        let failed = draw(7).iter().filter(|then| **then == Then::Fail(503)).count();
        assert!((2_800..3_200).contains(&failed), "{failed}");
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_status_alone_is_for_every_call_and_a_rate_of_zero_for_none() {
        let mut rng = fastrand::Rng::with_seed(1);
        let always = parse(r#"{"status":404}"#).expect("well-formed");
        let never = parse(r#"{"status":404,"error_rate":0}"#).expect("well-formed");
        for _ in 0..1_000 {
            assert_eq!(always.plan(None, &mut rng).then, Then::Fail(404));
            assert_eq!(never.plan(None, &mut rng).then, Then::Answer);
        }
    }

    #[test]
    fn a_fault_for_one_place_leaves_the_others_alone() {
        let places = Places::embedded();
        let only = places.by_zip("70569", "DE");
        let faults = parse(r#"{"hang":true,"latency":"1s","only":"70569,de"}"#).expect("well-formed");
        let mut rng = fastrand::Rng::with_seed(1);
        let hit = Plan { latency: Duration::from_secs(1), then: Then::Hang };
        let spared = Plan { latency: Duration::ZERO, then: Then::Answer };
        assert_eq!(faults.plan(only, &mut rng), hit);
        assert_eq!(faults.plan(None, &mut rng), spared);
        assert_eq!(faults.plan(only.map(|index| index + 1), &mut rng), spared);
    }
}
