//! The weather at a place. What the weather API left out is null, never zero: a calm day and an unknown one differ.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};

/// How new a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Asked of the weather API for this question.
    Live,
    /// Kept from an earlier question, and still good.
    Cache,
    /// Kept from an earlier question, and out of date.
    Stale,
    /// There is none: every value is null.
    Empty,
}

/// The answer of `GET /weather` and `GET /api/weather`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Postal code that was asked for.
    pub zip: Option<String>,
    /// ISO 3166 code that was asked for.
    pub country: Option<String>,
    /// Name of the place as the weather API has it; null where it has none.
    pub city: Option<String>,
    /// In the language of `[producer] language`.
    pub description: Option<String>,
    /// The weather API's icon code, `01d` to `50n`.
    pub icon: Option<String>,
    /// Degrees Celsius.
    #[serde(serialize_with = "number")]
    pub temperature_c: Option<f64>,
    /// Degrees Celsius.
    #[serde(serialize_with = "number")]
    pub feels_like_c: Option<f64>,
    /// 0-100.
    #[serde(serialize_with = "number")]
    pub humidity_pct: Option<f64>,
    /// Hectopascal.
    #[serde(serialize_with = "number")]
    pub pressure_hpa: Option<f64>,
    /// Metres a second.
    #[serde(serialize_with = "number")]
    pub wind_mps: Option<f64>,
    /// When it was observed, RFC 3339 in UTC.
    #[serde(with = "timestamp")]
    pub observed_at: Option<SystemTime>,
    /// When the weather API was asked, RFC 3339 in UTC.
    #[serde(with = "timestamp")]
    pub fetched_at: Option<SystemTime>,
    /// Whole seconds since `fetched_at`.
    pub age_s: Option<u64>,
    /// How new the report is.
    pub source: Source,
    /// `OK`, or a caution for a person.
    pub message: String,
    /// Instance that answered.
    pub served_by: Option<String>,
}

impl Report {
    /// All is well.
    pub const OK: &str = "OK";
    /// Out of date, from the producer's cache.
    pub const STALE: &str = "CAUTION - Response out of date!";
    /// Out of date, from the consumer's cache.
    pub const UNREACHABLE: &str = "CAUTION - Response out of date, producer unreachable!";
    /// Message of a report without data.
    pub const EMPTY: &str = "Empty response";

    /// The report that says there is none ("fail silent").
    pub fn empty() -> Self {
        Self {
            zip: None,
            country: None,
            city: None,
            description: None,
            icon: None,
            temperature_c: None,
            feels_like_c: None,
            humidity_pct: None,
            pressure_hpa: None,
            wind_mps: None,
            observed_at: None,
            fetched_at: None,
            age_s: None,
            source: Source::Empty,
            message: Self::EMPTY.into(),
            served_by: None,
        }
    }

    /// The same report as it reads at `now`: how old it is, how new that counts as, and what to say about it.
    /// A `fetched_at` in the future (a clock that was set back) is age 0.
    #[must_use]
    pub fn seen_at(mut self, now: SystemTime, source: Source, message: &str) -> Self {
        self.age_s = self.fetched_at.map(|then| now.duration_since(then).unwrap_or(Duration::ZERO).as_secs());
        self.source = source;
        self.message.clear();
        self.message.push_str(message);
        self
    }
}

/// A whole number without a fraction (`81`, not `81.0`), as the weather API writes it.
fn number<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        // Beyond 2^53 not every whole number has an f64, so those stay as they are.
        Some(value) if value.fract() == 0.0 && value.abs() < 9e15 => to.serialize_i64(*value as i64),
        Some(value) => to.serialize_f64(*value),
        None => to.serialize_none(),
    }
}

/// RFC 3339 in whole seconds, or null.
mod timestamp {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(&humantime::format_rfc3339_seconds(*time)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<std::borrow::Cow<'_, str>>::deserialize(from)?;
        text.map(|text| humantime::parse_rfc3339(&text).map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"zip":"70569","country":"DE","city":"Büsnau","description":"scattered clouds","icon":"03d","temperature_c":3.37,"feels_like_c":0.9,"humidity_pct":81,"pressure_hpa":1019,"wind_mps":2.1,"observed_at":"2026-11-21T14:04:43Z","fetched_at":"2026-11-21T14:05:01Z","age_s":12,"source":"live","message":"OK","served_by":"producer-5f0c2a9be81d4477"}"#;

    #[test]
    fn a_report_reads_and_writes_as_the_contract_says() {
        let report: Report = serde_json::from_str(EXAMPLE).expect("the contract's own example");
        assert_eq!(serde_json::to_string(&report).expect("a report is always JSON"), EXAMPLE);
    }

    #[test]
    fn an_empty_report_has_every_key_and_no_value() {
        let json = serde_json::to_value(Report::empty()).expect("a report is always JSON");
        let set: Vec<_> = json.as_object().expect("an object").iter().filter(|(_, v)| !v.is_null()).collect();
        assert_eq!(set.len(), 2, "{set:?}");
        assert_eq!(json["source"], "empty");
        assert_eq!(json["message"], "Empty response");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_negative_age() {
        let report: Report = serde_json::from_str(EXAMPLE).expect("the contract's own example");
        assert_eq!(report.seen_at(SystemTime::UNIX_EPOCH, Source::Cache, Report::OK).age_s, Some(0));
    }
}
