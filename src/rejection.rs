//! The error of a service as JSON, `{"error":{"code":"...","message":"..."}}`: written by the service, read by its
//! callers.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::transport::RETRY_AFTER_MS;

/// Why a service does not do what it was asked: `{"error":{"code":"...","message":"..."}}`.
///
/// ```
/// use std::time::Duration;
///
/// use bramble::operation::Rejection;
///
/// let rejection = Rejection::new(503, "filling", "The cache is being filled.").with_retry_after(Duration::from_secs(2));
/// assert_eq!((rejection.status, &*rejection.code), (503, "filling"));
/// assert_eq!(rejection.to_string(), "The cache is being filled. (filling)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct Rejection {
    /// The HTTP status: 400 to 599. 4xx says that the input is wrong, 5xx that the service failed.
    pub status: u16,
    /// A word for programs, such as `unknown_place`.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: Cow<'static, str>,
    /// When the same may be asked again, if the service knows.
    pub retry_after: Option<Duration>,
}

/// The JSON of a rejection.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize, Deserialize)]
struct Inner<'a> {
    code: Cow<'a, str>,
    message: Cow<'a, str>,
    /// Rounded up, so that no caller comes too early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

impl Rejection {
    /// A rejection with `status`, which is 500 if it is none of an error.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let status = if (400..=599).contains(&status) { status } else { 500 };
        Self { status, code: code.into(), message: message.into(), retry_after: None }
    }

    /// The same, which says when asking again is worth it: as `Retry-After`, `x-bramble-retry-after-ms` and
    /// `retry_after_s` in its JSON.
    #[must_use]
    pub fn with_retry_after(self, retry_after: impl Into<Option<Duration>>) -> Self {
        Self { retry_after: retry_after.into(), ..self }
    }

    /// The time to wait in seconds, as `Retry-After` has it: rounded up, at least 1.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// The answer to a method that the path does not have; `allowed` is the value of `Allow`.
    pub(crate) fn not_allowed(allowed: &str) -> tide::Response {
        let rejection = Self::new(405, "method_not_allowed", format!("The methods of this path are: {allowed}."));
        let mut response = rejection.response();
        response.insert_header("allow", allowed);
        response
    }

    /// The rejection in the answer with `status` and `body`, if it is one. `retry_after`: what the answer's headers
    /// say, which is more exact than its body.
    pub fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Option<Self> {
        if !(400..=599).contains(&status) {
            return None;
        }
        let Body { error: Inner { code, message, retry_after_s } } = serde_json::from_slice(body).ok()?;
        let retry_after = retry_after.or(retry_after_s.map(Duration::from_secs));
        Some(Self { retry_after, ..Self::new(status, code.into_owned(), message.into_owned()) })
    }

    /// JSON of the rejection.
    pub fn to_json(&self) -> String {
        let (code, message) = (Cow::Borrowed(&*self.code), Cow::Borrowed(&*self.message));
        let error = Inner { code, message, retry_after_s: self.retry_after_s() };
        serde_json::to_string(&Body { error }).expect("texts and a number are JSON")
    }

    /// The answer that says so. No cache keeps it.
    pub fn response(&self) -> tide::Response {
        let mut response = tide::Response::builder(self.status)
            .content_type(tide::http::mime::JSON)
            .header("cache-control", "no-store")
            .body(self.to_json());
        if let (Some(wait), Some(seconds)) = (self.retry_after, self.retry_after_s()) {
            response = response.header("retry-after", seconds.to_string());
            response = response.header(RETRY_AFTER_MS, wait.as_millis().to_string());
        }
        response.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_read_as_it_was_written() {
        let rejection = Rejection::new(404, "unknown_place", "No such place.");
        let json = rejection.to_json();
        assert_eq!(json, r#"{"error":{"code":"unknown_place","message":"No such place."}}"#);
        assert_eq!(Rejection::read(404, json.as_bytes(), None), Some(rejection));
    }

    #[test]
    fn the_time_to_wait_is_whole_seconds_in_the_body_and_exact_in_a_header() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            let wait = Duration::from_millis(millis);
            let rejection = Rejection::new(503, "starting", "Wait.").with_retry_after(wait);
            let response = rejection.response();
            let header = |name| response.header(name).map(|values| values.as_str().to_owned());
            assert_eq!(header("retry-after"), Some(seconds.to_string()), "{millis} ms");
            assert_eq!(header(RETRY_AFTER_MS), Some(millis.to_string()));
            let json = rejection.to_json();
            let read = |header| Rejection::read(503, json.as_bytes(), header).and_then(|read| read.retry_after);
            assert_eq!(read(None), Some(Duration::from_secs(seconds)));
            assert_eq!(read(Some(wait)), Some(wait));
        }
    }

    #[test]
    fn what_is_no_error_or_not_its_json_is_no_rejection() {
        let json = Rejection::new(404, "a", "b").to_json();
        for status in [200, 204, 301, 0, 600] {
            assert_eq!(Rejection::read(status, json.as_bytes(), None), None, "{status}");
        }
        for body in
            [&b""[..], b"<html>", b"{}", br#"{"error":"no"}"#, br#"{"error":{"code":404,"message":""}}"#, b"\xff"]
        {
            assert_eq!(Rejection::read(404, body, None), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
