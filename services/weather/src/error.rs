//! The error of a service: a code for a program, a sentence for a person, and when asking again is worth it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest time to wait that is believed and shown. A circuit breaker obeys no longer `Retry-After` either.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why there is no report. The names are the contract of `{"error":{"code":...}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The postal code is not one.
    InvalidZip,
    /// The country is not one.
    InvalidCountry,
    /// The request is not signed with the cluster's key.
    Forbidden,
    /// The weather API knows no such place.
    UnknownPlace,
    /// The weather API's limit of requests is reached.
    RateLimited,
    /// The weather API refused the key.
    UpstreamRejected,
    /// The weather API failed or is unreachable, or the circuit before it is open.
    UpstreamUnavailable,
    /// The weather API has not answered in time. Earlier versions call it `deadline_exceeded`.
    #[serde(alias = "deadline_exceeded")]
    UpstreamTimeout,
    /// Asked with `Cache-Control: only-if-cached`, and no fresh report is held.
    NotCached,
    /// The service has no room for another request.
    Overloaded,
    /// The service is not ready yet.
    Starting,
    /// No producer answered.
    Unavailable,
}

impl Code {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidZip | Self::InvalidCountry => 400,
            Self::Forbidden => 403,
            Self::UnknownPlace => 404,
            Self::RateLimited => 429,
            Self::UpstreamRejected | Self::UpstreamUnavailable => 502,
            Self::Overloaded | Self::Starting | Self::Unavailable => 503,
            Self::UpstreamTimeout | Self::NotCached => 504,
        }
    }

    /// Whether the question itself is at fault, so that no older report may be given in the place of this error.
    pub fn is_about_the_question(self) -> bool {
        matches!(self, Self::InvalidZip | Self::InvalidCountry | Self::UnknownPlace)
    }
}

/// The body of every answer that is not a report: `{"error":{"code":"unknown_place","message":"..."}}`, with
/// `"retry_after_s"` where asking again later may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(from = "Envelope", into = "Envelope")]
#[error("{message}")]
pub struct ApiError {
    /// For a program.
    pub code: Code,
    /// For a person: what happened and what to do.
    pub message: String,
    /// How long to wait before asking again. `None`: unknown, or waiting does not help.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// The same error, with the time to wait before asking again.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after: retry_after.map(|wait| wait.min(RETRY_AFTER_MAX)), ..self }
    }

    /// The time to wait in seconds, as `Retry-After` has it: rounded up, at least 1, so that no caller comes too early.
    pub fn retry_after_s(&self) -> Option<u64> {
        let wait = self.retry_after?.min(RETRY_AFTER_MAX);
        Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|seconds| seconds.max(1))
    }
}

/// The shape on the wire.
#[derive(Serialize, Deserialize)]
struct Envelope {
    error: Inner,
}

#[derive(Serialize, Deserialize)]
struct Inner {
    code: Code,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

impl From<Envelope> for ApiError {
    fn from(Envelope { error: Inner { code, message, retry_after_s } }: Envelope) -> Self {
        Self::new(code, message).with_retry_after(retry_after_s.map(Duration::from_secs))
    }
}

impl From<ApiError> for Envelope {
    fn from(error: ApiError) -> Self {
        let retry_after_s = error.retry_after_s();
        Self { error: Inner { code: error.code, message: error.message, retry_after_s } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(error: &ApiError) -> String {
        serde_json::to_string(error).expect("an error is always JSON")
    }

    #[test]
    fn an_error_reads_as_the_contract_says() {
        let error = ApiError::new(Code::UnknownPlace, "no such place");
        assert_eq!(json(&error), r#"{"error":{"code":"unknown_place","message":"no such place"}}"#);
        assert_eq!(serde_json::from_str::<ApiError>(&json(&error)).expect("own JSON"), error);
    }

    #[test]
    fn the_time_to_wait_is_whole_seconds_rounded_up_and_never_zero() {
        for (wait, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2600, 3), (u64::MAX, 3600)] {
            let error = ApiError::new(Code::UpstreamUnavailable, "down");
            let error = error.with_retry_after(Some(Duration::from_millis(wait)));
            assert_eq!(error.retry_after_s(), Some(seconds), "{wait}");
            let expected =
                format!(r#"{{"error":{{"code":"upstream_unavailable","message":"down","retry_after_s":{seconds}}}}}"#);
            assert_eq!(json(&error), expected);
        }
        let forged = r#"{"error":{"code":"overloaded","message":"","retry_after_s":18446744073709551615}}"#;
        let error: ApiError = serde_json::from_str(forged).expect("an error");
        assert_eq!(error.retry_after_s(), Some(3600), "no longer than is believed");
    }

    #[test]
    fn a_producer_of_an_earlier_version_is_understood() {
        let error: ApiError =
            serde_json::from_str(r#"{"error":{"code":"deadline_exceeded","message":"late"}}"#).expect("an error");
        assert_eq!(error.code, Code::UpstreamTimeout);
    }
}
