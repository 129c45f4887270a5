//! OpenWeatherMap's answers have changed shape for more than ten years, and errors come under status 200, without JSON,
//! or without a body at all. Here they become one [`Observation`] or one named [`UpstreamError`], and nothing else in
//! the service looks at them.
//!
//! The reading is lenient field by field: what is absent, of a wrong type or beyond what weather can be is None, and
//! the rest counts. An answer with nothing left is refused. Units are those that were asked for.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use bramble_weather::range::{FEELS_LIKE, HUMIDITY, PRESSURE, TEMPERATURE, WIND};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Largest answer that is read; the captured ones have less than 1 KiB.
pub const MAX_BODY: usize = 64 << 10;

/// Longest name or description kept, in bytes; the longest place names in use have about 170.
const MAX_TEXT: usize = 200;

/// Weather at a place, as the weather API reports it. JSON from the shared cache is validated like an answer of the API,
/// since any program may have written it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Observation {
    /// Name of the place. None on the open sea.
    pub city: Option<String>,
    /// The first condition, in the language asked for.
    pub description: Option<String>,
    /// Icon code, `01d` to `50n`.
    pub icon: Option<String>,
    /// Degrees Celsius if asked with `units=metric`.
    pub temperature_c: Option<f64>,
    /// Degrees Celsius if asked with `units=metric`.
    pub feels_like_c: Option<f64>,
    /// 0-100.
    pub humidity_pct: Option<f64>,
    /// Hectopascal.
    pub pressure_hpa: Option<f64>,
    /// Metres a second if asked with `units=metric`.
    pub wind_mps: Option<f64>,
    /// When it was observed; in JSON Unix seconds.
    #[serde(serialize_with = "unix_seconds")]
    pub observed_at: Option<SystemTime>,
}

impl Observation {
    /// Bytes it takes.
    pub fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of::<Self>() + text(&self.city) + text(&self.description) + text(&self.icon)
    }

    /// Whether it says anything about the weather; a name alone does not.
    pub fn is_empty(&self) -> bool {
        let numbers = [self.temperature_c, self.feels_like_c, self.humidity_pct, self.pressure_hpa, self.wind_mps];
        self.description.is_none() && numbers.iter().all(Option::is_none)
    }
}

impl TryFrom<Value> for Observation {
    type Error = &'static str;

    fn try_from(json: Value) -> Result<Self, Self::Error> {
        let observation = Self {
            city: text(json.get("city")),
            description: text(json.get("description")),
            icon: icon(json.get("icon")),
            temperature_c: number(json.get("temperature_c"), TEMPERATURE),
            feels_like_c: number(json.get("feels_like_c"), FEELS_LIKE),
            humidity_pct: number(json.get("humidity_pct"), HUMIDITY),
            pressure_hpa: number(json.get("pressure_hpa"), PRESSURE),
            wind_mps: number(json.get("wind_mps"), WIND),
            observed_at: json.get("observed_at").and_then(timestamp),
        };
        if observation.is_empty() { Err("JSON that tells no weather") } else { Ok(observation) }
    }
}

fn unix_seconds<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    let seconds = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|since| since.as_secs());
    seconds.serialize(to)
}

/// Why the weather API gave no observation. None of these carries its address, the key or its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The weather API knows no such place.
    #[error("the weather API knows no such place")]
    NotFound,
    /// The weather API does not understand the question.
    #[error("the weather API does not understand the question")]
    BadQuestion,
    /// The weather API refuses the key.
    #[error("the weather API refuses the key; put a valid one into the file that [producer] api_key_file names")]
    BadKey,
    /// The weather API asks for patience.
    #[error("the weather API says that its limit of requests is reached")]
    RateLimited {
        /// For how long, if it says so.
        retry_after: Option<Duration>,
    },
    /// The weather API failed.
    #[error("the weather API failed with status {status}")]
    Failed {
        /// HTTP status, or `cod` of the body under a status of success.
        status: u16,
    },
    /// The answer is no weather.
    #[error("the weather API answered status {status}, {what}")]
    Unusable {
        /// HTTP status.
        status: u16,
        /// Kind of the answer.
        what: Unusable,
    },
    /// There was no connection to it, or it broke.
    #[error("the weather API cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the weather API did not answer in time")]
    TimedOut,
    /// Not asked: the weather API has failed lately, and the circuit is open.
    #[error("the weather API has failed lately and is left alone for a moment")]
    CircuitOpen {
        /// Until it may be asked again, if that is known.
        retry_after: Option<Duration>,
    },
    /// Not asked: this machine does not know the time of day yet, so no certificate can be judged.
    #[error("waiting for the time: until this machine knows it, the weather API cannot be asked over TLS")]
    ClockUnset,
}

/// Answer that is no weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Zero bytes.
    #[error("but an empty body")]
    Empty,
    /// More than [`MAX_BODY`].
    #[error("but a body beyond all bounds")]
    TooLarge,
    /// A gateway's page, or an answer that was cut off.
    #[error("but no JSON")]
    NotJson,
    /// JSON with nothing about the weather.
    #[error("but JSON that tells no weather")]
    NoWeather,
    /// A status that this API has no use for.
    #[error("which means nothing here")]
    Status,
}

/// Reads an answer of `/data/2.5/weather`.
///
/// # Errors
/// All but [`UpstreamError::Unreachable`], [`UpstreamError::TimedOut`], [`UpstreamError::CircuitOpen`] and
/// [`UpstreamError::ClockUnset`]. `retry_after` is never set here: it stands in a header.
pub fn parse(status: u16, body: &[u8]) -> Result<Observation, UpstreamError> {
    if body.len() > MAX_BODY {
        return Err(refused(status, Unusable::TooLarge));
    }
    let json = match serde_json::from_slice::<Value>(body) {
        Ok(json @ Value::Object(_)) => json,
        _ if body.trim_ascii().is_empty() => return Err(refused(status, Unusable::Empty)),
        _ => return Err(refused(status, Unusable::NotJson)),
    };
    // The old API sent its errors under status 200.
    let code = cod(&json).filter(|_| (200..300).contains(&status)).unwrap_or(status);
    match code {
        200..300 => observation(status, &json),
        400 if json.get("cod").is_some() => Err(UpstreamError::BadQuestion),
        404 | 502 if says_not_found(&json) => Err(UpstreamError::NotFound),
        _ => Err(refused(code, Unusable::Status)),
    }
}

/// The error of a status alone, whatever the body.
fn refused(status: u16, what: Unusable) -> UpstreamError {
    match status {
        401 => UpstreamError::BadKey,
        429 => UpstreamError::RateLimited { retry_after: None },
        500.. => UpstreamError::Failed { status },
        _ => UpstreamError::Unusable { status, what },
    }
}

/// `cod` is a number in answers, a number or a string in errors.
fn cod(json: &Value) -> Option<u16> {
    match json.get("cod")? {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_u64()?.try_into().ok(),
    }
}

/// "city not found", "Error: Not found city" and "not found", with a `cod`. A 404 that says anything else is about the
/// path, or comes from a gateway, and says nothing about the place.
fn says_not_found(json: &Value) -> bool {
    const WORDINGS: [&str; 3] = ["city not found", "error: not found city", "not found"];
    let message = json.get("message").and_then(Value::as_str).unwrap_or_default().trim().to_ascii_lowercase();
    json.get("cod").is_some() && WORDINGS.contains(&&*message)
}

fn observation(status: u16, json: &Value) -> Result<Observation, UpstreamError> {
    let main = |name: &str, within| number(json.get("main")?.get(name), within);
    let condition = json.get("weather").and_then(|all| all.get(0));
    let observation = Observation {
        city: text(json.get("name")),
        description: text(condition.and_then(|condition| condition.get("description"))),
        icon: icon(condition.and_then(|condition| condition.get("icon"))),
        temperature_c: main("temp", TEMPERATURE),
        feels_like_c: main("feels_like", FEELS_LIKE),
        humidity_pct: main("humidity", HUMIDITY),
        pressure_hpa: main("pressure", PRESSURE),
        wind_mps: number(json.get("wind").and_then(|wind| wind.get("speed")), WIND),
        observed_at: json.get("dt").and_then(timestamp),
    };
    if observation.is_empty() {
        return Err(UpstreamError::Unusable { status, what: Unusable::NoWeather });
    }
    Ok(observation)
}

/// A finite number within its range. Adding 0.0 makes -0.0 a plain zero.
fn number(value: Option<&Value>, within: RangeInclusive<f64>) -> Option<f64> {
    value?.as_f64().filter(|number| within.contains(number)).map(|number| number + 0.0)
}

/// A text that is not blank, without control characters, of bounded length.
fn text(value: Option<&Value>) -> Option<String> {
    let mut kept = String::new();
    for character in value?.as_str()?.trim().chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > MAX_TEXT {
            break;
        }
        kept.push(character);
    }
    (!kept.is_empty()).then_some(kept)
}

/// Two digits, then `d` for day or `n` for night.
fn icon(value: Option<&Value>) -> Option<String> {
    let code = value?.as_str()?;
    matches!(code.as_bytes(), [b'0'..=b'9', b'0'..=b'9', b'd' | b'n']).then(|| code.to_owned())
}

/// Unix seconds, after 1970 and before 2100.
fn timestamp(value: &Value) -> Option<SystemTime> {
    let seconds = value.as_u64().filter(|seconds| (1..4_102_444_800).contains(seconds))?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
