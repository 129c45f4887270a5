//! One request to one instance, and how it ended. Dropped, it closes its connection, and nothing is recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_types::headers::{CACHE_CONTROL, RETRY_AFTER};
use http_types::{Method, Request, Url};

use super::attempts::Notes;
use super::callee::Callee;
use super::{Answer, Call, Error, TRACE};
use crate::balance::Endpoint;
use crate::call::{Ask, Ending};
use crate::telemetry::Event;
use crate::transport::client::{Deadline, Error as WireError};
use crate::transport::{ID_HEADER, RETRY_AFTER_MS, TIME_LEFT};
use crate::trust::{ClusterKey, request};

/// A request that is about to be sent.
pub(super) struct Attempt {
    request: Request,
    endpoint: Arc<Endpoint>,
    notes: Option<Arc<Notes>>,
    started: Instant,
    /// Whether it asks for what is cached.
    cached_only: bool,
}

impl Attempt {
    /// The request that `ask` says.
    pub(super) fn new(callee: &Callee, call: &Call<'_>, ask: Ask, now: Instant) -> Self {
        let Ask { endpoint, deadline, cached_only, .. } = ask;
        let notes = callee.attempts.at(endpoint.id(), endpoint.address());
        let url = match &notes {
            Some(notes) => Url::options().base_url(Some(&notes.base)).parse(call.path),
            None => Url::parse(&format!("http://{}{}", endpoint.address(), call.path)),
        };
        let mut request = Request::new(Method::Get, url.expect("a path that begins with one slash makes a URL"));
        let left = deadline.saturating_duration_since(now);
        request.insert_header(TIME_LEFT, left.as_millis().to_string());
        if let Some(trace) = call.trace.filter(|trace| is_trace(trace)) {
            request.insert_header(TRACE, trace);
        }
        if cached_only {
            request.insert_header(CACHE_CONTROL, "only-if-cached");
        }
        request.ext_mut().insert(Deadline(deadline));
        Self { request, endpoint, notes, started: now, cached_only }
    }

    /// Signed, if the cluster has a key.
    pub(super) fn signed(mut self, key: Option<&ClusterKey>) -> Self {
        if let Some(key) = key {
            let signature = request::sign(key, self.request.method(), self.request.url());
            self.request.insert_header(request::SIGNATURE, signature);
        }
        self
    }

    /// Sends it, and counts how it ended.
    pub(super) async fn run(self, surf: &surf::Client, callee: &Callee, call: &Call<'_>) -> Ended {
        let Self { request, endpoint, notes, started, cached_only } = self;
        if let Some(Notes { attempts, .. }) = notes.as_deref() {
            attempts.begun(endpoint.in_flight(), started);
        }
        let answer = send(surf, request, &endpoint).await;
        let now = Instant::now();
        let ending = match &answer {
            Ok((answer, id)) => {
                ending(answer, is_of(&callee.service, endpoint.id(), id.as_deref()), call, now - started)
            }
            Err(error) => ending_of_error(error),
        };
        let answer = answer.map(|(answer, _)| answer);
        let took = (ending != Ending::Refused).then_some(now - started);
        // That a cache does not hold an answer is neither a success nor a failure.
        let is_miss = cached_only && ending == Ending::UpstreamTimedOut;
        if let Some(Notes { attempts, .. }) = notes.as_deref().filter(|_| !is_miss) {
            attempts.ended(event_of_attempt(&answer, ending), took, now);
        }
        if let Some(took) = took {
            callee.calls.attempted(took, now);
        }
        let answer = match answer {
            Ok(answer) if ending == Ending::WrongPeer && !is_forbidden(answer.status) => {
                Err(Error::WrongPeer { instance: answer.from, status: answer.status })
            }
            Ok(answer) => Ok(answer),
            Err(cause) => Err(Error::Failed { instance: endpoint.id().into(), cause }),
        };
        Ended { answer, ending }
    }
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) answer: Result<Answer, Error>,
    pub(super) ending: Ending,
}

/// Sends a request; returns the answer, and the instance that it says it is of.
async fn send(surf: &surf::Client, request: Request, to: &Endpoint) -> surf::Result<(Answer, Option<Box<str>>)> {
    let mut response = surf.send(request).await?;
    let number = |name: &str| response.header(name).and_then(|value| value.as_str().trim().parse().ok());
    let retry_after = number(RETRY_AFTER_MS)
        .map(Duration::from_millis)
        .or_else(|| number(RETRY_AFTER.as_str()).map(Duration::from_secs));
    let id = response.header(ID_HEADER).map(|value| value.as_str().into());
    let body = response.body_bytes().await?;
    Ok((Answer { status: response.status().into(), body, retry_after, from: to.id().into() }, id))
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

/// Whether the instance answers to another cluster only.
pub(super) fn is_forbidden(status: u16) -> bool {
    matches!(status, 401 | 403)
}

/// What an answer shows about its instance. `is_marked`: whether it bears the id of the instance that was asked.
fn ending(answer: &Answer, is_marked: bool, call: &Call<'_>, latency: Duration) -> Ending {
    match answer.status {
        _ if !is_marked || is_forbidden(answer.status) => Ending::WrongPeer,
        502 => Ending::UpstreamFailed,
        504 => Ending::UpstreamTimedOut,
        429 | 503 => Ending::NoRoom { retry_after: answer.retry_after },
        500.. => Ending::Failed,
        200..300 | 400..500 if call.is_valid.is_none_or(|is_valid| is_valid(answer)) => Ending::Success { latency },
        _ => Ending::WrongPeer,
    }
}

pub(super) fn ending_of_error(error: &surf::Error) -> Ending {
    match WireError::of(error) {
        Some(WireError::Refused(_) | WireError::Connect { .. } | WireError::Tls(_)) => Ending::Refused,
        Some(WireError::Protocol { .. }) => Ending::WrongPeer,
        Some(error) if error.is_timeout() => Ending::TimedOut,
        _ => Ending::Failed,
    }
}

/// As which event an attempt counts.
fn event_of_attempt(answer: &surf::Result<Answer>, ending: Ending) -> Event {
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
        Err(Error::NobodyThere { .. } | Error::AllOpen { .. }) => Event::ShortCircuited,
        Err(Error::BadPath) => Event::BadRequest,
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

/// Whether this is a W3C `traceparent`: it goes into headers and logs, so nothing else may pass.
pub(crate) fn is_trace(text: &str) -> bool {
    text.len() == 55 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer { status, body: Vec::new(), retry_after: Some(Duration::from_secs(7)), from: "producer-a".into() }
    }

    fn ending_of(status: u16) -> Ending {
        ending(&answer(status), true, &Call::new("/", Instant::now()), Duration::ZERO)
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
        for status in [301, 302, 401, 403] {
            assert_eq!(ending_of(status), Ending::WrongPeer, "{status}");
        }
        let call = Call::new("/", Instant::now());
        assert_eq!(ending(&answer(200), false, &call, Duration::ZERO), Ending::WrongPeer);
        assert_eq!(ending(&answer(503), false, &call, Duration::ZERO), Ending::WrongPeer);
    }

    #[test]
    fn what_the_caller_does_not_accept_as_an_answer_is_of_a_wrong_peer() {
        let is_valid = |answer: &Answer| answer.body.starts_with(b"{");
        let call = Call { is_valid: Some(&is_valid), ..Call::new("/", Instant::now()) };
        assert_eq!(ending(&answer(200), true, &call, Duration::ZERO), Ending::WrongPeer);
        let json = Answer { body: b"{}".to_vec(), ..answer(200) };
        assert_eq!(ending(&json, true, &call, Duration::ZERO), Ending::Success { latency: Duration::ZERO });
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
        let failed = || surf::Error::from_str(surf::StatusCode::BadGateway, "broken");
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
                Err(Error::NobodyThere { service: Arc::clone(&service), why: String::new(), retry_at: None }),
                Event::ShortCircuited,
            ),
            (Err(Error::AllOpen { service: Arc::clone(&service), retry_at: None }), Event::ShortCircuited),
            (Err(Error::Full { service: Arc::clone(&service), max: 1 }), Event::Full),
        ] {
            assert_eq!(event(&result), expected, "{result:?}");
        }
    }

    #[test]
    fn only_a_trace_is_passed_on_as_one() {
        assert!(is_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for forged in ["", "00-4bf9", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y"] {
            assert!(!is_trace(forged), "{forged:?}");
        }
    }
}
