//! The error of a service: a code for a program, a sentence for a person, and when asking again is worth it.

use std::time::Duration;

use bramble::operation::Rejection;

/// Longest time to wait that is believed and shown. A circuit breaker obeys no longer `Retry-After` either.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why there is no report. The names are the contract of `{"error":{"code":...}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Each code by its name in the contract, and by those of earlier versions after it.
const NAMES: [(&str, Code); 13] = [
    ("invalid_zip", Code::InvalidZip),
    ("invalid_country", Code::InvalidCountry),
    ("forbidden", Code::Forbidden),
    ("unknown_place", Code::UnknownPlace),
    ("rate_limited", Code::RateLimited),
    ("upstream_rejected", Code::UpstreamRejected),
    ("upstream_unavailable", Code::UpstreamUnavailable),
    ("upstream_timeout", Code::UpstreamTimeout),
    ("deadline_exceeded", Code::UpstreamTimeout),
    ("not_cached", Code::NotCached),
    ("overloaded", Code::Overloaded),
    ("starting", Code::Starting),
    ("unavailable", Code::Unavailable),
];

/// The names of all codes.
pub(crate) const CODES: [&str; NAMES.len()] = {
    let (mut names, mut at) = ([""; NAMES.len()], 0);
    while at < names.len() {
        names[at] = NAMES[at].0;
        at += 1;
    }
    names
};

impl Code {
    /// The code with this name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
    }

    /// Name in the contract.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, code)| *code == self).map_or("", |(name, _)| name)
    }

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

/// Why there is no report: a [`Rejection`] with a code of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

impl ApiError {
    /// The error that `rejection` is. None: its code is not one of the contract.
    pub fn of(rejection: &Rejection) -> Option<Self> {
        let error = Self::new(Code::named(&rejection.code)?, rejection.message.clone());
        Some(error.with_retry_after(rejection.retry_after))
    }
}

impl From<ApiError> for Rejection {
    fn from(error: ApiError) -> Self {
        Self::new(error.code.status(), error.code.name(), error.message).with_retry_after(error.retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(error: &ApiError) -> String {
        Rejection::from(error.clone()).to_json()
    }

    fn read(status: u16, json: &str) -> Option<ApiError> {
        ApiError::of(&Rejection::read(status, json.as_bytes(), None)?)
    }

    #[test]
    fn an_error_reads_as_the_contract_says() {
        let error = ApiError::new(Code::UnknownPlace, "no such place");
        assert_eq!(json(&error), r#"{"error":{"code":"unknown_place","message":"no such place"}}"#);
        assert_eq!(read(404, &json(&error)), Some(error));
    }

    #[test]
    fn each_code_has_a_name_of_its_own_and_a_status() {
        for (name, status) in [
            ("invalid_zip", 400),
            ("invalid_country", 400),
            ("forbidden", 403),
            ("unknown_place", 404),
            ("rate_limited", 429),
            ("upstream_rejected", 502),
            ("upstream_unavailable", 502),
            ("overloaded", 503),
            ("starting", 503),
            ("unavailable", 503),
            ("upstream_timeout", 504),
            ("not_cached", 504),
        ] {
            let code = Code::named(name).expect("a code");
            assert_eq!((code.name(), code.status()), (name, status));
        }
        for name in ["", "not_found", "unknown place", "Unknown_place"] {
            assert_eq!(Code::named(name), None, "{name}");
        }
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
        let error = read(503, forged).expect("an error");
        assert_eq!(error.retry_after_s(), Some(3600), "no longer than is believed");
    }

    #[test]
    fn a_producer_of_an_earlier_version_is_understood() {
        let error = read(504, r#"{"error":{"code":"deadline_exceeded","message":"late"}}"#).expect("an error");
        assert_eq!(error.code, Code::UpstreamTimeout);
    }
}
