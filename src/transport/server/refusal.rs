//! A refusal without a reason costs its reader an evening; each of these says what was wrong, as JSON like any error.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, StatusCode as Status};
use http_types::other::Date;

use crate::limit;
use crate::transport::{ID_HEADER, RETRY_AFTER_MS};

/// When to try again, where nothing better is known: a second, the least that `Retry-After` can say.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An answer of the server itself; the connection ends with it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    code: &'static str,
    message: &'static str,
}

/// The body of the answer to a request that the limiter refuses, ready to be sent.
pub(super) fn overloaded(reason: limit::Reason) -> &'static str {
    match reason {
        limit::Reason::QueueFull => {
            r#"{"error":{"code":"overloaded","message":"the queue of requests is full; see server.concurrency"}}"#
        }
        limit::Reason::TooSlow => {
            r#"{"error":{"code":"overloaded","message":"requests wait too long for their turn; see server.concurrency"}}"#
        }
        limit::Reason::TooLate => {
            r#"{"error":{"code":"overloaded","message":"the answer would come after the caller's timeout"}}"#
        }
    }
}

const fn refusal(status: Status, code: &'static str, message: &'static str) -> Refusal {
    Refusal { status, code, message }
}

pub(super) static BAD_HOST: Refusal = refusal(Status::BAD_REQUEST, "bad_request", "exactly one valid Host is needed");
pub(super) static BAD_TARGET: Refusal =
    refusal(Status::BAD_REQUEST, "bad_request", "the request's target is not a URL");
pub(super) static TWO_LENGTHS: Refusal =
    refusal(Status::BAD_REQUEST, "bad_request", "Content-Length and Transfer-Encoding exclude each other");
pub(super) static HEADER_TIMEOUT: Refusal =
    refusal(Status::REQUEST_TIMEOUT, "request_timeout", "the head of the request did not come in time");
pub(super) static BODY_TIMEOUT: Refusal =
    refusal(Status::REQUEST_TIMEOUT, "request_timeout", "the body of the request did not come in time");
pub(super) static BODY_TOO_LARGE: Refusal =
    refusal(Status::PAYLOAD_TOO_LARGE, "body_too_large", "the body of the request is too large");
pub(super) static TARGET_TOO_LONG: Refusal =
    refusal(Status::URI_TOO_LONG, "uri_too_long", "the request's target is too long");
pub(super) static EXPECTATION: Refusal =
    refusal(Status::EXPECTATION_FAILED, "expectation_failed", "the only expectation met is 100-continue");
pub(super) static PANIC: Refusal =
    refusal(Status::INTERNAL_SERVER_ERROR, "internal_error", "the request could not be answered; the log says why");
pub(super) static METHOD: Refusal = refusal(Status::NOT_IMPLEMENTED, "not_implemented", "the method is not supported");
pub(super) static METHOD_OF_PATH: Refusal =
    refusal(Status::METHOD_NOT_ALLOWED, "method_not_allowed", "the path has other methods than this one");
pub(super) static ENCODING: Refusal =
    refusal(Status::NOT_IMPLEMENTED, "not_implemented", "the only Transfer-Encoding supported is chunked");
pub(super) static BUSY: Refusal =
    refusal(Status::SERVICE_UNAVAILABLE, "unavailable", "too many connections; try again in a moment");
/// Of a request, not of the connection, which goes on: see [`overloaded`].
pub(super) static OVERLOADED: Refusal =
    refusal(Status::SERVICE_UNAVAILABLE, "overloaded", "requests wait too long for their turn");
pub(super) static VERSION: Refusal =
    refusal(Status::HTTP_VERSION_NOT_SUPPORTED, "version_not_supported", "HTTP/1.1 is spoken here");

impl Refusal {
    /// The JSON every error of a service has.
    pub(super) fn body(&self) -> String {
        format!(r#"{{"error":{{"code":"{}","message":"{}"}}}}"#, self.code, self.message)
    }

    /// The whole answer as it goes over the wire, for when hyper has no request to answer.
    pub(super) fn wire(&self, id: Option<&HeaderValue>) -> String {
        let body = self.body();
        let mut wire = format!("HTTP/1.1 {}\r\n", self.status);
        let date = Date::new(SystemTime::now()).value();
        if let Some(id) = id.and_then(|id| id.to_str().ok()) {
            let _ = write!(wire, "{ID_HEADER}: {id}\r\n");
        }
        if self.status == Status::SERVICE_UNAVAILABLE {
            let (seconds, millis) = (RETRY_AFTER.as_secs(), RETRY_AFTER.as_millis());
            let _ = write!(wire, "retry-after: {seconds}\r\n{RETRY_AFTER_MS}: {millis}\r\n");
        }
        let _ = write!(
            wire,
            "connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\ndate: {date}\r\n\r\n{body}",
            body.len()
        );
        wire
    }
}
