//! Attempts of a call, each at one instance, and how it ended. Dropped, it closes its connection, and nothing is
//! recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_types::Url;

use super::answer::Answer;
use super::attempts::Notes;
use super::error::Error;
use super::prepared::{Prepared, Validator};
use super::service_client::ServiceClient;
use crate::balance::Endpoint;
use crate::call::{Ask, Ending, Repeat};
use crate::telemetry::Event;
use crate::transport::client::{Error as WireError, HttpTransport, Message};
use crate::transport::{ID_HEADER, RETRY_AFTER_MS, TIME_LEFT};
use crate::trust::{ClusterKey, request as sign};

/// An attempt that is about to be made.
pub(super) struct Attempt<'a> {
    callee: &'a ServiceClient,
    request: &'a Prepared<'a>,
    endpoint: Arc<Endpoint>,
    notes: Arc<Notes>,
    started: Instant,
    deadline: Instant,
    /// Whether it asks for what is cached.
    cached_only: bool,
    signature: Option<HeaderValue>,
}

impl<'a> Attempt<'a> {
    /// The attempt that `ask` says.
    pub(super) fn new(
        callee: &'a ServiceClient,
        request: &'a Prepared<'a>,
        ask: Ask,
        key: Option<&ClusterKey>,
        now: Instant,
    ) -> Self {
        let Ask { endpoint, deadline, cached_only, .. } = ask;
        let listed = callee.attempts.at(endpoint.id(), endpoint.address());
        let notes = listed.unwrap_or_else(|| Arc::new(Notes::new(endpoint.address(), now)));
        let signature = key.and_then(|key| signature(key, &endpoint, request));
        Self { callee, request, endpoint, notes, started: now, deadline, cached_only, signature }
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.request.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let left = self.deadline.saturating_duration_since(self.started);
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        headers.insert(HeaderName::from_static(TIME_LEFT), left.into());
        if self.cached_only {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("only-if-cached"));
        }
        if let Some(signature) = &self.signature {
            headers.insert(HeaderName::from_static(sign::SIGNATURE), signature.clone());
        }
    }

    /// Sends it, and counts how it ended.
    pub(super) async fn run(self, wire: &HttpTransport) -> Ended {
        let attempts = &self.notes.attempts;
        attempts.begun(self.endpoint.in_flight(), self.started);
        let Prepared { method, path, repeat, .. } = self.request;
        let message =
            Message { method, path, payload: self.request.payload(), is_idempotent: *repeat == Repeat::Always };
        let sent = wire.send(&self.notes.server, message, |headers| self.add_headers(headers), self.deadline).await;
        let now = Instant::now();
        let Self { callee, request, endpoint, .. } = &self;
        let took = now - self.started;
        let (answer, ending) = match sent {
            Ok(answer) => {
                let id = answer.headers().get(ID_HEADER).and_then(|id| id.to_str().ok());
                let is_marked = is_of(&callee.service, endpoint.id(), id);
                let answer = answer_of(answer, endpoint);
                let ending = ending(&answer, is_marked, request.validator, took);
                (Ok(answer), ending)
            }
            Err(cause) => {
                let ending = ending_of_error(&cause);
                (Err(Error::Failed { instance: endpoint.id().into(), cause }), ending)
            }
        };
        let took = (ending != Ending::Refused).then_some(took);
        // That a cache does not hold an answer is neither a success nor a failure.
        if !(self.cached_only && ending == Ending::UpstreamTimedOut) {
            attempts.ended(event_of_attempt(&answer, ending), took, now);
        }
        if let Some(took) = took {
            callee.calls.attempted(took, now);
        }
        let answer = match answer {
            Ok(answer) if ending == Ending::WrongPeer && !answer.is_forbidden() => {
                Err(Error::WrongPeer { instance: answer.from, status: answer.status })
            }
            answer => answer,
        };
        Ended { answer, ending }
    }
}

/// The signature of `request` to `endpoint`.
fn signature(key: &ClusterKey, endpoint: &Endpoint, request: &Prepared<'_>) -> Option<HeaderValue> {
    let url = Url::parse(&format!("http://{}{}", endpoint.address(), request.path)).ok()?;
    let method = request.method.as_str().parse().ok()?;
    HeaderValue::from_str(&sign::sign(key, method, &url, &request.body_digest())).ok()
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) answer: Result<Answer, Error>,
    pub(super) ending: Ending,
}

/// Answer of `endpoint`.
fn answer_of(answer: http::Response<Vec<u8>>, endpoint: &Endpoint) -> Answer {
    let (head, body) = answer.into_parts();
    let number = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()?.trim().parse().ok());
    let retry_after = number(HeaderName::from_static(RETRY_AFTER_MS))
        .map(Duration::from_millis)
        .or_else(|| number(RETRY_AFTER).map(Duration::from_secs));
    Answer { status: head.status.as_u16(), body, retry_after, from: endpoint.id().into(), headers: head.headers }
}

/// Whether `id` is what `instance` of `service` answers with. One that is known by its address alone may have any id of
/// the service.
pub(super) fn is_of(service: &str, instance: &str, id: Option<&str>) -> bool {
    let Some(id) = id else { return false };
    if instance.contains(':') {
        return id.strip_prefix(service).is_some_and(|rest| rest.starts_with('-'));
    }
    id == instance
}

/// Ending of an attempt by its answer. `is_marked`: whether it bears the id of the instance that was asked.
fn ending(answer: &Answer, is_marked: bool, validator: Option<Validator<'_>>, latency: Duration) -> Ending {
    match answer.status {
        _ if !is_marked || answer.is_forbidden() => Ending::WrongPeer,
        502 => Ending::UpstreamFailed,
        504 => Ending::UpstreamTimedOut,
        429 | 503 => Ending::NoRoom { retry_after: answer.retry_after },
        500.. => Ending::Failed,
        200..300 | 400..500 if validator.is_none_or(|is_valid| is_valid(answer)) => Ending::Success { latency },
        _ => Ending::WrongPeer,
    }
}

pub(super) fn ending_of_error(error: &WireError) -> Ending {
    match error {
        WireError::Refused(_) | WireError::Connect { .. } | WireError::Tls(_) => Ending::Refused,
        WireError::Protocol { .. } => Ending::WrongPeer,
        error if error.is_timeout() => Ending::TimedOut,
        _ => Ending::Failed,
    }
}

/// As which event an attempt counts.
fn event_of_attempt(answer: &Result<Answer, Error>, ending: Ending) -> Event {
    match (ending, answer) {
        (Ending::Success { .. }, Ok(answer)) => event_of_status(answer.status),
        (Ending::TimedOut, _) => Event::Timeout,
        (Ending::NoRoom { .. }, _) => Event::Rejected,
        (Ending::UpstreamFailed | Ending::UpstreamTimedOut, _) => Event::UpstreamFailed,
        _ => Event::Failure,
    }
}

fn event_of_status(status: u16) -> Event {
    match status {
        429 | 503 => Event::Rejected,
        400..500 => Event::BadRequest,
        502 | 504 => Event::UpstreamFailed,
        500.. => Event::Failure,
        _ => Event::Success,
    }
}

/// As which event a whole call counts.
pub(super) fn event(result: &Result<Answer, Error>) -> Event {
    match result {
        Ok(answer) => event_of_status(answer.status),
        Err(Error::Failed { .. } | Error::WrongPeer { .. }) if is_timeout(result) => Event::Timeout,
        Err(Error::Failed { .. } | Error::WrongPeer { .. }) => Event::Failure,
        Err(Error::DeadlineExceeded { .. }) => Event::Timeout,
        Err(Error::NoInstance { .. } | Error::AllOpen { .. }) => Event::ShortCircuited,
        Err(Error::InvalidRequest(_)) => Event::BadRequest,
        Err(Error::Unreadable { .. } | Error::Forbidden { .. }) => Event::Failure,
        Err(Error::Full { .. }) => Event::Full,
    }
}

/// Whether there is no answer because it took too long.
pub(super) fn is_timeout(answer: &Result<Answer, Error>) -> bool {
    match answer {
        Err(Error::Failed { cause, .. }) => ending_of_error(cause) == Ending::TimedOut,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        let (body, headers) = (Vec::new(), HeaderMap::new());
        Answer { status, body, retry_after: Some(Duration::from_secs(7)), from: "producer-a".into(), headers }
    }

    fn ending_of(status: u16) -> Ending {
        ending(&answer(status), true, None, Duration::ZERO)
    }

    #[test]
    fn an_answer_about_the_question_is_a_success_whatever_it_says() {
        for status in [200, 204, 400, 404, 405, 422] {
            assert_eq!(ending_of(status), Ending::Success { latency: Duration::ZERO }, "{status}");
        }
    }

    #[test]
    fn what_a_server_behind_the_instance_did_is_not_held_against_the_instance() {
        assert_eq!([ending_of(502), ending_of(504)], [Ending::UpstreamFailed, Ending::UpstreamTimedOut]);
        assert_eq!([ending_of(500), ending_of(501)], [Ending::Failed; 2]);
    }

    #[test]
    fn no_room_is_no_failure_and_carries_the_hint_of_the_instance() {
        let no_room = Ending::NoRoom { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!([ending_of(429), ending_of(503)], [no_room; 2]);
    }

    #[test]
    fn a_redirect_a_foreign_cluster_and_an_answer_without_the_id_are_of_a_wrong_peer() {
        for status in [301, 302] {
            assert_eq!(ending_of(status), Ending::WrongPeer, "{status}");
        }
        let refused = |code: &str| Answer {
            body: format!(r#"{{"error":{{"code":"{code}","message":""}}}}"#).into(),
            ..answer(403)
        };
        assert_eq!(ending(&refused("forbidden"), true, None, Duration::ZERO), Ending::WrongPeer);
        let of_service = ending(&refused("not_yours"), true, None, Duration::ZERO);
        assert_eq!(of_service, Ending::Success { latency: Duration::ZERO }, "the service itself says no");
        assert_eq!(ending(&answer(200), false, None, Duration::ZERO), Ending::WrongPeer);
        assert_eq!(ending(&answer(503), false, None, Duration::ZERO), Ending::WrongPeer);
    }

    #[test]
    fn what_the_caller_does_not_accept_as_an_answer_is_of_a_wrong_peer() {
        let validator: Option<Validator<'_>> = Some(&|answer| answer.body.starts_with(b"{"));
        assert_eq!(ending(&answer(200), true, validator, Duration::ZERO), Ending::WrongPeer);
        let json = Answer { body: b"{}".to_vec(), ..answer(200) };
        assert_eq!(ending(&json, true, validator, Duration::ZERO), Ending::Success { latency: Duration::ZERO });
    }

    #[test]
    fn the_id_is_that_of_the_instance_or_where_only_its_address_is_known_one_of_the_service() {
        assert!(is_of("producer", "producer-1", Some("producer-1")));
        for id in [None, Some("producer-2"), Some("producer"), Some("")] {
            assert!(!is_of("producer", "producer-1", id), "{id:?}");
        }
        assert!(is_of("producer", "192.0.2.7:9001", Some("producer-2")));
        for id in [None, Some("producer"), Some("producers-1"), Some("registry-1")] {
            assert!(!is_of("producer", "192.0.2.7:9001", id), "{id:?}");
        }
    }

    #[test]
    fn a_whole_call_counts_under_one_name_whatever_became_of_it() {
        let service: Arc<str> = "producer".into();
        let failed = || WireError::Closed { host: "192.0.2.7:9001".into() };
        for (result, expected) in [
            (Ok(answer(200)), Event::Success),
            (Ok(answer(404)), Event::BadRequest),
            (Ok(answer(429)), Event::Rejected),
            (Ok(answer(503)), Event::Rejected),
            (Ok(answer(500)), Event::Failure),
            (Ok(answer(502)), Event::UpstreamFailed),
            (Ok(answer(504)), Event::UpstreamFailed),
            (Err(Error::Failed { instance: "producer-a".into(), cause: failed() }), Event::Failure),
            (Err(Error::DeadlineExceeded { service: Arc::clone(&service) }), Event::Timeout),
            (
                Err(Error::NoInstance { service: Arc::clone(&service), why: String::new(), retry_at: None }),
                Event::ShortCircuited,
            ),
            (Err(Error::AllOpen { service: Arc::clone(&service), retry_at: None }), Event::ShortCircuited),
            (Err(Error::Full { service: Arc::clone(&service), max: 1 }), Event::Full),
        ] {
            assert_eq!(event(&result), expected, "{result:?}");
        }
    }
}
